"""Data of the page's maps: pictures, a code for every node, values of the runs.

The arrays are little-endian, compressed with gzip and written in base64; `page.js` unpacks them.
"""

import base64
import gzip
import math
import shlex
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fractal_ray.analysis.rates import rate_factors
from fractal_ray.dataset.relabel import ratios
from fractal_ray.figures.nesting import chain, inside
from fractal_ray.figures.ruler import Ruler
from fractal_ray.figures.tiles import edges, rulers
from fractal_ray.report.facts import Facts, FrameFacts
from fractal_ray.report.pictures import MOST_PIXELS, View, thumbnail, views
from fractal_ray.spec.frames import SweepFrame

MOST_BYTES: Final = 7_000_000
"""Largest size of all maps of a page, without plotly.js and texts."""
_LEAST_BYTES: Final = 500_000
"""Size that the values of runs may take in any case, even beside large pictures."""

INFERRED: Final = 10
MISSING: Final = 20
FAILED: Final = 21
"""Codes of nodes: 0 to 9 are those of runs (`boundary.OUTCOME_CODES`), 10 to 19 those of inferred
nodes (`boundary.POSSIBLE`) from 0."""


def pack(array: NDArray[Any]) -> str:
    """Encode an array as base64 of its gzipped little-endian bytes."""
    data = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes()
    return pack_bytes(data)


def pack_bytes(data: bytes) -> str:
    """Encode bytes as base64 of their gzip."""
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def data_uri(png: bytes) -> str:
    """Encode a picture as the source of an `img` element."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def maps(facts: Facts) -> tuple[list[dict[str, Any]], list[str]]:
    """Collect the data of the page's maps, and sentences about the parts that they leave out.

    Returns
    -------
    ``(frames, notes)``: plain data of every frame that there is room for, in order.
    """
    made, left, used, notes = [], [], 0, []
    for frame in facts.frames:
        drawn = _drawn(facts, frame)
        size = len(drawn["codes"]) + sum(len(view["png"]) for view in drawn["views"])
        if made and used + size > MOST_BYTES:
            left.append(frame.number)
            continue
        used += size
        made.append((frame, drawn))
    stride = _thin_out(facts, made, max(_LEAST_BYTES, MOST_BYTES - used))
    for frame, _ in made:
        if max(frame.data.raster.outcome.shape) > MOST_PIXELS:
            ny, nx = frame.data.raster.outcome.shape
            notes.append(
                f"Frame {frame.number} has {nx:,} by {ny:,} nodes and its pictures"
                f" {MOST_PIXELS:,} pixels a side at most; pointing at it reads every node."
            )
    if stride > 1:
        notes.append(
            f"To keep the page small, the values of one run in {stride} are in it; of the others it"
            " has the outcome. The dataset has them all."
        )
    if left:
        notes.append(
            f"To keep the page small, the maps of frames {', '.join(map(str, left))} are left out:"
            f" fractal-ray plot {shlex.quote(facts.location)} --frame {left[0]}"
        )
    off = facts.table.num_rows - facts.status.others - _on_lattices(facts)
    if off > 0:
        notes.append(f"{off:,} runs are no nodes of a frame (lines, pairs, bisections): not shown.")
    return [drawn for _, drawn in made], notes


def _thin_out(facts: Facts, made: list[tuple[FrameFacts, dict[str, Any]]], room: int) -> int:
    """Add the values of every `stride`-th run, with the smallest `stride` that fits the room.

    Returns
    -------
    The stride.
    """
    stride = 1
    while True:
        for frame, drawn in made:
            drawn["rows"] = _rows(facts, frame, stride)
        size = sum(len(text) for _, drawn in made for text in drawn["rows"].values())
        if size <= room:
            return stride
        stride = max(stride + 1, math.ceil(stride * size / room))


def small_picture(facts: Facts, frame: FrameFacts) -> str:
    """Draw the label of a frame as a thumbnail."""
    raster, boundary = frame.data.raster, facts.sweep.spec.label.boundary
    return data_uri(thumbnail(raster, _failed(facts, frame)[0], boundary))


def _drawn(facts: Facts, frame: FrameFacts) -> dict[str, Any]:
    raster = frame.data.raster
    failed, errors = _failed(facts, frame)
    codes = np.where(raster.known & ~raster.measured, raster.outcome + INFERRED, raster.outcome)
    codes = np.where(raster.known, codes, np.where(failed, FAILED, MISSING)).astype(np.uint8)
    factors = rate_factors(facts.sweep.spec, facts.rule)
    along = dict(zip("xy", zip(rulers(raster), (raster.x, raster.y), strict=True), strict=True))
    return {
        "number": frame.number,
        "axes": {
            side: {**_axis(*each), "effective": factors.get(each[0].name)}
            for side, each in along.items()
        },
        "codes": pack(codes),
        "views": [_view(v) for v in views(raster, failed, facts.sweep.spec.label.boundary)],
        "errors": errors,
        "boxes": _boxes(facts.lattices, frame, {side: each[0] for side, each in along.items()}),
    }


def _axis(ruler: Ruler, values: NDArray[np.float64]) -> dict[str, Any]:
    positions = ruler.positions(values)
    outer = edges(positions)
    plain = ruler.scale == "log" and not ruler.origin and ruler.unit == 1
    return {
        "name": ruler.name,
        "type": "log" if plain else "linear",
        "title": ruler.name if plain else ruler.label.replace("\n", "<br>"),
        "values": values.tolist(),
        "positions": positions.tolist(),
        "range": [float(outer[0]), float(outer[-1])],
    }


def _view(view: View) -> dict[str, Any]:
    gradient = view.gradient
    return {
        "key": view.key,
        "title": view.title,
        "png": data_uri(view.png),
        "swatches": view.swatches,
        "gradient": None if gradient is None else vars(gradient),
    }


def _boxes(
    lattices: dict[int, SweepFrame], frame: FrameFacts, ruler: dict[str, Ruler]
) -> list[dict[str, Any]]:
    """Return the frames that lie directly in this one, as boxes in its units."""
    outer, raster = frame.data.lattice, frame.data.raster
    boxes = []
    for number in lattices:
        around = chain(lattices, number)
        if len(around) < 2 or around[-2] is not outer:
            continue
        shares = [float(share) for share in inside(outer.frame, lattices[number].frame)]
        box: dict[str, Any] = {"number": number}
        for side, values, ends in (("x", raster.x, shares[:2]), ("y", raster.y, shares[2:])):
            at = ruler[side].positions(values)
            box[side] = [float(at[0] + share * (at[-1] - at[0])) for share in ends]
        boxes.append(box)
    return boxes


def _rows(facts: Facts, frame: FrameFacts, stride: int) -> dict[str, Any]:
    """Return the values of every `stride`-th run on a frame."""
    nodes, at = _nodes(frame, facts.table)
    run = frame.data.raster.measured.ravel()[nodes]
    nodes, at = nodes[run][::stride], at[run][::stride]
    some = facts.table.take(pa.array(at))
    ratio = ratios(some, facts.rule)
    stored = some.column("ratio").to_numpy()
    ids = "".join(some.column("point_id").to_pylist())
    return {
        "index": pack(nodes.astype(np.uint32)),
        "id": pack(np.frombuffer(bytes.fromhex(ids), np.uint8)),
        "ratio": pack(_float32(np.where(np.isnan(ratio), stored, ratio))),
        "loss": pack(_float32(some.column("final_loss").to_numpy())),
        "seconds": pack(_float32(some.column("seconds").to_numpy())),
        "steps": pack(some.column("steps").to_numpy().astype(np.int32)),
        "attempt": pack(some.column("attempt").to_numpy().astype(np.int32)),
        "diverged": pack(some.column("diverged_step").fill_null(-1).to_numpy().astype(np.int32)),
    }


def _float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # a loss or ratio beyond float32 becomes infinite
        return values.astype(np.float32)


def _failed(facts: Facts, frame: FrameFacts) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Return the (ny, nx) nodes without an outcome whose runs failed, and the groups of errors."""
    raster = frame.data.raster
    failed = np.zeros(raster.outcome.shape, dtype=np.bool_)
    names = {group["error"]: number for number, group in enumerate(facts.groups)}
    nodes, at = _nodes(frame, facts.failures)
    errors = facts.failures.column("error").take(pa.array(at)).to_pylist()
    groups = {}
    for node, error in zip(nodes.tolist(), errors, strict=True):
        if not raster.known.flat[node]:
            failed.flat[node] = True
            groups[str(node)] = names[error]
    return failed, groups


def _nodes(frame: FrameFacts, table: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return nodes ``iy * nx + ix`` and row numbers of the rows on a frame's finest lattice."""
    lattice = frame.data.lattice
    cells_x = lattice.frame.cells_x << lattice.level
    cells_y = lattice.frame.cells_y << lattice.level
    ix = lattice.frame.x.addresses(table.column("x").to_numpy(), cells_x)
    iy = lattice.frame.y.addresses(table.column("y").to_numpy(), cells_y)
    at = np.flatnonzero((ix >= 0) & (iy >= 0))
    return iy[at] * (cells_x + 1) + ix[at], at


def _on_lattices(facts: Facts) -> int:
    on = np.zeros(facts.table.num_rows, dtype=np.bool_)
    for frame in facts.frames:
        on[_nodes(frame, facts.table)[1]] = True
    return int(on.sum())
