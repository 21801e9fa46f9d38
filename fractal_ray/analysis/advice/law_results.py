"""Results along an axis that changes the data: columns, the power law, and its predictions.

Positions are real values of the axes, not logarithms. Intervals are 95 % intervals.
`results.plain` turns each into data for JSON.
"""

from dataclasses import dataclass, field
from typing import Literal

from fractal_ray.analysis.advice.censored_line import CensoredLine
from fractal_ray.analysis.advice.results import Interval


@dataclass(frozen=True)
class Column:
    """Runs of one column along the axis that changes the data: one value of tokens, steps or rows.

    Parameters
    ----------
    amount
        Real value of the axis that changes the data.
    same_runs
        Smaller amounts whose runs have the same steps and tokens, so that they are the same runs;
        they are merged into this column.
    best
        Best value of the other axis with its interval; None where there are too few runs.
    best_loss
        Smallest loss of the column, of the node at `best_node_value`.
    within
        Real values of the smallest and largest run within 2 % of the column's best loss.
    last_unbroken, first_broken
        Bracket of the critical value; None at an open end.
    critical
        Geometric middle of the bracket (arithmetic on a linear axis), the bracket as its interval.
    at_rim
        "" for a closed bracket; "unbroken" where the column does not break; "broken" where it has
        no unbroken run; "unknown" where no run of it has a label.
    """

    amount: float
    best: Interval | None
    best_loss: float | None
    best_node_value: float | None
    within: tuple[float, float] | None
    last_unbroken: float | None
    first_broken: float | None
    critical: Interval | None
    at_rim: Literal["", "unbroken", "broken", "unknown"]
    same_runs: tuple[float, ...] = ()


@dataclass(frozen=True)
class PowerLaw:
    """The law critical = 10^a x amount^b, fitted to the brackets of the columns.

    Parameters
    ----------
    a, b
        Intercept at amount 1 and exponent.
    scatter
        Standard deviation of log10 critical around the line; 0 where a line passes through all
        brackets.
    residuals
        log10 of the middle of each column's bracket over the line.
    outside
        Distance in log10 from the line to each bracket; 0 where the line passes through it.
    amounts
        The amounts of the columns.
    rule_factor
        0.5: the safe value of the rule of thumb is this factor times the critical value.
    supported_factor
        Largest factor for which no run of a column at or below the factor times the fitted
        critical value is broken, and which runs of every column reach.
    safe_factor
        The smaller of the two: the safe value over the critical value.
    seed_noise
        Standard deviation of log10 critical between seeds, or None where it is not known; the
        residuals are then not checked.
    line
        The fitted line in log10 of both, for `predict`; not part of the JSON.
    """

    a: Interval
    b: Interval
    scatter: float
    residuals: tuple[float, ...]
    outside: tuple[float, ...]
    amounts: tuple[float, ...]
    rule_factor: float
    supported_factor: float
    safe_factor: float
    seed_noise: float | None
    line: CensoredLine = field(repr=False, compare=False)


@dataclass(frozen=True)
class Prediction:
    """The critical value that a power law predicts at an amount.

    Parameters
    ----------
    critical
        Real value on the line, with the interval of the line.
    run
        Lowest and highest value for a further column, which scatters around the line.
    safe
        The smaller of `by_rule` and `supported`.
    by_rule, supported
        `rule_factor` and `supported_factor` of the law times critical, with their intervals.
    extrapolated
        Decades beyond the columns; 0 within them.
    """

    amount: float
    critical: Interval
    run: tuple[float, float]
    safe: Interval
    by_rule: Interval
    supported: Interval
    extrapolated: float
