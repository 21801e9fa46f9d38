"""The verification sheet of a frame: gathered from a dataset, kept beside it, read again.

``verify/frame-N/sheet-<boundary>.json`` in the sweep's folder (docs/storage.md).
"""

import json
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.analysis.frame_data import FrameData
from fractal_ray.analysis.replay import best, estimates
from fractal_ray.analysis.sweep_data import SweepData, label_of
from fractal_ray.analysis.verify.border_points import border_points
from fractal_ray.analysis.verify.label_checks import Sample, applicable, draw_sample, read_flips
from fractal_ray.analysis.verify.null_sets import NOISE, NULLS, replay_null
from fractal_ray.analysis.verify.reading import read_raster
from fractal_ray.analysis.verify.sheet import AxisValues, Evidence, Sheet, judge
from fractal_ray.dataset.plain_json import to_json
from fractal_ray.dataset.store import inside
from fractal_ray.dataset.version import VERSION
from fractal_ray.dimension.recommend import Data
from fractal_ray.dimension.result import Estimate
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Axis, stage_of
from fractal_ray.plane.boundary import boundary_cells
from fractal_ray.plane.precision import Arithmetic, distinct_values
from fractal_ray.spec.frames import SweepFrame

SAMPLE: Final = 200
"""Points that are checked, unless told otherwise: none of them changing its label then says, with
95 %, that fewer than 1.9 % do."""


def sample_of(data: FrameData, count: int = SAMPLE, seed: int = 0) -> Sample:
    """The points of a frame's border that are checked: those that its estimate is made of.

    Raises
    ------
    SweepError
        While the frame or a stage on it is not finished.
    """
    replayed, sweep = data.replayed, data.sweep
    if replayed is None or replayed.unfinished:
        what = "" if replayed is None else f" ({', '.join(replayed.unfinished)})"
        raise SweepError(
            f"frame {data.lattice.frame.id} of {sweep.location} is not finished{what}; run it"
            " first: fractal-ray run"
        )
    chosen = best(data.estimates())
    assert chosen is not None
    boundary = sweep.spec.label.boundary
    border = border_points(chosen, replayed, data.raster, boundary, label_of(sweep))
    return draw_sample(border, data.lattice, sweep.spec, count, seed)


def gather(data: FrameData, sample: Sample) -> Sheet:
    """The sheet of a frame, from what is there: checks that were not run make it `unverified`."""
    sweep, lattice = data.sweep, data.lattice
    given = data.labels()
    cells = boundary_cells(given)
    found = data.estimates()
    chosen = best(found)
    flips = tuple(read_flips(sweep, lattice, sample)) if sample.points else ()
    ran = {each.check for each in flips}
    needed = applicable(sweep, sample) if sample.points else ()
    nulls = _nulls(data, chosen, float((given == 1).mean())) if chosen else {}
    audit = data.replayed.audit if data.replayed else None
    evidence = Evidence(
        boundary_cells=cells.n_mixed,
        unknown_cells=cells.n_unknown,
        data=chosen,
        estimate=found[chosen] if chosen else None,
        smooth={name: null for name, null in nulls.items() if name != NOISE},
        noise=nulls.get(NOISE),
        flips=flips,
        missing=tuple(check for check in needed if check not in ran),
        values=_values(sweep, lattice),
        reading=read_raster(given),
        growth=audit.found if audit else (),
        rim=_along_the_rim(cells.mixed),
        census=sample.census,
    )
    return judge(evidence)


def sheet_path(sweep: SweepData, frame: int) -> str:
    """Return the path or URI at which the verification sheet of a frame is kept."""
    return inside(sweep.location, _file(sweep, frame))


def keep(data: FrameData, sheet: Sheet) -> str:
    """Write a sheet beside its dataset, and return its path or URI."""
    content = {
        "schema_version": 1,
        "fractal_ray": VERSION,
        **_key(data),
        **sheet.to_dict(),
    }
    text = to_json(content, indent=1)
    return data.sweep.store().write_file(
        _file(data.sweep, data.lattice.frame.id), f"{text}\n".encode()
    )


def read_sheet(data: FrameData) -> dict[str, Any] | None:
    """The kept sheet of a frame; None where there is none for just these points and labels."""
    text = data.sweep.store().read_text(_file(data.sweep, data.lattice.frame.id))
    if text is None:
        return None
    try:
        kept = json.loads(text)
        current = all(kept[name] == value for name, value in _key(data).items())
        current = current and not _lacks_the_mode(kept["evidence"], data.sweep)
    except (ValueError, KeyError, TypeError):
        return None
    return kept if current else None


def _lacks_the_mode(evidence: dict[str, Any], sweep: SweepData) -> bool:
    """Whether a sheet was made before there was the check `mode`, and needs it."""
    named = {*evidence["missing"], *(each["check"] for each in evidence["flips"])}
    return bool(named) and "mode" not in named and sweep.in_deterministic_mode() is not None


def _file(sweep: SweepData, frame: int) -> str:
    return f"verify/frame-{frame}/sheet-{sweep.spec.label.boundary}.json"


def _key(data: FrameData) -> dict[str, Any]:
    """What the sheet was made of; anything else makes it void."""
    spec, base = data.sweep.spec, stage_of(data.lattice.frame.id)
    whole = spec.model_dump(mode="json", exclude_none=True)
    stages = whole["stages"]
    return {
        "frame": data.lattice.frame.id,
        "label": whole["label"],
        "stages": [stages[i] for i in range(base, len(stages)) if spec.plan.base(i) == base],
        "axes": whole["axes"],
        "workload": whole["workload"],
        "points": None if data.replayed is None else data.replayed.digest,
    }


def _nulls(data: FrameData, chosen: Data, share: float) -> dict[str, Estimate]:
    found = {}
    for null in NULLS:
        replayed = replay_null(data.sweep.spec, data.lattice, null, share)
        # TRAINED is yes and DIVERGED is no under every boundary.
        found[null] = estimates(replayed, label_of(data.sweep))[chosen]
    return found


def _along_the_rim(mixed: NDArray[np.bool_]) -> float:
    """Share of boundary cells in the outermost ring of cells; a border that crosses it has few."""
    inner = int(mixed[1:-1, 1:-1].sum())
    return 1 - inner / max(1, int(mixed.sum()))


def _values(sweep: SweepData, lattice: SweepFrame) -> tuple[AxisValues, AxisValues]:
    frame = lattice.frame
    of_x, of_y = sweep.spec.arithmetics
    return (
        _axis_values(frame.x, of_x, frame.cells_x << lattice.level),
        _axis_values(frame.y, of_y, frame.cells_y << lattice.level),
    )


def _axis_values(axis: Axis, arithmetic: Arithmetic, cells: int) -> AxisValues:
    return AxisValues(axis.param, arithmetic, cells + 1, distinct_values(axis, cells, arithmetic))
