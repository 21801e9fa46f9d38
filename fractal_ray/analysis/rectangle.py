"""A closer look at a rectangle of a sweep's map: a new sweep, begun with the old one's runs.

Its stages are those of the old one up to the first zoom, and a zoom to the rectangle: it is
resumed, verified and drawn like any other, and the old one stays as it is. The rectangle is widened
to nodes of the frame that it was chosen on (of its lattice, halved a few times if need be) and to
the proportions of that frame; its ends are exact (`cut.py`), and its lattice contains those nodes,
so what was run there is not run again.
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
from fractal_ray.analysis.sweep_data import SweepData
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
"""A rectangle is at least so many lattice steps wide, so widening adds a quarter at most."""
_ON_NODE: Final = Fraction(1, 10**6)
"""Of a lattice step: what is nearer to a node is meant to be on it."""


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
        (low, high) of the rectangle in real values, inside the frame. The frame that is run is the
        smallest one around it with the old one's proportions and corners on nodes.
    frame
        Number of the frame that it lies in; None for the last.
    points
        Nodes along a side, at least.
    levels
        Levels to which the border in it is refined.
    storage, name
        The new sweep's; by default beside the old one, under a name made from the frame, so that
        the same call finds the runs of an earlier one.

    Returns
    -------
    SweepSpec
        The spec of the new sweep, whose dataset is begun. Its last frames are the rectangle's.

    Raises
    ------
    SweepError
        For a rectangle that is no part of the frame, axes of whole numbers, a sweep that is not
        finished, or a lattice finer than the arithmetic.
    """
    lattice = sweep.frame(frame)
    _check(sweep, lattice, x, y, points)
    spec = sweep.spec
    kept = next(
        (i for i, stage in enumerate(spec.stages) if stage.zoom is not None), len(spec.stages)
    )
    root = spec.plan.frame(spec.plan.root(spec.plan.base(kept - 1)))
    _check_finished(sweep, {root.id, lattice.frame.id})
    made = _cut_out(lattice, x, y, points, kept * PER_STAGE)
    zoom = _zoom_to(made, root, spec.label.model_dump())
    storage = storage or sweep.location.rpartition("/")[0]
    new_spec = _spec_with(spec, kept, zoom, levels, storage, name)
    other = SweepData(new_spec, inside(storage, new_spec.name))
    theirs, stages = other.header(), new_spec.model_dump(mode="json")["stages"]
    if theirs is None:
        _begin(sweep, other, kept, SweepFrame(made, levels), zoom)
    elif theirs["spec"]["stages"] != stages:
        raise SweepError(f"{other.location} holds another sweep; take another name or storage")
    return new_spec


def _check(sweep: SweepData, lattice: SweepFrame, x: Range, y: Range, points: int) -> None:
    for side, axis, given in (("x", lattice.frame.x, x), ("y", lattice.frame.y, y)):
        if axis.integer:
            raise SweepError(
                f"{axis.param} takes whole numbers, so there is nothing to find between two"
                " neighbours: zoom needs axes of real numbers"
            )
        if not _is_range(given) or not axis.min <= given[0] < given[1] <= axis.max:
            raise SweepError(
                f"{side} ({axis.param}) takes (low, high) inside the frame, from {axis.min!r} to"
                f" {axis.max!r}; given {given!r}"
            )
    if points < 2:
        raise SweepError(f"points must be at least 2 along a side; given {points}")


def _is_range(given: object) -> bool:
    """Whether something is a pair of numbers."""
    pair = np.asarray(given, dtype=object)
    return pair.shape == (2,) and all(isinstance(end, numbers.Real) for end in pair)


def _check_finished(sweep: SweepData, frames: Iterable[int]) -> None:
    table = sweep.table()
    for number in frames:
        replayed = read_frame(sweep, number, table=table).replayed
        if replayed is None or replayed.unfinished:
            raise SweepError(
                f"frame {number} of {sweep.location} is not finished; run it first: sweep.run(),"
                " or fractal-ray run"
            )


def _shares(axis: Axis, ends: Range) -> tuple[Fraction, Fraction]:
    low, high = (Fraction(share_at(axis, coordinate(axis, float(end)))) for end in ends)
    return max(low, Fraction(0)), min(high, Fraction(1))


def _cut_out(lattice: SweepFrame, x: Range, y: Range, points: int, number: int) -> Frame:
    """The frame on nodes that holds the rectangle, and a lattice that contains these nodes."""
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
    # So many times finer than the nodes around that every one of them is one of the new.
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
    """Smallest block of the frame's proportions on nodes around a rectangle: size, low corner.

    Along an axis the lattice has ``step * common`` cells and the block ``step * size``.
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
    """How a frame lies in that of the grid."""
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
    spec: SweepSpec, kept: int, zoom: Zoom, levels: int, storage: str, name: str | None
) -> SweepSpec:
    """The first `kept` stages and the zoom."""
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
    stages = [*raw["stages"][:kept], {"zoom": stage}]
    stages += [{"refine": {"levels": levels}}] if levels else []
    changed = {**raw, "stages": stages, "name": name, "storage": storage}
    return parse_spec(changed, origin=f"the zoom of {spec.name}")


def _begin(sweep: SweepData, other: SweepData, kept: int, lattice: SweepFrame, zoom: Zoom) -> None:
    """Give a new sweep the old one's rows that it needs; the header last: it says all is there."""
    table, frame = sweep.table(), lattice.frame
    wide, high = frame.cells_x << lattice.level, frame.cells_y << lattice.level
    x, y = (table.column(name).to_numpy() for name in ("x", "y"))
    number = table.column("frame").to_numpy()
    ix, iy = frame.x.addresses(x, wide), frame.y.addresses(y, high)
    shared = (ix >= 0) & (iy >= 0) & (number >= kept)
    level = np.where(shared, _own_level(ix, iy, lattice.level), table.column("level").to_numpy())
    shift = lattice.level - level
    for name, mine in (("ix", ix >> shift), ("iy", iy >> shift)):
        values = np.where(shared, mine, table.column(name).to_numpy())
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    stages = np.where(shared, f"{kept}:zoom", table.column("stage").to_numpy(zero_copy_only=False))
    table = table.set_column(
        table.column_names.index("stage"), "stage", pa.array(stages, pa.string())
    )
    number = np.where(shared, frame.id, number)
    ours = shared | (number < kept)
    facts, store, header = sweep.store().facts()[0], other.store(), sweep.header()
    assert header is not None  # its frames are finished
    for at, deep in sorted({*zip(number[ours].tolist(), level[ours].tolist(), strict=True)}):
        rows = table.filter(pa.array(ours & (number == at) & (level == deep)))
        store.append_table(rows, frame=at, level=deep, facts=facts, name="part-0.parquet")
    store.write_file(FILE, to_bytes([zoom]))
    write_header(store, {**header, "spec": other.spec.model_dump(mode="json")})


def _own_level(ix: NDArray[np.int64], iy: NDArray[np.int64], finest: int) -> NDArray[np.int64]:
    """The first level at which a node of the finest lattice appears."""
    level = np.full(ix.shape, finest)
    for deeper in range(finest, 0, -1):
        even = (ix | iy) % (1 << (finest - deeper + 1)) == 0
        level[even] = deeper - 1
    return level
