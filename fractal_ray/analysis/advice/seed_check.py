"""The check of an advice by several seeds: labels, loss of the best, noise, and what is lacking."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from fractal_ray.analysis.advice.frame_surface import FrameSurface
from fractal_ray.analysis.advice.law_results import Column
from fractal_ray.analysis.advice.results import (
    BestPoint,
    Cliff,
    Margin,
    Node,
    Noise,
    ReEstimate,
    Refusal,
    SeedLabel,
)
from fractal_ray.analysis.advice.seed_nodes import BEST, NEIGHBOUR, Roles, node_at
from fractal_ray.analysis.advice.seed_results import DEFAULT_SEEDS, NodeSeeds, SeedCheck
from fractal_ray.analysis.advice.seed_runs import (
    SeedRows,
    lacking_runs,
    seeds_to_run,
    shares_first_seed,
)
from fractal_ray.analysis.advice.seeds import label_of_seeds, noise_of_seeds, re_estimate
from fractal_ray.analysis.advice.surface import Surface
from fractal_ray.analysis.frame_data import FrameData
from fractal_ray.analysis.sweep_data import SweepData

_LEAST = 2
"""Least number of seeds that make the label of a node."""


@dataclass(frozen=True)
class Between:
    """Facts about the spread between seeds, for the second reading of a surface.

    Parameters
    ----------
    noise
        Noise of the loss of one run; None where it is not known.
    node
        Node of the best by single runs, at which the seeds were run.
    critical
        Standard deviation of log10 of the critical values; None where it is not known.
    """

    noise: Noise | None = None
    node: Node | None = None
    critical: float | None = None


NO_SPREAD = Between()
"""Nothing is known about the spread: there are no seeds."""


def seed_labels(rows: SeedRows, risk: float) -> dict[Node, SeedLabel]:
    """Return the label of each node over its seeds: broken from a share of `risk` on."""
    labels = {}
    for node, by_seed in rows.runs.items():
        known = [run.label for run in by_seed.values() if run.label >= 0]
        labels[node] = label_of_seeds(known.count(0), len(known), risk)
    return labels


def relabelled(surface: Surface, labels: Mapping[Node, SeedLabel]) -> Surface:
    """Return the surface with the labels of nodes over their seeds, where there are several."""
    broken = surface.broken.copy()
    for node, label in labels.items():
        if label.seeds >= _LEAST and surface.measured[node]:
            broken[node] = label.label
    return replace(surface, broken=broken)


def loss_noise(rows: SeedRows, nodes: Roles) -> Noise | None:
    """Return the noise of one run between seeds, from the best and its neighbours.

    Nodes with a seed that did not train are left out: beside the cliff losses scatter for another
    reason.
    """
    good = [
        list(rows.runs[node].values())
        for node, roles in nodes.items()
        if node in rows.runs and {BEST, NEIGHBOUR} & set(roles)
    ]
    losses = [[run.loss for run in runs] for runs in good if all(run.trained for run in runs)]
    if not losses:
        return None
    longest = max(map(len, losses))
    filled = [each + [np.nan] * (longest - len(each)) for each in losses]
    return noise_of_seeds(np.array(filled))


def critical_noise(
    surface: Surface, rows: SeedRows, columns: Iterable[Column], amount: str
) -> float | None:
    """Return the standard deviation of log10 of the critical values between seeds.

    A seed with the labels of the sweep at both sides of a bracket has its critical value there. A
    seed that breaks before the bracket, or does not break at its end, has it one bracket away, at
    least.
    """
    shifts = []
    for column in columns:
        low, high = column.last_unbroken, column.first_broken
        if low is None or high is None or low <= 0 or high <= 0:
            continue
        sides = [
            node_at(
                surface, *((column.amount, v) if amount == surface.x_name else (v, column.amount))
            )
            for v in (low, high)
        ]
        before, behind = (rows.runs.get(side, {}) if side else {} for side in sides)
        for seed in before.keys() & behind.keys():
            labels = before[seed].label, behind[seed].label
            if -1 not in labels:
                moved = labels[0] == 0 or labels[1] == 1
                shifts.append(abs(np.log10(high / low)) if moved else 0.0)
    return float(np.sqrt(np.mean(np.square(shifts)))) if shifts else None


def moved_margins(single: Cliff | Refusal, seeded: Cliff | Refusal) -> tuple[Margin, ...]:
    """Return the margins of single runs in the directions in which the seeds move the cliff."""
    if not isinstance(single, Cliff) or not isinstance(seeded, Cliff):
        return ()
    return tuple(
        before
        for before, after in zip(single.margins, seeded.margins, strict=True)
        if (before.last_unbroken, before.first_broken) != (after.last_unbroken, after.first_broken)
    )


def summarize(
    data: FrameData,
    measured: FrameSurface,
    best: BestPoint | Refusal,
    nodes: Roles,
    rows: SeedRows,
    labels: Mapping[Node, SeedLabel],
) -> SeedCheck:
    """Return the runs of the nodes with their seeds, and the runs that are lacking."""
    sweep = data.sweep
    seeds = sorted({seed for node in nodes for seed in rows.runs.get(node, {})})
    if reason := _nothing_to_check(data, nodes, any_runs=bool(seeds)):
        return SeedCheck(reason, left_out=rows.left_out)
    seeding = sweep.seeding
    assert seeding is not None
    goal = max(seeds[-1] - seeding.seed + 1, 2) if seeds else DEFAULT_SEEDS
    lacking = lacking_runs(data, nodes, rows, goal)
    wanted = {(node, seed) for node in nodes for seed in seeds_to_run(sweep, goal)}
    shared = shares_first_seed(sweep)
    own = seeding.seed if shared else None
    surface, none = measured.surface, SeedLabel(0, 0, None, None, None, -1)
    by_node = []
    for (iy, ix), roles in nodes.items():
        runs = dict(sorted(rows.runs.get((iy, ix), {}).items()))
        by_node.append(
            NodeSeeds(
                node=(iy, ix),
                x=float(surface.x[ix]),
                y=float(surface.y[iy]),
                roles=roles,
                single=int(surface.broken[iy, ix]),
                seeds=tuple(runs),
                losses=tuple(run.loss for run in runs.values()),
                labels=tuple(run.label for run in runs.values()),
                label=labels.get((iy, ix), none),
            )
        )
    seconds = sum(measured.seconds[node] for node in nodes) / len(nodes)
    runs = sum(each.lacking for each in lacking)
    return SeedCheck(
        "",
        changes=seeding.changes,
        shared=shared,
        seeds=tuple(seeds),
        nodes=tuple(by_node),
        best=_best_again(best, by_node, own) if seeds else None,
        goal=goal,
        command=_command(data, goal),
        lacking=runs,
        failed=len(rows.failed & wanted),
        seconds=float(seconds * runs),
        left_out=rows.left_out,
    )


def _nothing_to_check(data: FrameData, nodes: Roles, *, any_runs: bool) -> str:
    """Return the reason for which seeds check nothing; "" if they can."""
    if reason := no_seeds(data.sweep):
        return reason
    if not nodes:
        return "not checked: there is no best point and no cliff"
    if data.replayed is None and not any_runs:
        return "not checked: the frame is not finished"
    return ""


def no_seeds(sweep: SweepData) -> str:
    """Return the reason for which the runs of a sweep have one seed only; "" without one."""
    if sweep.seeding is not None:
        return ""
    if sweep.given_workload is not None:
        return "not checked: runs of a workload made in Python have one seed"
    if "seed" in (sweep.spec.axes.x.param, sweep.spec.axes.y.param):
        return "an axis of the sweep is the seed"
    return "runs are deterministic, the data order is fixed"


def _best_again(
    best: BestPoint | Refusal, nodes: Iterable[NodeSeeds], own: int | None
) -> ReEstimate | None:
    """Return the loss of the best from the seeds that did not choose it; `own` chose it.

    A run that broke has no loss that tells about the best; its share is said apart.
    """
    if not isinstance(best, BestPoint):
        return None
    here = [each for each in nodes if each.node == best.node]
    if not here:
        return None
    runs = zip(here[0].losses, here[0].labels, strict=True)
    losses = [np.nan if label == 0 else loss for loss, label in runs]
    chose = [seed == own for seed in here[0].seeds]
    if own not in here[0].seeds:
        losses, chose = [*losses, best.loss], [*chose, True]
    return re_estimate(np.array(losses), np.array(chose))


def _command(data: FrameData, goal: int) -> str:
    """Return the command that runs the seeds which are lacking."""
    sweep, frame = data.sweep, data.lattice.frame.id
    words = ["fractal-ray", "advise", sweep.location]
    words += [] if frame == min(sweep.frames) else ["--frame", str(frame)]
    return shlex.join([*words, "--seeds", str(goal)])
