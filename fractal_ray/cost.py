"""What a sweep will take, reckoned from its spec alone: no model, no network, no GPU."""

from dataclasses import dataclass

import numpy as np

from fractal_ray.space import Frame
from fractal_ray.spec import SweepSpec
from nanochat.recipe import Recipe


@dataclass(frozen=True)
class StageCost:
    """One stage: lattice nodes, and runs (nodes that share their values run once)."""

    name: str
    nodes: tuple[int, int]
    runs: int
    supervised_tokens: int
    """Upper bound: a run may stop early when it diverges."""


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

    @property
    def supervised_tokens(self) -> int:
        """Supervised tokens in all."""
        return sum(stage.supervised_tokens for stage in self.stages)

    @property
    def slot_hours(self) -> float | None:
        """Hours of one slot: all tokens over tokens per second."""
        if self.tokens_per_second is None:
            return None
        tokens = self.supervised_tokens / self.supervised_fraction
        return tokens / self.tokens_per_second / 3600


def reckon(spec: SweepSpec, tokens_per_second: float | None = None) -> Cost:
    """Price a spec.

    Parameters
    ----------
    spec
        What would be run.
    tokens_per_second
        All tokens that one slot trains on in a second; None for the spec's own ``cost``.
    """
    stated = spec.cost
    if tokens_per_second is None and stated is not None:
        tokens_per_second = stated.tokens_per_second
    seen: set[tuple[float, float]] = set()
    stages = [_stage(spec, index, stage.name, seen) for index, stage in enumerate(spec.stages)]
    fraction = stated.supervised_fraction if stated else 1.0
    return Cost(tuple(stages), tokens_per_second, fraction)


def _stage(spec: SweepSpec, index: int, name: str, seen: set[tuple[float, float]]) -> StageCost:
    frame = spec.frame(index)
    pairs = _pairs(frame) - seen
    seen |= pairs
    recipe = Recipe.from_mapping(spec.workload.recipe)
    names = (frame.x.param, frame.y.param)
    if "num_tokens" in names:
        side = names.index("num_tokens")
        tokens = sum(int(pair[side]) for pair in pairs)
    else:
        tokens = recipe.num_tokens * len(pairs)
    return StageCost(name, (frame.cells_x + 1, frame.cells_y + 1), len(pairs), tokens)


def _pairs(frame: Frame) -> set[tuple[float, float]]:
    xs = np.unique(frame.x.values(frame.cells_x)).tolist()
    ys = np.unique(frame.y.values(frame.cells_y)).tolist()
    return {(x, y) for x in xs for y in ys}
