"""What a sweep will take, reckoned from its spec alone: no model, no network, no GPU."""

from dataclasses import dataclass

import numpy as np

from fractal_ray.spec import NanochatSpec, SweepSpec
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
    seen: list[tuple[set[float], set[float]]] = []
    stages = [_stage(spec, index, stage.name, seen) for index, stage in enumerate(spec.stages)]
    fraction = stated.supervised_fraction if stated else 1.0
    return Cost(tuple(stages), tokens_per_second, fraction)


def _stage(
    spec: SweepSpec, index: int, name: str, seen: list[tuple[set[float], set[float]]]
) -> StageCost:
    frame = spec.frame(index)
    xs = np.unique(frame.x.values(frame.cells_x)).tolist()
    ys = np.unique(frame.y.values(frame.cells_y)).tolist()
    names = (frame.x.param, frame.y.param)
    workload = spec.workload
    fixed = (
        Recipe.from_mapping(workload.recipe).num_tokens
        if isinstance(workload, NanochatSpec)
        else 0  # a map trains on nothing
    )
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
