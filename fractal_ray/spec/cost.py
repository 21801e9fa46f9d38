"""What a sweep will take, reckoned from its spec alone: no model, no network, no GPU."""

from dataclasses import dataclass

import numpy as np

from fractal_ray.plane.precision import Arithmetic
from fractal_ray.spec.stages import PairsStage, RefineStage, TransectsStage, ZoomStage
from fractal_ray.spec.sweep_spec import SweepSpec


@dataclass(frozen=True)
class StageCost:
    """One stage: lattice nodes, and runs (nodes that share their values run once).

    What a refinement runs depends on the border. `by_dimension` has an estimate for borders of
    dimension 1.0, 1.3 and 1.6 that cross the frame once, and `runs` is the one for 1.3.
    """

    name: str
    nodes: tuple[int, int] | None
    """Of the finest lattice; None where points are no nodes of one."""
    runs: int
    supervised_tokens: int
    """What the recipe asks for. A run takes up to one batch more, and less when it diverges."""
    by_dimension: dict[float, int] | None = None
    frames: int = 1
    """Frames that it works on, at most; `runs` and `by_dimension` are for all, `nodes` for one."""


@dataclass(frozen=True)
class Cost:
    """The whole sweep.

    `slot_hours` is None when no throughput was stated. A run that many stages share is counted
    with the first.
    """

    stages: tuple[StageCost, ...]
    tokens_per_second: float | None
    supervised_fraction: float

    @property
    def runs(self) -> int:
        """Fine-tunes in all."""
        return sum(stage.runs for stage in self.stages)

    def runs_for(self, dimension: float) -> int:
        """Fine-tunes in all for a border of one of `DIMENSIONS`."""
        return sum(
            stage.runs if stage.by_dimension is None else stage.by_dimension[dimension]
            for stage in self.stages
        )

    @property
    def supervised_tokens(self) -> int:
        """Supervised tokens in all."""
        return sum(stage.supervised_tokens for stage in self.stages)

    @property
    def disk_bytes(self) -> int:
        """Bytes of the dataset but for its loss curves, which take 4 for each step of a run."""
        return _BYTES_PER_RUN * self.runs

    @property
    def slot_hours(self) -> float | None:
        """Hours of one slot: all tokens over tokens per second."""
        if self.tokens_per_second is None:
            return None
        tokens = self.supervised_tokens / self.supervised_fraction
        return tokens / self.tokens_per_second / 3600


def reckon(
    spec: SweepSpec, tokens_per_second: float | None = None, crossed: int | None = None
) -> Cost:
    """Price a spec.

    Parameters
    ----------
    spec
        What would be run.
    tokens_per_second
        All tokens that one slot trains on in a second; None for the spec's own ``cost``.
    crossed
        Boundary cells of the first grid, where it was run; None for a border that crosses once.
        The frames of zooms are taken to be crossed as often.
    """
    stated = spec.cost
    if tokens_per_second is None and stated is not None:
        tokens_per_second = stated.tokens_per_second
    seen: list[tuple[set[float], set[float]]] = []
    stages = [
        _stage(spec, index, stage.name, seen, crossed) for index, stage in enumerate(spec.stages)
    ]
    fraction = stated.supervised_fraction if stated else 1.0
    return Cost(tuple(stages), tokens_per_second, fraction)


_BYTES_PER_RUN = 100
"""Of Parquet, measured: 30 in joined parts of thousands of rows, 200 in those of hundreds."""
DIMENSIONS = (1.0, 1.3, 1.6)
_RUNS_PER_CELL = (
    3.0  # new nodes of a split boundary cell, those shared with neighbours counted once
)


def _refinement(spec: SweepSpec, index: int, refine: RefineStage, crossed: int | None) -> StageCost:
    """Estimate: N0 2^(D l) boundary cells at level l, each split once; N0 of a single crossing
    where it was not counted.

    The audit adds its share of the cells that are left whole, with 5 new nodes each.
    """
    (cells_x, cells_y), levels = spec.plan.cells(index), refine.levels
    frames = spec.plan.frames(index)
    first = float(max(cells_x, cells_y))
    if crossed is not None:
        first *= crossed / max(spec.plan.cells(0))
    by_dimension = {}
    for dimension in DIMENSIONS:
        split = sum(first * 2 ** (dimension * level) for level in range(levels))
        left = cells_x * cells_y + 4 * split
        runs = frames * (_RUNS_PER_CELL * split + 5 * refine.audit * left)
        by_dimension[dimension] = round(runs)
    runs = by_dimension[1.3]
    nodes = (cells_x << levels) + 1, (cells_y << levels) + 1
    return StageCost("refine", nodes, runs, runs * tokens_per_run(spec), by_dimension, frames)


def _zoom(spec: SweepSpec, index: int, zoom: ZoomStage) -> StageCost:
    """All nodes of all frames, and the bisections that look for points of the border.

    Nodes that a frame shares with the refined lattice that it was cut from are run once: a third
    of them or so where the factor is a power of two.
    """
    frames, (nx, ny) = spec.plan.frames(index), zoom.shape
    runs = frames * nx * ny
    if zoom.pick == "boundary-point":
        runs += max(map(_runs_of_bisection, spec.arithmetics)) * spec.plan.chains(index)
    return StageCost("zoom", (nx, ny), runs, runs * tokens_per_run(spec), None, frames)


def _runs_of_bisection(arithmetic: Arithmetic) -> int:
    """To the last bit, from a cell that is a hundredth or so of the axis."""
    return 50 if arithmetic == "float64" else 22


def _runs_of_lines(lines: TransectsStage) -> int:
    """All positions of the dense level, then what the audit bisects; flips come on top."""
    dense = min(lines.dense, lines.levels)
    deeper = lines.audit * 2**dense * (lines.levels - dense)
    return round(lines.count * (2**dense + 1 + deeper))


def _runs_of_pairs(pairs: PairsStage | None) -> int:
    return 0 if pairs is None else 2 * pairs.count * len(pairs.distances)


def tokens_per_run(spec: SweepSpec) -> int:
    """Of the fixed recipe, or the largest of an axis of tokens."""
    return spec.workload.tokens_per_run({a.param: a.max for a in (spec.axes.x, spec.axes.y)})


def _stage(
    spec: SweepSpec,
    index: int,
    name: str,
    seen: list[tuple[set[float], set[float]]],
    crossed: int | None,
) -> StageCost:
    stage = spec.stages[index]
    if stage.refine is not None:
        return _refinement(spec, index, stage.refine, crossed)
    if stage.zoom is not None:
        return _zoom(spec, index, stage.zoom)
    if not stage.on_lattice:
        runs = _runs_of_lines(stage.transects) if stage.transects else _runs_of_pairs(stage.pairs)
        runs *= (frames := spec.plan.frames(index))
        return StageCost(name, None, runs, runs * tokens_per_run(spec), None, frames)
    frame = spec.plan.frame(index)
    xs = np.unique(frame.x.values(frame.cells_x)).tolist()
    ys = np.unique(frame.y.values(frame.cells_y)).tolist()
    names = (frame.x.param, frame.y.param)
    fixed = tokens_per_run(spec)
    runs = tokens = 0
    # A row at a time: a lattice of millions of nodes needs no set of pairs.
    for y in ys:
        known = set().union(*(old_x for old_x, old_y in seen if y in old_y))
        new = [x for x in xs if x not in known]
        runs += len(new)
        if names[0] == "num_tokens":
            tokens += int(sum(new))
        else:
            tokens += len(new) * (int(y) if names[1] == "num_tokens" else fixed)
    seen.append((set(xs), set(ys)))
    return StageCost(name, (frame.cells_x + 1, frame.cells_y + 1), runs, tokens)
