"""The stage `refine`: follow the border of a frame from its base lattice to a finer level.

The set of points that are requested in total is the closure of `quadtree.py`, which depends on the
labels alone. This module turns it into a planner. There is no barrier between levels: a point is
requested as soon as the points that require it are known, coarse points first. Level 0 is requested
in the order of a hash, and finer points follow in that order, so a stage that is stopped early has
covered all parts of the frame equally.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fractal_ray.plane.axes import Frame, Point
from fractal_ray.plane.hashing import scramble
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.base import Result
from fractal_ray.planners.halo import HALOS
from fractal_ray.planners.nodes import ASKED, FAILED, NO, YES
from fractal_ray.planners.probes import default_probes
from fractal_ray.planners.quadtree import Quadtree


class RefinePlanner:
    """Planner that refines the border of `frame` down to `levels`.

    Parameters
    ----------
    frame
        The frame; its base lattice is level 0, whose unknown nodes are requested.
    levels
        Number of times that the base lattice is halved, at least 1.
    label
        Returns True for outcomes that are labelled yes; the border is where the label changes.
    halo
        Effort spent on pieces of border that no point has touched: 0 none, 1 the usual, 2 about a
        quarter more runs on a rough border with islands. A border without islands costs
        no more with a larger value.
    audit
        Share of the cells that are run although no rule asks for it, 0 to 1.
    seed
        Seed of the audit's choice, of the probes, and of the order of level 0.
    probes
        Number of random cells of the finest level whose corners are run, to bound what the
        refinement misses; five times as many follow if five of them are boundary cells
        (`probes.py`). None: `default_probes`.
    known
        Results of points on this frame, at any level up to `levels`, that need no run.

    Raises
    ------
    ValueError
        If a parameter is out of its range, or a known point is not on the frame's lattice.
    """

    def __init__(
        self,
        frame: Frame,
        levels: int,
        label: Callable[[Outcome], bool],
        *,
        halo: int = 1,
        audit: float = 0.02,
        seed: int = 0,
        probes: int | None = None,
        known: Iterable[Result] = (),
    ) -> None:
        if levels < 1:
            raise ValueError(f"levels must be at least 1; given {levels}")
        if halo not in HALOS:
            raise ValueError(f"halo must be one of {HALOS}; given {halo}")
        if not 0 <= audit <= 1:
            raise ValueError(f"audit is a share from 0 to 1; given {audit:g}")
        if probes is None:
            probes = default_probes(frame.cells_x, frame.cells_y, levels, audit)
        if probes < 0:
            raise ValueError(f"probes must be at least 0; given {probes}")
        self.frame = frame
        self.levels = levels
        self.halo, self.audit, self.seed, self.probes = halo, audit, seed, probes
        self.tree = Quadtree(frame.cells_x, frame.cells_y, levels, halo, audit, seed, probes)
        self._codes: dict[Outcome | None, int] = {None: FAILED}
        self._codes |= {outcome: YES if label(outcome) else NO for outcome in Outcome}
        self._todo: list[deque[int]] = [deque() for _ in range(levels + 1)]
        self._out = 0
        for node, code in {self._node(point): self._codes[what] for point, what in known}.items():
            self.tree.learn(node, code)
        self.tree.start()
        self.tree.nodes.wanted.sort(key=lambda node: scramble(node ^ seed & 0xFFFFFFFFFFFFFFFF))
        self._queue()

    @property
    def backlog(self) -> int:
        """Return the number of points that `ask` could return now."""
        return sum(map(len, self._todo))

    @property
    def done(self) -> bool:
        """Return True when all requested points have answers and no other is left."""
        return not self._out and not any(self._todo)

    def ask(self, n: int) -> list[Point]:
        """Return up to `n` points, coarse ones first; [] while it waits for results, or is done."""
        points: list[Point] = []
        for level, todo in enumerate(self._todo):
            shift = self.levels - level
            for _ in range(min(n - len(points), len(todo))):
                y, x = divmod(todo.popleft(), self.tree.nodes.stride)
                points.append(self.frame.point(level, x >> shift, y >> shift))
        self._out += len(points)
        return points

    def tell(self, results: Sequence[Result]) -> None:
        """Take results of points that `ask` returned, in any order; None for a failed point."""
        codes, learn = self.tree.nodes.codes, self.tree.learn
        for point, outcome in results:
            node = self._node(point)
            if codes.get(node) != ASKED:
                raise ValueError(f"{point} was not requested, or already has a result")
            learn(node, self._codes[outcome])
        self._out -= len(results)
        self._queue()

    def labels(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]:
        """Return the addresses and labels of all nodes that were requested or are known.

        Returns
        -------
        (n,) x and y addresses at level `levels`, and (n,) labels: 1 (yes), 0 (no) or -1
        (requested, and failed or without an answer yet).
        """
        code_of = self.tree.nodes.codes
        nodes = np.fromiter(code_of, dtype=np.int64, count=len(code_of))
        codes = np.fromiter(code_of.values(), dtype=np.int8, count=nodes.size)
        y, x = np.divmod(nodes, self.tree.nodes.stride)
        return x, y, np.where(codes == YES, 1, np.where(codes == NO, 0, -1)).astype(np.int8)

    def _node(self, point: Point) -> int:
        shift = self.levels - point.level
        if point.frame != self.frame.id or shift < 0:
            raise ValueError(f"{point} is not on frame {self.frame.id} up to level {self.levels}")
        return (point.iy * self.tree.nodes.stride + point.ix) << shift

    def _queue(self) -> None:
        """Queue the nodes that the tree wants, each at the coarsest level that holds it."""
        nodes = self.tree.nodes
        for node in nodes.wanted:
            if nodes.codes[node] == ASKED:  # otherwise it was known before it was requested
                y, x = divmod(node, nodes.stride)
                self._todo[nodes.level_of(x, y)].append(node)
        nodes.wanted.clear()
