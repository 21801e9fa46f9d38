"""The stage `pairs`: random pairs of points at a ladder of distances.

The share of pairs at a distance e whose labels differ goes as ``e**alpha``, and the border's
dimension is ``D = 2 - alpha`` (McDonald, Grebogi, Ott, Yorke, Physica D 17, 125 (1985)). That paper
varies one coordinate; here the direction is random too, so that no direction of the border is
missed.

A pair's first end is uniform in the frame in the axes' own coordinates (on a log axis: in the
logarithm), and its direction is uniform in the frame's unit square. If a direction leads out of the
frame, only the direction is drawn again. Otherwise no first end would lie near the rim, wide pairs
would lie nearer to the middle than close pairs, and a border there would read too smooth. All draws
are whole numbers, exact at every step, and each distance has a random stream of its own: with more
pairs or other distances, all earlier pairs stay.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from math import isqrt
from random import Random
from typing import Final

from fractal_ray.plane.axes import Frame, Point
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.base import Result

FINEST: Final = 48
"""Most halvings of a frame's side: float64 has hardly any different values at finer distances."""

UNIT_BITS: Final = 96
"""Bits of unit coordinates: whole multiples of ``2**-UNIT_BITS`` of the frame's sides."""

_DRAWN_BITS: Final = 53


class PairPlanner:
    """Planner of both ends of `count` pairs at each distance.

    All distances advance alike, so that a stage that is stopped early has used them all. Pairs
    have no lattice: the address of an end is level k, ix the pair's number, iy 0 or 1.

    Parameters
    ----------
    frame
        Frame of the pairs; its cells do not matter.
    count
        Pairs per distance, at least 1.
    distances
        Each k stands for the distance ``2**-k`` of the frame's sides; 1 to `FINEST`, none twice.
    seed
        Another seed draws other pairs. So does another frame.

    Raises
    ------
    ValueError
        If a parameter is out of its range, or an axis takes whole numbers only.
    """

    def __init__(
        self, frame: Frame, count: int, distances: Sequence[int] = range(3, 13), seed: int = 0
    ) -> None:
        refuse_whole_numbers(frame, "pairs")
        if count < 1:
            raise ValueError(f"count must be at least 1; given {count}")
        if not distances or len(set(distances)) < len(distances):
            raise ValueError(f"distances must not be empty or repeat; given {list(distances)}")
        if not 1 <= min(distances) <= max(distances) <= FINEST:
            raise ValueError(
                f"distances are k for 2**-k of the frame's side, 1 to {FINEST};"
                f" given {list(distances)}"
            )
        self.frame = frame
        self.backlog = 2 * count * len(distances)
        self._todo = _points(frame, count, distances, seed)
        self._waiting: set[tuple[int, int, int]] = set()

    @property
    def done(self) -> bool:
        """Return True when all ends have results."""
        return not self.backlog and not self._waiting

    def ask(self, n: int) -> list[Point]:
        """Return up to `n` new ends; the two of a pair follow each other."""
        points = list(islice(self._todo, n))
        self.backlog -= len(points)
        self._waiting.update((point.level, point.ix, point.iy) for point in points)
        return points

    def tell(self, results: Sequence[Result]) -> None:
        """Take results; pairs decide nothing from them."""
        self._waiting.difference_update((point.level, point.ix, point.iy) for point, _ in results)


@dataclass(frozen=True)
class Disagreements:
    """Disagreements of the pairs at one distance.

    Parameters
    ----------
    level
        k: the distance is ``2**-k`` of the frame's sides.
    known
        Number of pairs with an outcome at both ends.
    disagree
        Number of these pairs with different labels at their ends.
    """

    level: int
    known: int
    disagree: int


def disagreements(
    results: Iterable[Result], label: Callable[[Outcome], bool]
) -> list[Disagreements]:
    """Count pairs that disagree, coarse distances first.

    Parameters
    ----------
    results
        Results of one `PairPlanner`, in any order. A pair with an end that failed or is missing is
        in neither number, so a failure is never taken for agreement.
    label
        Returns True for outcomes that are labelled yes.
    """
    answers: dict[tuple[int, int], dict[int, bool]] = {}
    for point, outcome in results:
        pair = answers.setdefault((point.level, point.ix), {})
        if outcome is not None:
            pair[point.iy] = label(outcome)
    known = dict.fromkeys(sorted(level for level, _ in answers), 0)
    disagree = known.copy()
    for (level, _), ends in answers.items():
        if len(ends) == 2:
            known[level] += 1
            disagree[level] += ends[0] != ends[1]
    return [Disagreements(level, known[level], disagree[level]) for level in known]


def refuse_whole_numbers(frame: Frame, stage: str) -> None:
    """Raise ValueError for an integer axis, whose points are rounded away from drawn places."""
    for axis in (frame.x, frame.y):
        if axis.integer:
            raise ValueError(
                f"{stage} need axes that take any value in between; {axis.param} takes whole"
                " numbers only"
            )


def random_stream(frame: Frame, what: str, seed: int) -> Random:
    """Return a random generator for `what` on this part of the plane, for any frame number.

    Of its methods only `random` is used: Python promises to keep its numbers.
    """
    ranges = map(float, (frame.x.min, frame.x.max, frame.y.min, frame.y.max))
    return Random(f"{what} {seed} {' '.join(map(repr, ranges))}")


def drawn_place(rng: Random) -> tuple[int, int]:
    """Draw unit coordinates, uniform in the square, in steps of ``2**-53``."""
    return _drawn(rng) << UNIT_BITS - _DRAWN_BITS, _drawn(rng) << UNIT_BITS - _DRAWN_BITS


def drawn_direction(rng: Random) -> tuple[int, int]:
    """Draw a vector in a uniform direction: uniform in a disc (von Neumann's method).

    It is not of unit length. No sine or cosine is used: their last bits differ between machines.
    """
    half = 1 << _DRAWN_BITS - 1
    while True:
        u, v = _drawn(rng) - half, _drawn(rng) - half
        if 0 < u * u + v * v <= half * half:
            return u, v


def drawn_chord(rng: Random) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return unit coordinates of both ends of a line through a drawn place and direction."""
    place, direction = drawn_place(rng), drawn_direction(rng)
    side = 1 << UNIT_BITS
    # Distances backward and forward to the two rims, in steps of the direction; a line along a rim
    # meets only the other two rims.
    ways = [
        sorted((Fraction(-at, step), Fraction(side - at, step)))
        for at, step in zip(place, direction, strict=True)
        if step
    ]
    back, on = max(way[0] for way in ways), min(way[1] for way in ways)
    (x, y), (u, v) = place, direction
    return (round(x + back * u), round(y + back * v)), (round(x + on * u), round(y + on * v))


def _drawn(rng: Random) -> int:
    return int(rng.random() * 2**_DRAWN_BITS)


def _points(frame: Frame, count: int, distances: Sequence[int], seed: int) -> Iterator[Point]:
    streams = {k: random_stream(frame, f"pairs {k}", seed) for k in distances}
    cells = 1 << UNIT_BITS
    for number in range(count):
        for k, rng in streams.items():
            for end, (x, y) in enumerate(_ends(rng, k)):
                yield Point(
                    frame.id, k, number, end, frame.x.value(x, cells), frame.y.value(y, cells)
                )


def _ends(rng: Random, k: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Draw unit coordinates of a pair ``2**-k`` apart, both ends in the square."""
    side, (x, y) = 1 << UNIT_BITS, drawn_place(rng)
    while True:
        u, v = drawn_direction(rng)
        length = isqrt(u * u + v * v << 2 * k)  # dividing by it leaves a step of 2**-k
        other_x, other_y = x + (u << UNIT_BITS) // length, y + (v << UNIT_BITS) // length
        if 0 <= other_x <= side and 0 <= other_y <= side:
            return (x, y), (other_x, other_y)
