"""The stage `transects`: labels along random lines across the frame, finest where they flip.

On a line that crosses a border of dimension D, the number of neighbouring positions with different
labels grows as ``2**(n (D - 1))`` when the line is halved n times (Liu, arXiv 2406.13971, counts a
one-dimensional border in this way).

**Lines.** Each goes through a random point of the frame in a random direction, both uniform in its
unit square, from rim to rim. A long chord is thereby drawn more often than a short one (Coleman,
J. Appl. Prob. 6, 430 (1969)), by exactly the factor by which its positions lie further apart.
Positions are thus uniform in the frame and directions are uniform, so that all parts of the border
have equal weight.

**Positions.** The first ``2**dense + 1`` are all requested. At finer levels an interval is bisected
if its ends disagree, and if they agree, with the probability `audit`, decided by a hash. Without
the second rule no new flips would appear: of the halves of an interval whose ends disagree exactly
one disagrees again, and the count would stay constant, as for a smooth border. An interval that is
bisected by chance counts ``1 / audit`` times (Horvitz, Thompson, J. Am. Stat. Assoc. 47, 663
(1952)), so that counts have the right mean at every level. With an audit of one half, the number of
agreeing intervals stays about constant, and a level costs ``count * 2**(dense - 1)`` runs and one
per flip.

No level waits for another, and the requested positions depend on the labels alone. A failed
position differs from either label, so that only its neighbours stay unknown.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from fractal_ray.plane.axes import Frame, Point
from fractal_ray.plane.hashing import scramble
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.base import Result
from fractal_ray.planners.nodes import ASKED, FAILED, NO, YES
from fractal_ray.planners.pairs import (
    FINEST,
    UNIT_BITS,
    drawn_chord,
    random_stream,
    refuse_whole_numbers,
)


class TransectPlanner:
    """Planner of positions on `count` random chords of `frame`.

    A position's address is the level that first has it, ix the chord's number, iy the index among
    the level's ``2**level + 1``. More chords or levels keep every position that was there.

    Parameters
    ----------
    frame
        Frame of the chords; its cells do not matter.
    count
        Number of chords, at least 1.
    levels
        Most halvings of a chord, 1 to `pairs.FINEST`.
    seed
        Another seed draws other chords. So does another frame.
    label
        Returns True for outcomes that are labelled yes.
    dense
        Level up to which every position is requested, at least 0; `levels` if that is less.
    audit
        Share of the intervals with equal ends that is bisected as well, above 0, at most 1.

    Raises
    ------
    ValueError
        If a parameter is out of its range, or an axis takes whole numbers only.
    """

    def __init__(
        self,
        frame: Frame,
        count: int,
        levels: int,
        seed: int,
        label: Callable[[Outcome], bool],
        *,
        dense: int = 7,
        audit: float = 0.5,
    ) -> None:
        refuse_whole_numbers(frame, "transects")
        if count < 1:
            raise ValueError(f"count must be at least 1; given {count}")
        if not 1 <= levels <= FINEST:
            raise ValueError(f"levels must be 1 to {FINEST}; given {levels}")
        if dense < 0:
            raise ValueError(f"dense must be at least 0; given {dense}")
        if not 0 < audit <= 1:
            raise ValueError(f"audit is a share above 0, at most 1; given {audit:g}")
        self.frame = frame
        self.levels, self.dense, self.audit = levels, min(dense, levels), audit
        self.chords = [
            drawn_chord(random_stream(frame, f"transect {number}", seed)) for number in range(count)
        ]
        self.codes: dict[int, int] = {}
        """Node ``number << levels + 1 | position at the finest level`` -> code, if requested."""
        self._codes_of = {outcome: YES if label(outcome) else NO for outcome in Outcome}
        self._salt = int(random_stream(frame, "audit", seed).random() * 2**53)
        self._threshold = int(audit * 2**64)
        self._first = self._dense_nodes()
        self._left = [count * (2 if not n else 1 << n - 1) for n in range(self.dense + 1)]
        self._todo: list[tuple[int, int]] = []  # heap of (level, node)
        self._out: Counter[int] = Counter()  # by level

    @property
    def backlog(self) -> int:
        """Return the number of positions that `ask` could return now."""
        return sum(self._left) + len(self._todo)

    @property
    def done(self) -> bool:
        """Return True when all positions have results and none is left to return."""
        return not self.backlog and not self._out.total()

    @property
    def complete(self) -> int:
        """Return the deepest level whose positions, and all coarser ones, have results; or -1."""
        pending = [level for level, left in enumerate(self._left) if left]
        pending += [level for level, out in self._out.items() if out]
        if self._todo:
            pending.append(self._todo[0][0])
        return min(pending, default=self.levels + 1) - 1

    def ask(self, n: int) -> list[Point]:
        """Return up to `n` positions, coarse ones first; [] to wait for results, or when done."""
        nodes = list(islice(self._first, n))
        for level, _ in nodes:
            self._left[level] -= 1
        while len(nodes) < n and self._todo:
            nodes.append(heappop(self._todo))
        for level, node in nodes:
            self.codes[node] = ASKED
            self._out[level] += 1
        return [self._point(level, node) for level, node in nodes]

    def tell(self, results: Sequence[Result]) -> None:
        """Take results of positions that `ask` returned, in any order; None for a failed one."""
        for point, outcome in results:
            node = point.ix << self.levels + 1 | point.iy << self.levels - point.level
            if point.frame != self.frame.id or self.codes.get(node) != ASKED:
                raise ValueError(f"{point} was not requested, or already has a result")
            self.codes[node] = FAILED if outcome is None else self._codes_of[outcome]
            self._out[point.level] -= 1
            self._bisect_beside(node, max(point.level, self.dense))

    def _dense_nodes(self) -> Iterator[tuple[int, int]]:
        for level in range(self.dense + 1):
            for number in range(len(self.chords)):
                for index in range(level > 0, (1 << level) + 1, 2 if level else 1):
                    yield level, number << self.levels + 1 | index << self.levels - level

    def _bisect_beside(self, node: int, level: int) -> None:
        """Bisect the intervals of a level at a node, where the other end is known.

        Finer ones that end there do not exist yet: their other end is a middle of these.
        """
        number, position = divmod(node, 2 << self.levels)
        step = (1 << self.levels) >> level
        for left in (position - step, position):
            if step == 1 or not 0 <= left < 1 << self.levels:
                continue
            a = self.codes.get(node - position + left, ASKED)
            b = self.codes.get(node - position + left + step, ASKED)
            if a and b and (a != b or self._audited(level, number, left // step)):
                heappush(self._todo, (level + 1, node - position + left + step // 2))

    def _audited(self, level: int, number: int, index: int) -> bool:
        bits = scramble(index << 8 | level) + number ^ self._salt
        return scramble(bits & 0xFFFFFFFFFFFFFFFF) < self._threshold

    def _point(self, level: int, node: int) -> Point:
        number, position = divmod(node, 2 << self.levels)
        index, cells = position >> self.levels - level, 1 << UNIT_BITS + level
        start, end = self.chords[number]
        x, y = (
            axis.value((low << level) + (high - low) * index, cells)
            for axis, low, high in zip((self.frame.x, self.frame.y), start, end, strict=True)
        )
        return Point(self.frame.id, level, number, index, x, y)


@dataclass(frozen=True)
class ChordFlips:
    """Counts of neighbouring positions with different labels, by chord and level.

    Each array is (count, levels + 1).

    Parameters
    ----------
    dense
        Level up to which every interval was sampled.
    found
        int64, the flips seen; deeper than `dense` a lower bound.
    estimate
        float64, unbiased for all flips of a level; equal to `found` up to `dense`.
    undecided
        float64, unbiased for the intervals with a failed end, which are not in the other counts.
    """

    dense: int
    found: NDArray[np.int64]
    estimate: NDArray[np.float64]
    undecided: NDArray[np.float64]


def count_flips(planner: TransectPlanner) -> ChordFlips:
    """Count the flips along every chord, down to the level up to which the planner is complete.

    A stage that was stopped early thus has fewer levels, and its counts still have the right mean.
    """
    shape = (len(planner.chords), planner.complete + 1)
    flips = ChordFlips(planner.dense, np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape))
    for number in range(shape[0]):
        for level, intervals in enumerate(_intervals(planner, number, shape[1])):
            for bits, weight in intervals:
                if bits == YES | NO:
                    flips.found[number, level] += 1
                    flips.estimate[number, level] += weight
                elif bits & FAILED:
                    flips.undecided[number, level] += weight
    return flips


def _intervals(
    planner: TransectPlanner, number: int, levels: int
) -> Iterator[list[tuple[int, float]]]:
    """Return by level: codes of both ends, united, and weight of the intervals read on a chord."""
    end, codes = 1 << planner.levels, planner.codes
    first = number << planner.levels + 1
    known: list[tuple[int, float]] = []  # left end, weight
    for level in range(levels):
        step = end >> level
        if level <= planner.dense:
            known = [(left, 1.0) for left in range(first, first + end, step)]
        else:
            known = [
                (half, weight / (1 if codes[left] != codes[left + 2 * step] else planner.audit))
                for left, weight in known
                if left + step in codes
                for half in (left, left + step)
            ]
        yield [(codes[left] | codes[left + step], weight) for left, weight in known]
