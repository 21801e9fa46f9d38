"""Result of a comparison of two sweeps, as text and as JSON (`compare/sweeps.py` makes it)."""

import html
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from fractal_ray.dimension.result import Estimate
from fractal_ray.plane.boundary import Raster
from fractal_ray.plane.outcome import STORED

_CHECKS: Final = {
    "repeat": "run again",
    "nudge": "one ulp beside",
    "mode": "in deterministic mode",
    "dtype": "in the other dtype",
}


@dataclass(frozen=True)
class Share:
    """Share `count` of `total`, with Wilson's interval at 95 %; no interval if `total` is 0.

    Wilson's interval takes nodes for independent. Neighbours are not, so if the counted nodes lie
    in clumps, the interval is too narrow.
    """

    count: int
    total: int
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """Return the share and its interval as text."""
        if self.low is None or self.high is None:
            return "0 of 0"
        share = self.count / self.total
        return f"{self.count:,} of {self.total:,} = {share:.1%} ({self.low:.1%} to {self.high:.1%})"


@dataclass(frozen=True)
class Interval:
    """A value and its interval at 95 %."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A setting that differs between A and B; None if a side does not have it."""

    key: str
    a: Any
    b: Any

    def __str__(self) -> str:
        """Return the setting and its two values as text."""
        return f"{self.key}: {_value_text(self.a)} | {_value_text(self.b)}"


@dataclass(frozen=True)
class Side:
    """One of the two sweeps.

    Parameters
    ----------
    name, location, frame
        Name and location of the sweep, and number of the frame.
    x, y
        (min, max) of the frame's axes, in real values.
    nodes
        Nodes along x and along y of this side's lattice.
    yes_share
        Share of the compared nodes whose label is yes; None without compared nodes.
    flips
        Labels that differ on the other side, by distance to this side's border in cells of the
        common lattice: on corners of boundary cells, 1 and 2 cells away, and further.
    reruns
        Reruns on this side's verification sheet: (check, share of labels that changed, verdict).
        The verdict is "more", "no more" or "fewer": the flips on this side's border compared with
        that share. Empty without a sheet.
    parts_left_out
        Number of damaged parts of this sweep whose rows no number counts.
    """

    name: str
    location: str
    frame: int
    x: tuple[float, float]
    y: tuple[float, float]
    nodes: tuple[int, int]
    yes_share: float | None
    flips: tuple[Share, Share, Share, Share]
    reruns: tuple[tuple[str, Share, str], ...]
    parts_left_out: int = 0


@dataclass(frozen=True)
class Dimensions:
    """Dimensions of A and B by one estimator over equal scales; `difference` is b - a."""

    a: Estimate
    b: Estimate
    difference: Interval


@dataclass(frozen=True)
class Comparison:
    """Comparison of two sweeps, point by point, on the lattice of the nodes that both have.

    Parameters
    ----------
    a, b
        The sides.
    differences
        Settings that differ.
    lattice
        Nodes along x and along y of the common lattice.
    label
        The label rule of A, applied to both sweeps.
    run_in_both
        Number of nodes that were run in both sweeps.
    outcomes
        Counts of the outcomes at these nodes, (3, 3) with A's outcomes down, B's across, in the
        order of `Outcome`.
    agree
        Share of agreeing labels among the nodes whose label is known in both, run or inferred.
    to_yes, to_no
        Number of labels that are no in A and yes in B, and number that are yes in A and no in B.
    correlation
        Correlation of the labels, -1 to 1; None if a side has only one label.
    apart
        Median distance, in cells of the common lattice, from a boundary cell of either side to the
        nearest boundary cell of the other, on the nodes whose label is known in both; None if a
        side has no boundary cells.
    yes_difference
        Share of yes in B minus share of yes in A.
    dimensions
        None if the dimensions cannot be compared; `no_dimensions` gives the reason.
    notes
        Sentences to print beside the numbers.
    rasters
        Rasters of A and of B on the common lattice.
    """

    a: Side
    b: Side
    differences: tuple[Difference, ...]
    lattice: tuple[int, int]
    label: dict[str, Any]
    run_in_both: int
    outcomes: tuple[tuple[int, ...], ...]
    agree: Share
    to_yes: int
    to_no: int
    correlation: float | None
    apart: float | None
    yes_difference: Interval | None
    dimensions: Dimensions | None
    no_dimensions: str
    notes: tuple[str, ...]
    rasters: tuple[Raster, Raster] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, without the rasters."""
        values = {**vars(self)}
        del values["rasters"]
        return {
            **{name: _plain(value) for name, value in values.items()},
            "outcome_names": [outcome.value for outcome in STORED],
        }

    @property
    def title(self) -> str:
        """Return the names of both sweeps and their frames."""
        return f"A: {_named(self.a)}, B: {_named(self.b)}"

    def lines(self) -> list[str]:
        """Return the comparison as lines of text."""
        return [self.title, *self._settings(), *self._table(), *self._numbers()]

    def _repr_html_(self) -> str:
        names = [outcome.value for outcome in STORED]
        head = "".join(f"<th>B {name}</th>" for name in names)
        rows = "".join(
            f"<tr><th>A {name}</th>{''.join(f'<td>{count:,}</td>' for count in counts)}</tr>"
            for name, counts in zip(names, self.outcomes, strict=True)
        )
        before, after = (
            html.escape("\n".join(lines)) for lines in (self._settings(), self._numbers())
        )
        return (
            f"<b>{html.escape(self.title)}</b><pre>{before}</pre>"
            f"<table><tr><th></th>{head}</tr>{rows}</table><pre>{after}</pre>"
        )

    def _settings(self) -> list[str]:
        nx, ny = self.lattice
        of_both = " and ".join(
            f"{nx * ny / (side.nodes[0] * side.nodes[1]):.1%} of {letter}'s"
            f" {side.nodes[0]:,} x {side.nodes[1]:,}"
            for letter, side in (("A", self.a), ("B", self.b))
        )
        rule = ", ".join(f"{key} {value}" for key, value in self.label.items())
        differ = [f"  {each}" for each in self.differences]
        return [
            "settings that differ (A | B):" if differ else "no setting differs",
            *differ,
            f"common lattice: {nx:,} x {ny:,} nodes, {of_both}; {self.run_in_both:,} run in both",
            f"label of both: {rule}",
            *(f"note: {note}" for note in self.notes),
        ]

    def _table(self) -> list[str]:
        names = [outcome.value for outcome in STORED]
        lines = [f"{'outcomes, A down, B across':28}" + "".join(f"{name:>14}" for name in names)]
        for name, counts in zip(names, self.outcomes, strict=True):
            lines.append(f"  {name:26}" + "".join(f"{count:14,}" for count in counts))
        return lines

    def _numbers(self) -> list[str]:
        related = "" if self.correlation is None else f"; correlation {self.correlation:.3f}"
        lines = [
            f"labels agree on {self.agree}{related}",
            f"flips: {self.to_yes + self.to_no:,}, {self.to_yes:,} to yes and {self.to_no:,} to no",
        ]
        for letter, side in (("A", self.a), ("B", self.b)):
            lines.append(_by_distance(letter, side))
            lines += [
                f"  {letter} {_CHECKS.get(check, check)}: {share} changed; flips on its border are"
                f" {verdict}{' than that' if verdict != 'no more' else ''}"
                for check, share, verdict in side.reruns
            ]
        if self.apart is not None:
            cells = f"{self.apart:.3g} cell{'' if self.apart == 1 else 's'}"
            lines.append(f"half of either border lies within {cells} of the other")
        if self.yes_difference is not None:
            lines.append(
                f"share of yes: A {self.a.yes_share:.2%}, B {self.b.yes_share:.2%}; B - A ="
                f" {_percent(self.yes_difference)}"
            )
        return [*lines, *self._dimension_lines()]

    def _dimension_lines(self) -> list[str]:
        dimensions = self.dimensions
        if dimensions is None:
            return [f"dimensions are not compared: {self.no_dimensions}"]
        gap = dimensions.difference
        return [
            f"A: {dimensions.a}",
            f"B: {dimensions.b}",
            f"D of B - D of A = {gap.value:+.3f} (95 %: {gap.low:+.3f} to {gap.high:+.3f})",
        ]


def _named(side: Side) -> str:
    return f"{side.name}, frame {side.frame} in {side.location}"


def _by_distance(letter: str, side: Side) -> str:
    if not any(share.total for share in side.flips[:-1]):
        return f"  {letter} has no border on the nodes that both know"
    far = zip(("on it", "1 cell", "2 cells", "3 or more"), side.flips, strict=True)
    shares = "; ".join(f"{name} {share}" for name, share in far if share.total)
    return f"  by distance to {letter}'s border: {shares}"


def _percent(interval: Interval) -> str:
    return f"{interval.value:+.2%} (95 %: {interval.low:+.2%} to {interval.high:+.2%})"


def _value_text(value: Any) -> str:
    return "not given" if value is None else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
