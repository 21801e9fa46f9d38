"""The advice on a frame, as data and as lines of text: best, safe, cliff, seeds, next, limits."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fractal_ray.analysis.advice.frame_surface import ON_VALIDATION
from fractal_ray.analysis.advice.law_results import Column, PowerLaw, Prediction
from fractal_ray.analysis.advice.readable import number, runs_text
from fractal_ray.analysis.advice.results import (
    BestPoint,
    Cliff,
    Margin,
    Refusal,
    SafeRegion,
    Sensitivity,
    plain,
)
from fractal_ray.analysis.advice.seed_results import SeedCheck
from fractal_ray.analysis.advice.seed_text import seeds_text
from fractal_ray.analysis.advice.surface import State, Surface
from fractal_ray.workloads.section import SCALING

_SHOWN = 2.0
"""Percentage of the safe region that the line `safe` shows."""


@dataclass(frozen=True)
class Law:
    """The critical value of one axis against the amount of data on the other axis.

    Parameters
    ----------
    amount, rate
        Names of the axis that changes the data, and of the other one.
    columns
        Best, good range and critical bracket for each amount.
    fit
        The power law, or the reason for which there is none.
    predictions
        Critical and safe value at the requested amounts.
    """

    amount: str
    rate: str
    columns: tuple[Column, ...]
    fit: PowerLaw | Refusal
    predictions: tuple[Prediction, ...] = ()


@dataclass(frozen=True, repr=False)
class Advice:
    """The advice that the runs of one frame allow.

    Parameters
    ----------
    name, location, frame
        The sweep, its dataset and the number of the frame.
    metric
        The loss that runs are compared by.
    baseline
        Origin of the losses of the untouched model (`LabelRule.source`).
    untouched
        Loss of the untouched model at the best, in nats per token; None where it is not known.
    best
        The best point, or the reason for which there is none. Where one axis changes the data and
        no validation loss was measured it is refused, because losses of its columns cannot be
        compared.
    safe
        Regions within 1, 2 and 5 % of the best; empty without a best.
    cliff
        Margins from the best to the border `broken`, or the reason for which there are none.
    sensitivities
        Of x and of y.
    law
        Only where one axis changes the data.
    seeds
        The check by runs with several seeds.
    effective
        Rates that the optimizer applies at the best, where they differ from the nominal ones.
    recipe
        The values to paste: swept parameters at the best.
    command
        Command of a single run at the best, with the rounded values of `best`; None without one.
    needs_width
        True if the optimizer scales a swept rate by the width of the model, and this is not known.
    keeps_model
        True if a point can be run again to keep its model.
    notes
        Sentences on what cannot be said and why.
    surface
    """

    name: str
    location: str
    frame: int
    metric: str
    baseline: str
    untouched: float | None
    best: BestPoint | Refusal
    safe: tuple[SafeRegion, ...]
    cliff: Cliff | Refusal
    sensitivities: tuple[Sensitivity, ...]
    law: Law | None
    seeds: SeedCheck
    effective: dict[str, float]
    recipe: dict[str, float]
    command: str | None
    needs_width: bool
    keeps_model: bool
    notes: tuple[str, ...]
    surface: Surface

    @property
    def given(self) -> bool:
        """Return True if there is a best point, or columns with a best of their own."""
        of_columns = self.law is not None and any(c.best_loss is not None for c in self.law.columns)
        return isinstance(self.best, BestPoint) or of_columns

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: `best`, `safe`, `cliff`, `seeds`, `next`, and details."""
        best = plain(self.best)
        if isinstance(self.best, BestPoint):
            best |= {"untouched": plain(self.untouched), "effective": self.effective}
        return {
            "name": self.name,
            "frame": self.frame,
            "metric": self.metric,
            "baseline": self.baseline,
            "axes": {"x": self.surface.x_name, "y": self.surface.y_name},
            "best": best,
            "safe": [plain(region) for region in self.safe],
            "cliff": plain(self.cliff),
            "sensitivities": [plain(each) for each in self.sensitivities],
            "law": plain(self.law),
            "outcomes": outcomes_of(self.surface),
            "seeds": {"checked": self.seeds.checked, **plain(self.seeds)},
            "recipe": self.recipe,
            "command": self.command,
            "next": next_commands(self),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """Return the advice as lines of text."""
        return lines_of(self)

    def __repr__(self) -> str:
        """Return the lines, for notebooks."""
        return "\n".join(self.lines())


def lines_of(advice: Advice) -> list[str]:
    """Return the advice as lines, each with its key first."""
    surface = advice.surface
    lines = []
    if isinstance(best := advice.best, BestPoint):
        effective = ""
        if advice.effective:
            effective = f"   (effective {_effective(advice)})"
        change = f"{best.loss:.4g}"
        if advice.untouched is not None:
            change = f"{advice.untouched:.4g} -> {change}"
        loss_name = ON_VALIDATION if advice.metric == ON_VALIDATION else "loss"
        lines.append(
            f"best    {surface.x_name} {number(best.x)}  {surface.y_name} {number(best.y)}"
            f"      {loss_name} {change}{effective}"
        )
        region = next(each for each in advice.safe if each.percent == _SHOWN)
        within = "one standard error" if region.below_noise else f"{region.percent:g} %"
        lines.append(
            f"safe    {_range(region.x_range)} x {_range(region.y_range)}"
            f"      within {within} of the best, {runs_text(region.runs)}"
        )
    else:
        lines.append(f"best    none: {best.reason}")
    lines.append(f"cliff   {_cliff(advice)}")
    if advice.law is not None:
        lines += law_lines(advice.law)
    lines.append(f"seeds   {seeds_text(advice.seeds, surface, best)}")
    lines.append(f"next    {'   |   '.join(next_commands(advice))}")
    lines += _recipe_lines(advice)
    return [*lines, *(f"note    {note}" for note in advice.notes)]


def _effective(advice: Advice) -> str:
    """Return the applied rates, with the names of groups where a base rate sets several."""
    swept = set(advice.effective) <= {advice.surface.x_name, advice.surface.y_name}
    return ", ".join(
        number(value) if swept else f"{name} {number(value)}"
        for name, value in advice.effective.items()
    )


def _recipe_lines(advice: Advice) -> list[str]:
    """Return the best as a command, as YAML, and as rates for another trainer."""
    if advice.command is None:
        return []
    values = ", ".join(f"{name}: {text}" for name, text in rounded(advice.recipe).items())
    parts = [f"YAML  recipe: {{{values}}}"]
    if advice.needs_width:
        parts.append(f"another trainer  AdamW rates x {SCALING}")
    elif advice.effective:
        rates = (f"{name} {text}" for name, text in rounded(advice.effective).items())
        parts.append(f"another trainer  {', '.join(rates)}")
    return [f"recipe  {advice.command}", f"        {'   |   '.join(parts)}"]


def rounded(values: Mapping[str, float]) -> dict[str, str]:
    """Return values as users paste them: whole numbers in full, others with three digits."""
    return {
        name: str(int(value)) if float(value).is_integer() else number(value)
        for name, value in values.items()
    }


def next_commands(advice: Advice) -> list[str]:
    """Return the commands that a user may run next."""
    place = shlex.quote(advice.location)
    can_rerun = advice.keeps_model and isinstance(advice.best, BestPoint)
    best = [f"fractal-ray rerun {place} --best"] if can_rerun else []
    return [*best, f"fractal-ray report {place}"]


def law_lines(law: Law) -> list[str]:
    """Return the columns of an axis that changes the data, and the power law, as lines."""
    lines = [f"columns {law.amount}: best {law.rate}, loss, breaks between"]
    lines += [f"        {_column(column)}" for column in law.columns]
    if isinstance(law.fit, Refusal):
        return [*lines, f"law     none: {law.fit.reason}"]
    fit = law.fit
    lines.append(
        f"law     critical {law.rate} = {number(10**fit.a.value)} x {law.amount}^{fit.b.value:.3g}"
        f" (exponent {fit.b.low:.3g} to {fit.b.high:.3g}, 95 %), {scatter_text(fit)};"
        f" safe {fit.safe_factor:.2g} x critical (rule of thumb {fit.rule_factor:g} x, the data"
        f" support {fit.supported_factor:.2g} x)"
    )
    for each in law.predictions:
        beyond = f", {each.extrapolated:.1f} decades beyond the runs" if each.extrapolated else ""
        lines.append(
            f"at      {law.amount} {number(each.amount)}: critical {number(each.critical.value)}"
            f" ({number(each.run[0])} to {number(each.run[1])}, 95 %), safe"
            f" {number(each.safe.value)} ({fit.rule_factor:g} x critical ="
            f" {number(each.by_rule.value)}, the data support {fit.supported_factor:.2g} x ="
            f" {number(each.supported.value)}){beyond}"
        )
    return lines


def scatter_text(fit: PowerLaw) -> str:
    """Return the scatter around a power law, its largest residual, and the noise of seeds."""
    text = "no scatter: the line passes through all brackets"
    if fit.scatter:
        largest = 10 ** max(abs(each) for each in fit.residuals)
        text = f"scatter a factor {10**fit.scatter:.2g}, largest residual a factor {largest:.2g}"
    if fit.seed_noise is None:
        return f"{text}, noise of seeds not checked"
    return f"{text}, noise of seeds a factor {10**fit.seed_noise:.2g}"


def _column(column: Column) -> str:
    if column.best_node_value is None or column.best_loss is None:
        best = "nothing trained"
    else:
        best = f"{number(column.best_node_value)}, {column.best_loss:.4g}"
    ends = (column.last_unbroken, column.first_broken)
    if column.at_rim == "unbroken":
        border = "does not break"
    elif column.at_rim:
        border = f"no bracket ({column.at_rim})"
    else:
        border = " and ".join("?" if end is None else number(end) for end in ends)
    others = ", ".join(number(amount) for amount in column.same_runs)
    same = f" (the same runs: {others})" if others else ""
    return f"{number(column.amount)}{same}: {best}, {border}"


def _cliff(advice: Advice) -> str:
    cliff, surface = advice.cliff, advice.surface
    moved = {each.direction: each for each in advice.seeds.moved}
    if isinstance(cliff, Refusal):
        return f"none: {cliff.reason}"
    if not cliff.broken and not moved:
        return "no run is broken: the axes end before the cliff"
    texts = []
    for name, sides in ((surface.x_name, ("+x", "-x")), (surface.y_name, ("+y", "-y"))):
        margins = [each for each in cliff.margins if each.direction in sides]
        broken = [each for each in margins if each.first_broken is not None]
        texts += [
            f"{name} {_margin(each)}{_ending(advice, each)}{_by_seeds(moved, each)}"
            for each in broken
        ]
        if not broken:
            ends = ", ".join(
                f"{'up' if each.direction[0] == '+' else 'down'} to {number(each.grid_end)}"
                for each in margins
            )
            before = "".join(_by_seeds(moved, each) for each in margins)
            texts.append(f"{name} does not break {ends} (grid ends){before}")
    return "; ".join(texts)


def outcomes_of(surface: Surface) -> dict[str, int]:
    """Return the number of runs in each state."""
    states = (State.TRAINED, State.TOO_SLOW, State.DEGRADED, State.DIVERGED, State.UNKNOWN)
    return {
        state.name.lower(): int((surface.state == state).sum()) for state in (*states, State.FAILED)
    }


def _ending(advice: Advice, margin: Margin) -> str:
    """Return the outcome of the first broken run; "" where only other seeds broke there."""
    if not isinstance(advice.best, BestPoint):
        return ""
    surface, (iy, ix) = advice.surface, advice.best.node
    along_x = margin.direction[1] == "x"
    places = np.flatnonzero((surface.x if along_x else surface.y) == margin.first_broken)
    if not places.size:
        return ""
    state = surface.state[iy, places[0]] if along_x else surface.state[places[0], ix]
    names = {State.DEGRADED: " (degraded)", State.DIVERGED: " (diverged)"}
    return names.get(State(int(state)), "")


def _by_seeds(moved: Mapping[str, Margin], margin: Margin) -> str:
    """Return the bracket of single runs where the seeds have moved it."""
    single = moved.get(margin.direction)
    if single is None:
        return ""
    return f" (by the seeds; by single runs it {_bracket(single)})"


def _bracket(margin: Margin) -> str:
    if margin.first_broken is None:
        return "does not break"
    last = "?" if margin.last_unbroken is None else number(margin.last_unbroken)
    return f"breaks between {last} and {number(margin.first_broken)}"


def _margin(margin: Margin) -> str:
    unit = "x" if margin.scale == "log" else ""
    ends = [end for end in (margin.low, margin.high) if end is not None]
    away = " to ".join(f"{number(end)}{unit}" for end in ends)
    single = ", a single run" if margin.isolated else ""
    return f"{_bracket(margin)}, {away} away{single}"


def _range(ends: Sequence[float]) -> str:
    return f"{number(ends[0])} .. {number(ends[1])}"
