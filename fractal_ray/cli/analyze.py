"""``fractal-ray analyze``: counts, the boundary and its dimension."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from fractal_ray.cli.options import (
    FrameOption,
    JsonOption,
    SetOption,
    SkipOption,
    StorageOption,
    SweepArgument,
    advice_of,
    open_data,
)
from fractal_ray.dataset.plain_json import to_json

if TYPE_CHECKING:
    from fractal_ray.analysis.sweep_data import SweepData


class Against(StrEnum):
    """Variable of a series of dimensions."""

    ZOOM = "zoom"
    STEPS = "steps"
    THRESHOLD = "threshold"


def analyze(
    sweep_path: SweepArgument,
    frame: FrameOption = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Print dimensions without a verification sheet too, marked as unverified.",
        ),
    ] = False,
    published: Annotated[
        list[str],
        typer.Option(
            "--published",
            metavar="NAME",
            help="Also apply a published estimator, flaws included: sohl-dickstein-2024,"
            " fractal-llm, attractors.jl or torkamandi-2025. Repeatable.",
        ),
    ] = [],  # noqa: B006 - typer copies it
    against: Annotated[
        Against | None,
        typer.Option(
            help="Print a series of dimensions. zoom: of every frame; steps: of one frame with its"
            " runs cut short; threshold: of one frame labelled by other thresholds."
        ),
    ] = None,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    as_json: JsonOption = False,
    skip_corrupt: SkipOption = False,
) -> None:
    """Measure the boundary, and its dimension where a verification sheet allows it."""
    from fractal_ray.analysis.summary import analyze as measure

    sweep = open_data(sweep_path, settings, storage, skip_corrupt=skip_corrupt)
    if against is not None:
        _series(sweep, against, frame, force=force, as_json=as_json)
        return
    result, _ = measure(sweep, frame=frame, force=force, published=published)
    if as_json:
        print(to_json(result.to_dict()))
        return
    advice = advice_of(sweep, frame)
    print("\n".join([*(advice.lines() if advice else []), *result.lines()]))


def _series(
    sweep: "SweepData",
    against: Against,
    frame: int | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    from fractal_ray.analysis.series import against_steps, against_threshold, against_zoom

    if against is Against.ZOOM:
        entries = against_zoom(sweep, force=force)
    else:
        measure = against_steps if against is Against.STEPS else against_threshold
        entries = measure(sweep, frame, force=force)
    if as_json:
        print(to_json([entry.to_dict() for entry in entries]))
        return
    variable = {"zoom": "frame", "steps": "steps", "threshold": "threshold"}[against.value]
    warning = " (dimensions are not verified)" if force else ""
    print(f"{sweep.spec.name}, boundary '{sweep.spec.label.boundary}', by {variable}{warning}")
    print("\n".join(map(str, entries)))
