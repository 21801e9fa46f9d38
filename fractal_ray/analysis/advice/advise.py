"""The computation of the advice on a frame from its runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from fractal_ray.analysis.advice.advice import Advice, Law, rounded
from fractal_ray.analysis.advice.best import find_best
from fractal_ray.analysis.advice.cliff import find_cliff
from fractal_ray.analysis.advice.contour import safe_region
from fractal_ray.analysis.advice.frame_surface import FrameSurface, surface_of
from fractal_ray.analysis.advice.power_law import columns_of, fit_power_law, predict
from fractal_ray.analysis.advice.readable import number, runs_text
from fractal_ray.analysis.advice.results import BestPoint, Cliff, Refusal, SafeRegion, Sensitivity
from fractal_ray.analysis.advice.seed_check import (
    NO_SPREAD,
    Between,
    critical_noise,
    loss_noise,
    moved_margins,
    relabelled,
    seed_labels,
    summarize,
)
from fractal_ray.analysis.advice.seed_nodes import Roles, checked_nodes, joined
from fractal_ray.analysis.advice.seed_results import SeedCheck
from fractal_ray.analysis.advice.seed_runs import (
    SeedRuns,
    lacking_runs,
    read_seeds,
    refuse_foreign,
)
from fractal_ray.analysis.advice.seed_text import seed_notes
from fractal_ray.analysis.advice.sensitivity import sensitivities
from fractal_ray.analysis.advice.surface import State, Surface
from fractal_ray.analysis.frame_data import FrameData
from fractal_ray.errors import SweepError
from fractal_ray.spec.sweep_spec import SweepSpec

PERCENTS: Final = (1.0, 2.0, 5.0)
"""Percentages of the best loss that bound the safe regions."""


def advise(data: FrameData, at: Sequence[float] = ()) -> Advice:
    """Advise on a frame from its runs.

    Parameters
    ----------
    data
        The frame.
    at
        Amounts of data for which the critical value is predicted.

    Raises
    ------
    SweepError
        If amounts are given and no axis changes the data.
    """
    sweep, spec = data.sweep, data.sweep.spec
    measured = surface_of(data)
    surface = measured.surface
    result, check = _checked(data, measured, _judge(spec, measured, surface, at), at)
    best, cliff = result.best, result.cliff
    safe: tuple[SafeRegion, ...] = ()
    effective: dict[str, float] = {}
    recipe: dict[str, float] = {}
    command, needs_width = None, False
    untouched = None
    spread: tuple[Sensitivity, ...] = ()
    if isinstance(best, BestPoint):
        safe = tuple(safe_region(surface, best, percent) for percent in PERCENTS)
        spread = sensitivities(surface, best)
        recipe = {surface.x_name: best.x, surface.y_name: best.y}
        width = sweep.rule.baseline.width
        effective = spec.workload.effective_rates(recipe, width)
        needs_width = not effective and bool(spec.workload.effective_rates(recipe, 1))
        command = spec.workload.finetune_command(rounded(recipe))
        untouched = _untouched(surface, best)
    return Advice(
        name=spec.name,
        location=sweep.location,
        frame=data.lattice.frame.id,
        metric=measured.metric,
        baseline=sweep.rule.source,
        untouched=untouched,
        best=best,
        safe=safe,
        cliff=cliff,
        sensitivities=spread,
        law=result.law,
        seeds=check,
        effective=effective,
        recipe=recipe,
        command=command,
        needs_width=needs_width,
        keeps_model=_keeps_model(spec),
        notes=(*seed_notes(check), *_notes(data, measured, best)),
        surface=surface,
    )


@dataclass(frozen=True)
class _Judgement:
    """The best, the cliff and the law by one set of labels."""

    best: BestPoint | Refusal
    cliff: Cliff | Refusal
    law: Law | None

    def nodes(self, surface: Surface) -> Roles:
        """Return the nodes that seeds check."""
        if self.law is None:
            return checked_nodes(surface, self.best, self.cliff)
        return checked_nodes(surface, self.best, self.cliff, self.law.columns, self.law.amount)


def _judge(
    spec: SweepSpec,
    measured: FrameSurface,
    surface: Surface,
    at: Sequence[float],
    between: Between = NO_SPREAD,
) -> _Judgement:
    """Return the best, the cliff and the law of a surface, with what seeds say about its runs."""
    law = _law(spec, measured, surface, at, between)
    best: BestPoint | Refusal
    names = [name for _, name in _data_axes(spec, surface)]
    if names and not measured.on_validation:
        best = Refusal("data_axis", _not_comparable(names))
    elif not np.isfinite(surface.loss).any():
        best = Refusal("no_losses", "the runs have no losses, so only the border is known")
    else:
        best = find_best(surface, between.noise, between.node)
    cliff: Cliff | Refusal = Refusal("no_best", "without a best point there is no margin to it")
    if isinstance(best, BestPoint):
        cliff = find_cliff(surface, best.node)
    return _Judgement(best, cliff, law)


def _data_axes(spec: SweepSpec, surface: Surface) -> list[tuple[Literal["x", "y"], str]]:
    """Return side and name of each axis that changes the data of a run."""
    axes: tuple[tuple[Literal["x", "y"], str], ...] = (("x", surface.x_name), ("y", surface.y_name))
    return [(side, name) for side, name in axes if spec.workload.changes_data(name)]


def _not_comparable(names: Sequence[str]) -> str:
    """Return the reason for which a sweep over axes that change the data has no best point."""
    remedy = "workload.data.validation makes them comparable"
    if len(names) > 1:
        both = " and ".join(names)
        return f"{both} change the data of a run, so no losses are comparable ({remedy})"
    return (
        f"{names[0]} changes the data of a run, so its losses are not comparable across columns;"
        f" the best of each column is in the table ({remedy})"
    )


def plan_seed_runs(data: FrameData, count: int) -> list[SeedRuns]:
    """Return the runs that the advice on a frame lacks for a number of seeds, by seed.

    Raises
    ------
    SweepError
        If the runs have no seed, the frame is not finished, there is no advice on it, or the
        dataset of a seed does not belong to the sweep.
    """
    sweep = data.sweep
    if data.replayed is None and sweep.seeding is not None:
        raise SweepError(
            f"frame {data.lattice.frame.id} of {sweep.location} is not finished; run it first:"
            f" {sweep.run_command}"
        )
    check = advise(data).seeds
    if check.reason:
        raise SweepError(f"{sweep.location}: no seeds to run: {check.reason}")
    nodes = [each.node for each in check.nodes]
    lacking = lacking_runs(data, nodes, read_seeds(data, surface_of(data)), count)
    for runs in lacking:
        refuse_foreign(sweep, runs.seed)
    return lacking


def _checked(
    data: FrameData, measured: FrameSurface, single: _Judgement, at: Sequence[float]
) -> tuple[_Judgement, SeedCheck]:
    """Return the judgement by all seeds, and the check of the one by single runs."""
    spec, surface = data.sweep.spec, measured.surface
    rows = read_seeds(data, measured)
    labels = seed_labels(rows, spec.label.risk)
    result, nodes, between = single, single.nodes(surface), NO_SPREAD
    if rows.runs:
        columns, amount = (single.law.columns, single.law.amount) if single.law else ((), "")
        between = Between(
            loss_noise(rows, nodes),
            single.best.node if isinstance(single.best, BestPoint) else None,
            critical_noise(surface, rows, columns, amount),
        )
        result = _judge(spec, measured, relabelled(surface, labels), at, between)
        nodes = joined(nodes, result.nodes(surface))
    check = summarize(data, measured, result.best, nodes, rows, labels)
    moved = moved_margins(single.cliff, result.cliff)
    return result, replace(check, noise=between.noise, critical_noise=between.critical, moved=moved)


def _law(
    spec: SweepSpec,
    measured: FrameSurface,
    surface: Surface,
    at: Sequence[float],
    between: Between,
) -> Law | None:
    axes = _data_axes(spec, surface)
    if len(axes) != 1:
        if at:
            raise SweepError(
                "--at predicts a critical value along an axis that changes the data (num_tokens,"
                f" num_iterations, device_batch_size); this sweep has {surface.x_name} and"
                f" {surface.y_name}"
            )
        return None
    (side, amount), names = axes[0], (surface.x_name, surface.y_name)
    rate = names[1] if side == "x" else names[0]
    columns = columns_of(surface, side, between.noise, measured.seen)
    fit = fit_power_law(columns, between.critical)
    predictions = () if isinstance(fit, Refusal) else tuple(predict(fit, each) for each in at)
    return Law(amount, rate, columns, fit, predictions)


def _keeps_model(spec: SweepSpec) -> bool:
    try:
        spec.workload.check_keeps_model()
    except SweepError:
        return False
    return True


def _untouched(surface: Surface, best: BestPoint) -> float | None:
    if surface.untouched is None or isinstance(surface.untouched, float | int):
        return surface.untouched
    return float(surface.untouched[best.node])


def _too_slow(surface: Surface) -> str | None:
    """Return the runs that moved too little, with their ranges; None if there are none."""
    slow = surface.state == State.TOO_SLOW
    if not slow.any():
        return None
    ranges = (
        f"{name} {number(values[0])} .. {number(values[-1])}"
        for name, values in (
            (surface.x_name, surface.x[slow.any(axis=0)]),
            (surface.y_name, surface.y[slow.any(axis=1)]),
        )
    )
    return f"too slow: {runs_text(int(slow.sum()))}, {', '.join(ranges)}"


def _notes(data: FrameData, measured: FrameSurface, best: BestPoint | Refusal) -> list[str]:
    """Return sentences on what limits the advice."""
    sweep, spec, surface = data.sweep, data.sweep.spec, measured.surface
    notes = []
    if isinstance(best, BestPoint):
        if "rim" in best.flags:
            notes.append(
                f"the best runs reach the rim of the frame ({', '.join(best.rim)}): a better point"
                " may lie beyond; widen the axes"
            )
        notes += [
            f"another region is as good: {surface.x_name} {region.x:.3g},"
            f" {surface.y_name} {region.y:.3g}, loss {region.loss:.4g}, {runs_text(region.runs)}"
            for region in best.other_regions
        ]
        if best.failures_beside:
            notes.append(f"{best.failures_beside} points beside the best failed or show nothing")
        if "too_few_nodes" in best.flags:
            notes.append("too few runs around the best for an interval of its place")
        if "no_inner_node" in best.flags:
            notes.append("each run that trained has a neighbour that did not")
    if slow := _too_slow(surface):
        notes.append(slow)
    if data.lattice.level:
        notes.append(
            f"the frame is refined: {surface.measured.sum():,} of its {surface.measured.size:,}"
            " nodes were run, most of them near the border"
            + ("; means weight each run by its area" if isinstance(best, BestPoint) else "")
        )
    if data.replayed is None:
        notes.append(f"the frame is not finished; go on: {sweep.run_command}")
    if measured.lacking:
        notes.append(
            f"{measured.lacking} runs have no validation loss, so the last losses are compared"
        )
    if measured.without_curve and np.isfinite(surface.loss).any():
        notes.append(
            f"{measured.without_curve} runs have no loss curve: their stored losses are compared,"
            " and those that did not improve count neither as too slow nor as degraded"
        )
    if sweep.rule.source == "stand-in" and spec.workload.records_losses:
        notes.append(
            "the first loss of each run stands in for that of the untouched model, with a rise of"
            f" {100 * sweep.rule.stand_in_rise:g} %{spec.workload.baseline_remedy(sweep.location)}"
        )
    if len(sweep.frames) > 1:
        notes.append(
            f"this is frame {data.lattice.frame.id} of {len(sweep.frames)}; --frame chooses another"
        )
    if spec.label.boundary != "broken":
        notes.append(
            f"the sweep followed the border '{spec.label.boundary}', so runs beside the cliff may"
            " lie further apart"
        )
    return notes
