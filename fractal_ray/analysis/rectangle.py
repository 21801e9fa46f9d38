"""A zoom to a rectangle of a sweep's map: a new sweep that starts with runs of the old sweep.

The stages of the new sweep are the old stages up to the first zoom, followed by a zoom to the
rectangle. The new sweep is resumed, verified and drawn like any other; the old sweep does not
change. The rectangle is widened to nodes of the frame that it was chosen on (nodes of its lattice,
halved a few times if necessary) and to the proportions of that frame. Its ends are exact
(`plane/cut_axis.py`), and its lattice contains those nodes, so points that were run there are not
run again.
"""

import hashlib
import math
import numbers
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fractal_ray.analysis.frame_data import read_frame
from fractal_ray.analysis.sweep_data import SweepData, with_settings_of_dataset
from fractal_ray.dataset.frames_file import FILE, to_bytes
from fractal_ray.dataset.header import write_header
from fractal_ray.dataset.store import inside
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import PER_STAGE, Axis, Frame
from fractal_ray.plane.cut_axis import (
    DECIMAL,
    coordinate,
    coordinate_at,
    cut,
    share_at,
    value_at,
)
from fractal_ray.plane.zoom import Zoom
from fractal_ray.spec.frames import SweepFrame
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.spec.yaml_file import parse_spec

Range = tuple[float, float]

_STEPS: Final = 8
"""Least width of a rectangle in lattice steps; with 8, widening adds a quarter at most."""
_ON_NODE: Final = Fraction(1, 10**6)
"""Distance to a node, in lattice steps, below which the end of a rectangle counts as the node."""


def begin_rectangle(
    sweep: SweepData,
    x: Range,
    y: Range,
    *,
    frame: int | None = None,
    points: int = 33,
    levels: int = 0,
    storage: str | None = None,
    name: str | None = None,
) -> SweepSpec:
    """Begin a sweep of a rectangle of a frame, with the runs that lie on its lattice.

    Parameters
    ----------
    sweep
        A finished sweep; it is only read.
    x, y
        (low, high) of the rectangle in real values, inside the frame. The new frame is the smallest
        one around the rectangle that has the old frame's proportions and its corners on nodes.
    frame
        Number of the frame that the rectangle lies in; None for the last.
    points
        Least number of nodes along a side.
    levels
        Levels to which the border in the rectangle is refined.
    storage, name
        Storage and name of the new sweep. By default it lies beside the old sweep, under a name
        made from the new frame, so that a repeated call finds the runs of the first call.

    Returns
    -------
    SweepSpec
        The spec of the new sweep; its dataset has been begun, and the rectangle is its last frame.

    Raises
    ------
    SweepError
        If the rectangle is not inside the frame, an axis takes whole numbers, the sweep is not
        finished, or the lattice is finer than the arithmetic.
    """
    lattice = sweep.frame(frame)
    _check(sweep, lattice, x, y, points)
    spec = sweep.spec
    stage_count = next(
        (i for i, stage in enumerate(spec.stages) if stage.zoom is not None), len(spec.stages)
    )
    root = spec.plan.frame(spec.plan.root(spec.plan.base(stage_count - 1)))
    _check_finished(sweep, {root.id, lattice.frame.id})
    cut_frame = _cut_out(lattice, x, y, points, stage_count * PER_STAGE)
    zoom = _zoom_to(cut_frame, root, spec.label.model_dump())
    storage = storage or sweep.location.rpartition("/")[0]
    new_spec = _spec_with(spec, stage_count, zoom, levels, storage, name)
    new_spec = with_settings_of_dataset(new_spec, inside(storage, new_spec.name))
    other = SweepData(new_spec, inside(storage, new_spec.name))
    header = other.header()
    if header is None:
        _begin(sweep, other, stage_count, SweepFrame(cut_frame, levels), zoom)
    elif parse_spec(header["spec"]).stages != new_spec.stages:
        raise SweepError(f"{other.location} holds another sweep; take another name or storage")
    return new_spec


def _check(sweep: SweepData, lattice: SweepFrame, x: Range, y: Range, points: int) -> None:
    for side, axis, ends in (("x", lattice.frame.x, x), ("y", lattice.frame.y, y)):
        if axis.integer:
            raise SweepError(
                f"{axis.param} takes whole numbers, so there is nothing to find between two"
                " neighbours: zoom needs axes of real numbers"
            )
        if not _is_range(ends) or not axis.min <= ends[0] < ends[1] <= axis.max:
            raise SweepError(
                f"{side} ({axis.param}) takes (low, high) inside the frame, from {axis.min!r} to"
                f" {axis.max!r}; given {ends!r}"
            )
    if points < 2:
        raise SweepError(f"points must be at least 2 along a side; given {points}")


def _is_range(ends: object) -> bool:
    """Return True if an object is a pair of numbers."""
    pair = np.asarray(ends, dtype=object)
    return pair.shape == (2,) and all(isinstance(end, numbers.Real) for end in pair)


def _check_finished(sweep: SweepData, frames: Iterable[int]) -> None:
    """Raise SweepError if one of the frames, by number, is not finished."""
    table = sweep.table()
    for number in frames:
        replayed = read_frame(sweep, number, table=table).replayed
        if replayed is None or replayed.unfinished:
            raise SweepError(
                f"frame {number} of {sweep.location} is not finished; run it first: sweep.run(),"
                f" or {sweep.run_command}"
            )


def _shares(axis: Axis, ends: Range) -> tuple[Fraction, Fraction]:
    """Return the ends of a range as shares of an axis, 0 to 1."""
    low, high = (Fraction(share_at(axis, coordinate(axis, float(end)))) for end in ends)
    return max(low, Fraction(0)), min(high, Fraction(1))


def _cut_out(lattice: SweepFrame, x: Range, y: Range, points: int, number: int) -> Frame:
    """Return the frame around a rectangle, with corners on nodes and a lattice that has them."""
    old = lattice.frame
    shares = _shares(old.x, x), _shares(old.y, y)
    common = math.gcd(old.cells_x, old.cells_y) << lattice.level
    steps = [(cells << lattice.level) // common for cells in (old.cells_x, old.cells_y)]
    width = max(high - low for low, high in shares)
    while width * common < _STEPS:
        common *= 2
    size, lows = _block(shares, steps, common)
    if size == common:
        raise SweepError("the rectangle fills the frame that it lies in; take a smaller one")
    # A whole multiple of the old resolution, so that every old node is a node of the new lattice.
    finer = max(1, -(-(points - 1) // (size * min(steps))))
    axes = []
    for axis, step, low in zip((old.x, old.y), steps, lows, strict=True):
        corners = Decimal(low), Decimal(low + size * step)
        cut_at = (DECIMAL.divide(corner, Decimal(step * common)) for corner in corners)
        axes.append(cut(axis, *(coordinate_at(axis, share) for share in cut_at)))
    return Frame(number, *axes, *(size * step * finer for step in steps))


def _block(
    shares: Sequence[tuple[Fraction, Fraction]], steps: Sequence[int], common: int
) -> tuple[int, list[int]]:
    """Return the smallest block of the frame's proportions, on nodes, around a rectangle.

    Returns
    -------
    (size, lows)
        Along an axis the lattice has ``step * common`` cells and the block ``step * size``; `lows`
        are the addresses of its low corner.
    """
    spans = []
    for (low, high), step in zip(shares, steps, strict=True):
        cells = step * common
        spans.append((math.floor(low * cells + _ON_NODE), math.ceil(high * cells - _ON_NODE)))
    sizes = [-(-(last - first) // step) for (first, last), step in zip(spans, steps, strict=True)]
    size = max(sizes)
    lows = []
    for (first, last), step in zip(spans, steps, strict=True):
        spare = size * step - (last - first)
        lows.append(min(max(first - spare // 2, 0), step * (common - size)))
    return size, lows


def _zoom_to(frame: Frame, root: Frame, label: Mapping[str, Any]) -> Zoom:
    """Return the zoom from the frame of the grid to a frame inside it."""
    low, high = frame.x.ends()
    outer_low, outer_high = root.x.ends()
    middles = [DECIMAL.divide(sum(axis.ends()), Decimal(2)) for axis in (frame.x, frame.y)]
    return Zoom(
        frame=frame,
        parent_id=root.id,
        fx=float(share_at(root.x, middles[0])),
        fy=float(share_at(root.y, middles[1])),
        x=value_at(root.x, middles[0]),
        y=value_at(root.y, middles[1]),
        factor=float(DECIMAL.divide(outer_high - outer_low, high - low)),
        rule="center",
        seed=0,
        label=dict(label),
    )


def _spec_with(
    spec: SweepSpec, stage_count: int, zoom: Zoom, levels: int, storage: str, name: str | None
) -> SweepSpec:
    """Return the spec of the first `stage_count` stages followed by the zoom."""
    if name is None:
        facts = to_bytes([zoom]) + f"{levels}".encode()
        root = re.sub(r"-zoom-[0-9a-f]{8}$", "", spec.name)
        name = f"{root}-zoom-{hashlib.sha256(facts).hexdigest()[:8]}"
    stage = {
        "points": [zoom.frame.cells_x + 1, zoom.frame.cells_y + 1],
        "factor": zoom.factor,
        "center": {"x": zoom.x, "y": zoom.y},
    }
    raw = spec.model_dump(mode="json", exclude_none=True)
    stages = [*raw["stages"][:stage_count], {"zoom": stage}]
    stages += [{"refine": {"levels": levels}}] if levels else []
    changed = {**raw, "stages": stages, "name": name, "storage": storage}
    context = spec.workload.context
    return parse_spec(changed, origin=f"the zoom of {spec.name}", context=context)


def _begin(
    sweep: SweepData, other: SweepData, stage_count: int, lattice: SweepFrame, zoom: Zoom
) -> None:
    """Write the old sweep's rows that a new sweep needs, and its header.

    The header is written last: a dataset with a header is complete.
    """
    table, frame = sweep.table(), lattice.frame
    wide, high = frame.cells_x << lattice.level, frame.cells_y << lattice.level
    x, y = (table.column(name).to_numpy() for name in ("x", "y"))
    number = table.column("frame").to_numpy()
    ix, iy = frame.x.addresses(x, wide), frame.y.addresses(y, high)
    shared = (ix >= 0) & (iy >= 0) & (number >= stage_count)
    level = np.where(shared, _own_level(ix, iy, lattice.level), table.column("level").to_numpy())
    shift = lattice.level - level
    for name, own_address in (("ix", ix >> shift), ("iy", iy >> shift)):
        values = np.where(shared, own_address, table.column(name).to_numpy())
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    stages = np.where(
        shared, f"{stage_count}:zoom", table.column("stage").to_numpy(zero_copy_only=False)
    )
    table = table.set_column(
        table.column_names.index("stage"), "stage", pa.array(stages, pa.string())
    )
    number = np.where(shared, frame.id, number)
    is_copied = shared | (number < stage_count)
    facts, store, header = sweep.store().facts()[0], other.store(), sweep.header()
    assert header is not None  # its frames are finished
    for at, deep in sorted(
        {*zip(number[is_copied].tolist(), level[is_copied].tolist(), strict=True)}
    ):
        rows = table.filter(pa.array(is_copied & (number == at) & (level == deep)))
        store.append_table(rows, frame=at, level=deep, facts=facts)
    store.write_file(FILE, to_bytes([zoom]))
    write_header(store, {**header, "spec": other.spec.model_dump(mode="json")})


def _own_level(ix: NDArray[np.int64], iy: NDArray[np.int64], finest: int) -> NDArray[np.int64]:
    """Return the coarsest level whose lattice holds each node of the finest lattice."""
    level = np.full(ix.shape, finest)
    for deeper in range(finest, 0, -1):
        even = (ix | iy) % (1 << (finest - deeper + 1)) == 0
        level[even] = deeper - 1
    return level
