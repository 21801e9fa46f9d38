"""Results of runs with several seeds, as plain values; `results.plain` turns them into JSON."""

from dataclasses import dataclass, field
from typing import Final

from fractal_ray.analysis.advice.results import Margin, Node, Noise, ReEstimate, SeedLabel

DEFAULT_SEEDS: Final = 3
"""Number of seeds that the advice proposes."""


@dataclass(frozen=True)
class NodeSeeds:
    """The runs of one node with several seeds.

    Parameters
    ----------
    x, y, roles
        Its values, and its roles in the advice (`seed_nodes.Roles`).
    single
        Label of the run of the sweep: 1 unbroken, 0 broken, -1 unknown.
    seeds, losses, labels
        Seeds with a run, and the losses and labels of these runs; NaN where a loss is not finite.
    label
        The label over its seeds.
    """

    node: Node = field(repr=False)
    x: float
    y: float
    roles: tuple[str, ...]
    single: int
    seeds: tuple[int, ...]
    losses: tuple[float, ...]
    labels: tuple[int, ...]
    label: SeedLabel


@dataclass(frozen=True)
class SeedCheck:
    """The check of an advice by runs with several seeds.

    Parameters
    ----------
    reason
        Reason for which there is nothing to check; "" if there is something.
    changes
        What a seed changes in a run (`Seeding.changes`).
    shared
        True if the runs of the sweep itself are those of its seed, so that only others are added.
    seeds
        The seeds with runs at the checked nodes; with the one of the sweep if `shared`.
    nodes
        The nodes to check, with the runs that there are.
    best
        Loss of the best from seeds other than that which chose it, of their runs that did not
        break; None without a best point.
    noise
        Noise of one run between seeds.
    critical_noise
        Standard deviation of log10 of the critical values between seeds, where an axis changes the
        data.
    moved
        Margins before the seeds were counted, in the directions in which they move the cliff.
    goal, command
        Number of seeds for which `lacking` counts, and the command that runs them.
    lacking, failed
        Number of runs that `advise --seeds goal` would add, and how many of them have failed.
    seconds
        Time of these runs, by that of the runs of the sweep.
    left_out
        Sentences on runs that were not counted.
    """

    reason: str
    changes: str = ""
    shared: bool = False
    seeds: tuple[int, ...] = ()
    nodes: tuple[NodeSeeds, ...] = ()
    best: ReEstimate | None = None
    noise: Noise | None = None
    critical_noise: float | None = None
    moved: tuple[Margin, ...] = ()
    goal: int = DEFAULT_SEEDS
    command: str = ""
    lacking: int = 0
    failed: int = 0
    seconds: float = 0.0
    left_out: tuple[str, ...] = field(default=(), repr=False)

    @property
    def checked(self) -> int:
        """Return the number of seeds that the advice rests on: 1 without any check."""
        return max(1, len(self.seeds))

    def with_role(self, role: str) -> list[NodeSeeds]:
        """Return the nodes of a role that have a label over several seeds."""
        return [each for each in self.nodes if role in each.roles and each.label.seeds > 1]
