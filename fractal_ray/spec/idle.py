"""Settings that a new dataset must not have, and that an older one keeps with a note.

They are axes that change no run, values that an axis replaces, and a label window that is too long.
Idle seeds are only noted.
"""

import warnings

from fractal_ray.dataset.header import HEADER, read_header
from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError
from fractal_ray.spec.stages import RefineStage, ZoomStage
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.spec.yaml_file import parse_spec
from nanochat.errors import Note


def check_new_dataset(spec: SweepSpec, location: str) -> None:
    """Refuse to begin a dataset with settings of `refused_lines`.

    A dataset that was begun with them goes on, with one warning; a label window is only noted where
    there is a dataset, which holds the curves for other windows. The store is read only where there
    are such settings.

    Parameters
    ----------
    spec
        The sweep to run.
    location
        Folder or URI of its dataset.

    Raises
    ------
    SweepError
        With a line for each of these settings.
    """
    idle, lines = idle_lines(spec), refused_lines(spec)
    if not lines:
        return
    header = read_header(Store(location))
    if header is None or (idle and idle_lines(parse_spec(header["spec"], origin=HEADER)) != idle):
        fault = "settings that change nothing" if idle else "a label window that is too long"
        raise SweepError("\n  ".join([f"{spec.name} has {fault}; nothing was run:", *lines]))
    warnings.warn(
        f"{location} goes on, although a new sweep with its settings is refused:"
        f" {'; '.join(lines)}",
        Note,
        stacklevel=1,
    )


def refused_lines(spec: SweepSpec) -> list[str]:
    """Return a line for each setting with which a new dataset is refused."""
    fit = spec.workload.window_fit(spec.planned_runs)
    refusal = fit.refusal() if fit else None
    return [*idle_lines(spec), *([refusal] if refusal else [])]


def idle_lines(spec: SweepSpec) -> list[str]:
    """Return a line for each axis that changes no run, and each value that an axis replaces."""
    return spec.workload.idle_values(spec.planned_runs)


def idle_seeds(spec: SweepSpec) -> list[str]:
    """Return a line for each seed that a spec gives and that changes no point and no run.

    Seeds that have their default because the spec does not name them get no line.
    """
    lines = spec.workload.idle_seeds()
    for number, stage in enumerate(spec.stages):
        part = stage.part
        if (
            isinstance(part, RefineStage | ZoomStage)
            and "seed" in part.model_fields_set
            and (reason := part.idle_seed)
        ):
            lines.append(
                f"stages.{number}.{stage.name}.seed is {part.seed} and changes no point: {reason}"
            )
    return lines
