"""Settings of a spec that change no run: axes and values beside them are refused for a new dataset
and noted for an older one; seeds are only noted."""

import warnings

from fractal_ray.dataset.header import HEADER, read_header
from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError
from fractal_ray.spec.stages import RefineStage, ZoomStage
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.spec.yaml_file import parse_spec
from nanochat.errors import Note


def refuse_idle_values(spec: SweepSpec, location: str) -> None:
    """Refuse to begin a dataset with axes that change no run, or values that an axis replaces.

    A dataset that was begun with them goes on, with one warning. The store is read only where there
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
    lines = idle_lines(spec)
    if not lines:
        return
    header = read_header(Store(location))
    if header is None or idle_lines(parse_spec(header["spec"], origin=HEADER)) != lines:
        raise SweepError(
            "\n  ".join([f"{spec.name} has settings that change nothing; nothing was run:", *lines])
        )
    warnings.warn(
        f"{location} goes on, although a new sweep with its settings is refused:"
        f" {'; '.join(lines)}",
        Note,
        stacklevel=1,
    )


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
