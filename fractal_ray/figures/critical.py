"""Figure of the critical rate against the amount of data, with the power law."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fractal_ray.analysis.advice.advice import Advice, Law, scatter_text
from fractal_ray.analysis.advice.law_results import Column, PowerLaw
from fractal_ray.analysis.advice.power_law import predict
from fractal_ray.errors import SweepError
from fractal_ray.figures.canvas import new_figure, set_scales
from fractal_ray.figures.style import LINE_COLOR, MARK_COLOR, shared_style


def critical_figure(advice: Advice, *, title: str) -> Figure:
    """Draw the bracket of the critical value and the best of each column, 9 x 7 in.

    Parameters
    ----------
    advice
        Advice on a frame one of whose axes changes the data.
    title
        Heading.

    Raises
    ------
    SweepError
        If no axis changes the data, or no column has a labelled run.
    """
    law = advice.law
    if law is None:
        raise SweepError(
            "this figure shows a critical value against the amount of data, and no axis of this"
            " sweep changes the data (num_tokens, num_iterations, device_batch_size)"
        )
    columns = [column for column in law.columns if column.at_rim != "unknown"]
    if not columns:
        raise SweepError("this figure needs labelled runs, and no column of this frame has one")
    if isinstance(law.fit, PowerLaw):
        note = scatter_text(law.fit)
    else:
        note = f"no power law: {law.fit.reason}"
    with shared_style():
        figure = new_figure((9, 7), title, note)
        axes = figure.subplots()
        _brackets(axes, columns)
        _best(axes, columns)
        if isinstance(law.fit, PowerLaw):
            _line(axes, law, law.fit)
        set_scales(axes, "log", "log")
        axes.set_xlabel(law.amount)
        axes.set_ylabel(law.rate)
        axes.legend()
        return figure


def _brackets(axes: Axes, columns: list[Column]) -> None:
    """Draw bars from the last unbroken to the first broken run; arrows at open ends."""
    closed = [column for column in columns if not column.at_rim]
    for number, column in enumerate(closed):
        assert column.last_unbroken is not None
        assert column.first_broken is not None
        ends = [column.last_unbroken, column.first_broken]
        label = "last unbroken to first broken run" if not number else None
        axes.plot([column.amount] * 2, ends, "-_", color=MARK_COLOR, lw=3, ms=10, label=label)
    for rim, end, marker, name in (
        ("unbroken", "last_unbroken", "^", "does not break up to here"),
        ("broken", "first_broken", "v", "broken from here on"),
    ):
        points = [
            (column.amount, getattr(column, end))
            for column in columns
            if column.at_rim == rim and getattr(column, end) is not None
        ]
        if points:
            across, up = zip(*points, strict=True)
            axes.plot(across, up, marker, color=MARK_COLOR, ms=9, label=name)


def _best(axes: Axes, columns: list[Column]) -> None:
    points = [(each.amount, each.best_node_value) for each in columns if each.best_node_value]
    if points:
        across, up = zip(*points, strict=True)
        axes.plot(across, up, "o", color=LINE_COLOR, label="lowest loss of the column")


def _line(axes: Axes, law: Law, fit: PowerLaw) -> None:
    """Draw the fitted law, its 95 % band, and the safe values by rule and by the runs."""
    amounts = np.geomspace(min(fit.amounts) / 1.2, max(fit.amounts) * 1.2, 60)
    places = [predict(fit, float(amount)) for amount in amounts]
    label = f"critical {law.rate}, exponent {fit.b.value:.3g} ({fit.b.low:.3g} to {fit.b.high:.3g})"
    axes.plot(amounts, [each.critical.value for each in places], color="black", label=label)
    low, high = ([getattr(each.critical, end) for each in places] for end in ("low", "high"))
    axes.fill_between(amounts, low, high, color="black", alpha=0.15, lw=0)
    by_rule = [each.by_rule.value for each in places]
    label = f"{fit.rule_factor:g} x critical (rule of thumb)"
    axes.plot(amounts, by_rule, color="black", ls="--", label=label)
    supported = [each.supported.value for each in places]
    label = f"{fit.supported_factor:.2g} x critical (supported by the runs)"
    axes.plot(amounts, supported, color="black", ls=":", label=label)
