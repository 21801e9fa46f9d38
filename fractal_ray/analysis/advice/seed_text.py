"""The line `seeds` of the advice."""

import math

from fractal_ray.analysis.advice.readable import duration, number
from fractal_ray.analysis.advice.results import BestPoint, ReEstimate, Refusal
from fractal_ray.analysis.advice.seed_nodes import BEST, BROKEN, NEIGHBOUR, UNBROKEN
from fractal_ray.analysis.advice.seed_results import NodeSeeds, SeedCheck
from fractal_ray.analysis.advice.surface import Surface

_MOST_SIDES = 4
"""Largest number of sides of the cliff that the line names one by one."""


def seeds_text(check: SeedCheck, surface: Surface, best: BestPoint | Refusal) -> str:
    """Return what the seeds show, and the command that runs those which are lacking."""
    if check.reason:
        return check.reason
    cost = f"{_count(check.lacking, 'run')}, about {duration(check.seconds)}"
    if not check.seeds:
        return f"not checked: {check.command}   ({cost})"
    parts = [f"{_count(len(check.seeds), 'seed')} with {check.changes}"]
    if isinstance(best, BestPoint):
        parts[0] += f": {_best(check.best)}"
    parts += [f"the best {_broken(each)}" for each in check.with_role(BEST) if each.label.broken]
    beside = check.with_role(NEIGHBOUR)
    if breaking := sum(each.label.label == 0 for each in beside):
        parts.append(f"neighbours that break: {breaking} of {len(beside)}")
    sides = [each for each in check.nodes if {UNBROKEN, BROKEN} & set(each.roles)]
    sides = [each for each in sides if each.label.seeds > 1]
    if len(sides) <= _MOST_SIDES:
        parts += [f"{_place(each, surface, best)} {_broken(each)}" for each in sides]
    else:
        kept = sum(each.label.label == each.single for each in sides)
        parts.append(
            f"{kept} of {len(sides)} sides of the cliff keep the label of their single run"
        )
    if check.lacking:
        failed = f", {check.failed} of them failed" if check.failed else ""
        parts.append(f"lacking: {cost}{failed}: {check.command}")
    return "; ".join(part for part in parts if part)


def seed_notes(check: SeedCheck) -> list[str]:
    """Return sentences on a best that other seeds do not bear out, and on runs not counted."""
    broken = [each for each in check.with_role(BEST) if each.label.label == 0]
    return [
        *(
            f"the best point breaks with {each.label.broken} of {each.label.seeds} seeds; take a"
            " point further away from the cliff"
            for each in broken
        ),
        *check.left_out,
    ]


def _best(again: ReEstimate | None) -> str:
    """Return the loss of the best from other seeds than that which chose it."""
    if again is None or again.loss is None:
        return "no loss of the best from a seed that did not choose it"
    loss = f"loss of the best {again.loss.value:.4g}"
    if math.isfinite(again.loss.low):
        loss += f" ({again.loss.low:.4g} to {again.loss.high:.4g}, 95 %)"
    return f"{loss} from the {_count(again.seeds, 'seed')} that did not choose it"


def _broken(node: NodeSeeds) -> str:
    label = node.label
    assert label.low is not None and label.high is not None
    share = f"{100 * label.low:.0f} to {100 * label.high:.0f} %"
    return f"broke with {label.broken} of {_count(label.seeds, 'seed')} ({share})"


def _place(node: NodeSeeds, surface: Surface, best: BestPoint | Refusal) -> str:
    """Return the values of a node; those that the best has too are left out."""
    x, y = f"{surface.x_name} {number(node.x)}", f"{surface.y_name} {number(node.y)}"
    if isinstance(best, BestPoint) and node.y == best.y:
        return x
    return y if isinstance(best, BestPoint) and node.x == best.x else f"{x}, {y}"


def _count(number_of: int, noun: str) -> str:
    return f"{number_of:,} {noun}{'s' * (number_of != 1)}"
