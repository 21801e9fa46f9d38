"""The verification sheet of a frame: made from a dataset, stored beside it, and read again.

Its file is ``verify/frame-N/sheet-<boundary>.json`` in the sweep's folder (docs/storage.md).
"""

import functools
import json
import math
import shlex
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
from fractal_ray.errors import StorageError, SweepError
from fractal_ray.plane.axes import Axis, stage_of
from fractal_ray.plane.boundary import boundary_cells
from fractal_ray.plane.precision import Arithmetic, distinct_values
from fractal_ray.spec.frames import SweepFrame

SAMPLE: Final = 200
"""Default number of points to check. If none of them changes its label, fewer than 1.9 % of the
border's labels change, at 95 %."""


def sample_of(data: FrameData, count: int = SAMPLE, seed: int = 0) -> Sample:
    """Draw the points of a frame's border to check, from those that its estimate is made of.

    Raises
    ------
    SweepError
        If the frame or a stage on it is not finished.
    """
    replayed, sweep = data.replayed, data.sweep
    if replayed is None or replayed.unfinished:
        stages = "" if replayed is None else f" ({', '.join(replayed.unfinished)})"
        raise SweepError(
            f"frame {data.lattice.frame.id} of {sweep.location} is not finished{stages}; run it"
            f" first: {sweep.run_command}"
        )
    chosen = best(data.estimates())
    assert chosen is not None
    boundary = sweep.spec.label.boundary
    border = border_points(chosen, replayed, data.raster, boundary, label_of(sweep))
    return draw_sample(border, data.lattice, sweep.spec, count, seed)


def gather(data: FrameData, sample: Sample) -> Sheet:
    """Make the sheet of a frame from its dataset; checks that were not run make it `unverified`."""
    sweep, lattice = data.sweep, data.lattice
    node_labels = data.labels()
    cells = boundary_cells(node_labels)
    by_data = data.estimates()
    chosen = best(by_data)
    flips = tuple(read_flips(sweep, lattice, sample)) if sample.points else ()
    ran = {each.check for each in flips}
    needed = applicable(sweep, sample) if sample.points else ()
    nulls = _nulls(data, chosen, float((node_labels == 1).mean())) if chosen else {}
    audit = data.replayed.audit if data.replayed else None
    evidence = Evidence(
        boundary_cells=cells.n_mixed,
        unknown_cells=cells.n_unknown,
        data=chosen,
        estimate=by_data[chosen] if chosen else None,
        smooth={name: null for name, null in nulls.items() if name != NOISE},
        noise=nulls.get(NOISE),
        flips=flips,
        missing=tuple(check for check in needed if check not in ran),
        values=_values(sweep, lattice),
        reading=read_raster(node_labels),
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
    """Read the stored sheet of a frame; None if there is none for its present points and labels."""
    try:
        text = data.sweep.store().read_text(_file(data.sweep, data.lattice.frame.id))
        sheet = json.loads(text or "null", parse_int=_whole_number)
        if sheet is None or any(sheet[name] != value for name, value in _key(data).items()):
            return None
        _refuse_other_types(sheet)
        return None if _lacks_the_mode(sheet["evidence"], data.sweep) else sheet
    except StorageError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError):
        return None  # as damaged as if it were gone: `verify` makes it anew


def _whole_number(digits: str) -> int:
    """Return a whole number of JSON; refuse one that has no place among floats."""
    if not math.isfinite(float(digits)):
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


@functools.cache
def _type_of_sheets() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Sheet)


def _refuse_other_types(sheet: Any) -> None:
    """Raise ValueError for a sheet with values of other types than those of `Sheet`.

    Older sheets lack some of the evidence; a slope that is NaN is stored as null.
    """
    from pydantic import ValidationError

    try:
        _type_of_sheets().validate_json(json.dumps(sheet), strict=True)
    except ValidationError as error:
        for each in error.errors():
            place, of_evidence = each["loc"], each["loc"][:1] == ("evidence",)
            if each["type"] == "missing":
                allowed = of_evidence and place[1:2] != ("flips",)
            else:
                allowed = each["input"] is None and "local_slopes" in place
            if not allowed:
                raise ValueError(f"{place}: {each['msg']}") from error
    if not isinstance(sheet["dimension"], int | float | None):
        raise ValueError("dimension is no number")


def verify_command(data: FrameData) -> str:
    """Return the command that makes the sheet of a frame under its present label."""
    sweep = data.sweep
    stored_label = (sweep.header() or {}).get("spec", {}).get("label", {})
    settings = "".join(
        f" --set {shlex.quote(f'label.{key}={value}')}"
        for key, value in sweep.spec.label.model_dump().items()
        if stored_label.get(key, value) != value
    )
    frame = data.lattice.frame.id
    return f"fractal-ray verify {shlex.quote(sweep.location)} --frame {frame}{settings}"


def _lacks_the_mode(evidence: dict[str, Any], sweep: SweepData) -> bool:
    """Return True if a sheet needs the check `mode` but was made before that check existed."""
    named = {*evidence["missing"], *(each["check"] for each in evidence["flips"])}
    return bool(named) and "mode" not in named and sweep.in_deterministic_mode() is not None


def _file(sweep: SweepData, frame: int) -> str:
    return f"verify/frame-{frame}/sheet-{sweep.spec.label.boundary}.json"


def _key(data: FrameData) -> dict[str, Any]:
    """Return the inputs that a sheet is made of; a sheet of other inputs is void."""
    spec, base = data.sweep.spec, stage_of(data.lattice.frame.id)
    whole = spec.model_dump(mode="json", exclude_none=True)
    stages = whole["stages"]
    for stage in stages:
        if stage.get("refine", {}).get("probes") == 0:  # as in sheets from before there were probes
            del stage["refine"]["probes"]
    return {
        "frame": data.lattice.frame.id,
        "label": whole["label"],
        "stages": [stages[i] for i in range(base, len(stages)) if spec.plan.base(i) == base],
        "axes": whole["axes"],
        "workload": whole["workload"],
        "points": None if data.replayed is None else data.replayed.digest,
    }


def _nulls(data: FrameData, chosen: Data, share: float) -> dict[str, Estimate]:
    """Estimate the dimension of every null set on a frame from the chosen kind of data."""
    by_null = {}
    for null in NULLS:
        replayed = replay_null(data.sweep.spec, data.lattice, null, share)
        # TRAINED is yes and DIVERGED is no under every boundary.
        by_null[null] = estimates(replayed, label_of(data.sweep))[chosen]
    return by_null


def _along_the_rim(mixed: NDArray[np.bool_]) -> float:
    """Return the share of boundary cells in the outermost ring of cells.

    A border that only crosses the ring has few of them there.
    """
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
