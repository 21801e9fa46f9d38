"""The verification sheet of a frame: gathered from a dataset, kept beside it, read again.

``verify/frame-N/sheet.json`` in the sweep's folder (docs/storage.md).
"""

import functools
import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fractal_ray.boundary import Raster, boundary_cells, is_yes, labels
from fractal_ray.dimension.recommend import Data
from fractal_ray.dimension.result import Estimate
from fractal_ray.dimension.verdict import read_raster
from fractal_ray.dimension.verify import AxisValues, Evidence, Sheet, judge
from fractal_ray.errors import SweepError
from fractal_ray.estimates import best, estimates
from fractal_ray.flips import Sample, applicable, draw_sample, read_flips
from fractal_ray.frames import Lattice, stage_of
from fractal_ray.null_sets import NULLS, replay_null
from fractal_ray.precision import Arithmetic, distinct_values
from fractal_ray.rasters import fill_raster
from fractal_ray.replay import Replayed
from fractal_ray.space import Axis
from fractal_ray.sweep import Sweep

SAMPLE: Final = 200
"""Boundary points that are checked, unless told otherwise: none of them changing its label then
says, with 95 %, that fewer than 1.9 % do."""


@dataclass(frozen=True)
class FrameData:
    """What a dataset knows of one frame, under the spec's label.

    `replayed` is None where the frame's grid or its refinement is not finished.
    """

    sweep: Sweep
    lattice: Lattice
    table: pa.Table
    raster: Raster
    replayed: Replayed | None

    def labels(self) -> NDArray[np.int8]:
        """(ny, nx) int8 of the finest lattice: 1, 0 and -1 (not known)."""
        return labels(self.raster, self.sweep.spec.label.boundary)

    def estimates(self) -> dict[Data, Estimate]:
        """By every estimator that the frame's stages allow."""
        if self.replayed is None:
            return {}
        return estimates(self.replayed, label_of(self.sweep))


def read_frame(
    sweep: Sweep,
    frame: int | None = None,
    *,
    table: pa.Table | None = None,
    skip_corrupt: bool = False,
) -> FrameData:
    """Read a frame of a dataset; the last one by default.

    Parameters
    ----------
    sweep
    frame
        Its number.
    table
        Rows of `points/`; None reads them.
    skip_corrupt
        Leave out parts that cannot be read instead of raising.
    """
    lattice = sweep.lattice(frame)
    table = sweep.table(skip_corrupt=skip_corrupt) if table is None else table
    failures = sweep.store().read_failures(skip_corrupt=True)
    raster, replayed = fill_raster(sweep.spec, lattice, table, failures)
    return FrameData(sweep, lattice, table, raster, replayed)


def sample_of(data: FrameData, count: int = SAMPLE, seed: int = 0) -> Sample:
    """The boundary points of a frame that are checked.

    Raises
    ------
    SweepError
        While the frame is not finished.
    """
    if data.replayed is None:
        raise SweepError(
            f"frame {data.lattice.frame.id} of {data.sweep.location} is not finished; run it first:"
            " fractal-ray run"
        )
    return draw_sample(data.raster, data.lattice, data.sweep.spec, count, seed)


def gather(data: FrameData, sample: Sample) -> Sheet:
    """The sheet of a frame, from what is there: checks that were not run make it `unverified`."""
    sweep, lattice = data.sweep, data.lattice
    given = data.labels()
    found = data.estimates()
    chosen = best(found)
    flips = tuple(read_flips(sweep, lattice, sample)) if sample.points else ()
    ran = {each.check for each in flips}
    needed = applicable(sweep, sample) if sample.points else ()
    nulls = _nulls(data, chosen, float((given == 1).mean())) if chosen else {}
    audit = data.replayed.audit if data.replayed else None
    evidence = Evidence(
        boundary_cells=boundary_cells(given).n_mixed,
        estimate=found[chosen] if chosen else None,
        smooth={name: null for name, null in nulls.items() if name != "label noise"},
        noise=nulls.get("label noise"),
        flips=flips,
        missing=tuple(check for check in needed if check not in ran),
        values=_values(sweep, lattice),
        reading=read_raster(given),
        growth=audit.found if audit else (),
    )
    return judge(evidence)


def keep(data: FrameData, sheet: Sheet) -> str:
    """Write a sheet beside its dataset; where it is."""
    content = {"schema_version": 1, **_key(data.sweep, data.lattice), **sheet.to_dict()}
    return data.sweep.store().write_file(
        _file(data.lattice), (json.dumps(content, indent=1) + "\n").encode()
    )


def read_sheet(sweep: Sweep, lattice: Lattice) -> dict[str, Any] | None:
    """The kept sheet of a frame; None where there is none for its stages and this label."""
    text = sweep.store().read_text(_file(lattice))
    if text is None:
        return None
    try:
        kept = json.loads(text)
        current = all(kept[name] == value for name, value in _key(sweep, lattice).items())
    except (ValueError, KeyError, TypeError):
        return None
    return kept if current else None


def _file(lattice: Lattice) -> str:
    return f"verify/frame-{lattice.frame.id}/sheet.json"


def _key(sweep: Sweep, lattice: Lattice) -> dict[str, Any]:
    """What the sheet was made under; another label or other stages make it void."""
    spec, base = sweep.spec, stage_of(lattice.frame.id)
    stages = spec.model_dump(mode="json", exclude_none=True)["stages"]
    mine = [stages[i] for i in range(base, len(stages)) if spec.base(i) == base]
    return {"frame": lattice.frame.id, "label": spec.label.model_dump(), "stages": mine}


def label_of(sweep: Sweep) -> functools.partial[bool]:
    """The rule that labels an outcome, as the spec asks."""
    return functools.partial(is_yes, boundary=sweep.spec.label.boundary)


def _nulls(data: FrameData, chosen: Data, share: float) -> dict[str, Estimate]:
    found = {}
    for null in NULLS:
        replayed = replay_null(data.sweep.spec, data.lattice, null, share)
        # TRAINED is yes and DIVERGED is no under every boundary.
        found[null] = estimates(replayed, label_of(data.sweep))[chosen]
    return found


def _values(sweep: Sweep, lattice: Lattice) -> tuple[AxisValues, AxisValues]:
    frame = lattice.frame
    of_x, of_y = sweep.spec.arithmetics
    return (
        _axis_values(frame.x, of_x, frame.cells_x << lattice.level),
        _axis_values(frame.y, of_y, frame.cells_y << lattice.level),
    )


def _axis_values(axis: Axis, arithmetic: Arithmetic, cells: int) -> AxisValues:
    return AxisValues(axis.param, arithmetic, cells + 1, distinct_values(axis, cells, arithmetic))
