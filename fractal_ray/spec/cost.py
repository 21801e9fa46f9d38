"""The cost of a sweep, estimated from its spec alone: without model, network or GPU."""

from dataclasses import dataclass

import numpy as np

from fractal_ray.plane.precision import Arithmetic
from fractal_ray.planners.probes import FACTOR_OF_MORE, HITS_FOR_MORE, default_probes
from fractal_ray.spec.stages import PairsStage, RefineStage, TransectsStage, ZoomStage
from fractal_ray.spec.sweep_spec import SweepSpec


@dataclass(frozen=True)
class StageCost:
    """The cost of one stage: lattice nodes, and runs (nodes with equal values run once).

    The number of runs of a refinement depends on the border. `by_dimension` holds estimates for
    borders of dimension 1.0, 1.3 and 1.6 that cross the frame once; `runs` is the estimate for 1.3.
    """

    name: str
    nodes: tuple[int, int] | None
    """Nodes of the finest lattice along x and y; None if the points are not lattice nodes."""
    runs: int
    supervised_tokens: int
    """Tokens of the budget, of which a run takes up to one batch more, or an upper bound
    (`Cost.bound`); less where runs diverge."""
    by_dimension: dict[float, int] | None = None
    frames: int = 1
    """Largest number of its frames; `runs` and `by_dimension` count all of them, `nodes` one."""
    probes: int = 0
    """Number of the first probes of each frame, with 4 runs each, of a refinement."""


@dataclass(frozen=True)
class Cost:
    """The cost of a whole sweep.

    `slot_hours` is None when no throughput was stated. A run that several stages share is counted
    with the first of them.
    """

    stages: tuple[StageCost, ...]
    tokens_per_second: float | None
    supervised_fraction: float
    bound: str | None = None
    """Reason for which the tokens are an upper bound; None where they are a budget."""

    @property
    def runs(self) -> int:
        """Return the number of runs of all stages."""
        return sum(stage.runs for stage in self.stages)

    def runs_for(self, dimension: float) -> int:
        """Return the number of runs of all stages, for a border of one of `DIMENSIONS`."""
        return sum(
            stage.runs if stage.by_dimension is None else stage.by_dimension[dimension]
            for stage in self.stages
        )

    @property
    def supervised_tokens(self) -> int:
        """Return the number of supervised tokens of all stages."""
        return sum(stage.supervised_tokens for stage in self.stages)

    @property
    def disk_bytes(self) -> int:
        """Return the bytes of the dataset without loss curves, which take 4 per step of a run."""
        return _BYTES_PER_RUN * self.runs

    @property
    def slot_hours(self) -> float | None:
        """Return the hours of one slot: all tokens divided by tokens per second."""
        if self.tokens_per_second is None:
            return None
        # A bound counts the tokens without a label as well.
        fraction = 1.0 if self.bound else self.supervised_fraction
        return self.supervised_tokens / fraction / self.tokens_per_second / 3600


def estimate_cost(
    spec: SweepSpec, tokens_per_second: float | None = None, crossed: int | None = None
) -> Cost:
    """Estimate the cost of a sweep.

    Parameters
    ----------
    spec
    tokens_per_second
        All tokens that one slot trains on in a second; None for the section ``cost`` of the spec.
    crossed
        Number of boundary cells of the first grid, if it was run; None for a border that crosses
        the frame once. The border is assumed to cross the frames of zooms equally often.
    """
    stated = spec.cost
    if tokens_per_second is None and stated is not None:
        tokens_per_second = stated.tokens_per_second
    counted: list[tuple[set[float], set[float]]] = []
    stages = [
        _stage(spec, index, stage.name, counted, crossed) for index, stage in enumerate(spec.stages)
    ]
    fraction = stated.supervised_fraction if stated else 1.0
    bound = spec.workload.token_bound({spec.axes.x.param, spec.axes.y.param})
    return Cost(tuple(stages), tokens_per_second, fraction, bound)


_BYTES_PER_RUN = 100
"""Bytes of Parquet per row. Measured: 30 in joined parts of thousands of rows, 200 of hundreds."""
DIMENSIONS = (1.0, 1.3, 1.6)
"""Dimensions of the border for which the runs of a refinement are estimated."""
_RUNS_PER_CELL = 3.0
"""New nodes of a split boundary cell; nodes shared with neighbours count once."""


def _refinement(spec: SweepSpec, index: int, refine: RefineStage, crossed: int | None) -> StageCost:
    """Estimate the cost of a refinement.

    Level l has N0 2^(D l) boundary cells, and each is split once. N0 is the number of cells along
    the longer side, for a border that crosses the frame once; `crossed` scales it. The audit adds
    its share of the cells that are left whole, with 5 new nodes each. Each probe has 4 nodes, and
    more follow where so many finest cells are boundary cells that the first probes meet enough.
    """
    (cells_x, cells_y), levels = spec.plan.cells(index), refine.levels
    frames = spec.plan.frames(index)
    probes = refine.probes
    if probes is None:
        probes = default_probes(cells_x, cells_y, levels, refine.audit)
    first = float(max(cells_x, cells_y))
    if crossed is not None:
        first *= crossed / max(spec.plan.cells(0))
    by_dimension = {}
    for dimension in DIMENSIONS:
        split = sum(first * 2 ** (dimension * level) for level in range(levels))
        left = cells_x * cells_y + 4 * split
        share = min(1.0, first * 2 ** (dimension * levels) / (cells_x * cells_y << 2 * levels))
        drawn = probes * (1 + FACTOR_OF_MORE * (probes * share >= HITS_FOR_MORE))
        runs = frames * (_RUNS_PER_CELL * split + 5 * refine.audit * left + 4 * drawn)
        by_dimension[dimension] = round(runs)
    runs = by_dimension[1.3]
    nodes = (cells_x << levels) + 1, (cells_y << levels) + 1
    tokens = runs * tokens_per_run(spec)
    return StageCost("refine", nodes, runs, tokens, by_dimension, frames, probes)


def _zoom(spec: SweepSpec, index: int, zoom: ZoomStage) -> StageCost:
    """Count all nodes of all frames of a zoom, and the bisections that search for border points.

    A frame shares nodes with the refined lattice that it was cut from, about a third of them if the
    factor is a power of two. They run once, but are counted here.
    """
    frames, (nx, ny) = spec.plan.frames(index), zoom.shape
    runs = frames * nx * ny
    if zoom.pick == "boundary-point":
        runs += max(map(_runs_of_bisection, spec.arithmetics)) * spec.plan.chains(index)
    return StageCost("zoom", (nx, ny), runs, runs * tokens_per_run(spec), None, frames)


def _runs_of_bisection(arithmetic: Arithmetic) -> int:
    """Return the runs of a bisection to the last bit, from a cell of about 1/100 of the axis."""
    return 50 if arithmetic == "float64" else 22


def _runs_of_lines(lines: TransectsStage) -> int:
    """Count all positions of the dense level, and the bisections of the audit.

    The bisections of label flips come on top.
    """
    dense = min(lines.dense, lines.levels)
    deeper = lines.audit * 2**dense * (lines.levels - dense)
    return round(lines.count * (2**dense + 1 + deeper))


def _runs_of_pairs(pairs: PairsStage) -> int:
    return 2 * pairs.count * len(pairs.distances)


def tokens_per_run(spec: SweepSpec) -> int:
    """Return the supervised tokens of a run: of the fixed recipe, or the largest on the axes."""
    return int(spec.workload.tokens_per_run({a.param: a.max for a in (spec.axes.x, spec.axes.y)}))


def _stage(
    spec: SweepSpec,
    index: int,
    name: str,
    counted: list[tuple[set[float], set[float]]],
    crossed: int | None,
) -> StageCost:
    """Return the cost of a stage.

    `counted` holds the values of x and of y of each earlier grid. Their nodes are not counted
    again, and the values of this grid are added.
    """
    part = spec.stages[index].part
    if isinstance(part, RefineStage):
        return _refinement(spec, index, part, crossed)
    if isinstance(part, ZoomStage):
        return _zoom(spec, index, part)
    if isinstance(part, TransectsStage | PairsStage):
        runs = _runs_of_lines(part) if isinstance(part, TransectsStage) else _runs_of_pairs(part)
        runs *= (frames := spec.plan.frames(index))
        return StageCost(name, None, runs, runs * tokens_per_run(spec), None, frames)
    frame = spec.plan.frame(index)
    xs = np.unique(frame.x.values(frame.cells_x)).tolist()
    ys = np.unique(frame.y.values(frame.cells_y)).tolist()
    runs = tokens = 0
    whole_row = np.array(xs)
    # One row at a time, so that a lattice of millions of nodes needs no set of pairs.
    for y in ys:
        known = set().union(*(old_x for old_x, old_y in counted if y in old_y))
        new = np.array([x for x in xs if x not in known]) if known else whole_row
        runs += len(new)
        values = {frame.x.param: new, frame.y.param: y}
        tokens += int(np.broadcast_to(spec.workload.tokens_per_run(values), len(new)).sum())
    counted.append((set(xs), set(ys)))
    return StageCost(name, (frame.cells_x + 1, frame.cells_y + 1), runs, tokens)
