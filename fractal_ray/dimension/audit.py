"""Estimate and bound of the boundary cells that a refinement has missed.

**Estimate, from the audit.** The cells that refinement skips are those which its rules leave whole.
Each was audited with the same probability, by a hash, so the audited ones are a random sample of
them: Clopper, Pearson, Biometrika 26, 404 (1934) bound the share that one more halving would show
to be boundary cells, and Horvitz, Thompson, J. Am. Stat. Assoc. 47, 663 (1952) give the number of
boundary cells that the skipped ones hide, every one found by the audit standing for ``1 / audit``
of them. The audit sees one halving, so the estimate is low where islands are smaller.

**Bound, from the probes.** Probes are cells of the finest level, drawn at random with replacement
(`planners/probes.py`). Of those that fall among the cells whose corners the rules leave unknown,
the number that are boundary cells is binomial, for islands of any size and place. So Clopper and
Pearson bound the share, and with it the number, of boundary cells among the unknown ones. At a
coarser level each missed boundary cell holds at least one of the finest, outside of the cells found
at that level: the probes that fell there bound their number in the same manner.

What was found is a lower end without chance, so each interval is one-sided. Whether more probes
follow depends on the first, which gives chance two occasions to fail: that the first probes alone
are too quiet, and that all of them are. Each is bounded at 97.5 %, so that both together are at
95 % (Bonferroni), and all probes may be counted where more followed.

The choice of the cells that the rules leave whole must not depend on audit or probes. So the
refinement is planned again from the labels, without both: all labels that it needs are known.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fractal_ray.dimension.intervals import clopper_pearson
from fractal_ray.planners.nodes import FAILED, NO, YES
from fractal_ray.planners.quadtree import Quadtree
from fractal_ray.planners.refine import RefinePlanner

_Cell = tuple[int, int, int]
"""Address of a cell: (level, x, y)."""


@dataclass(frozen=True)
class AuditReport:
    """Skipped cells of a refinement, the result of their audit, and the corrected counts.

    Parameters
    ----------
    skipped
        Number of cells that the rules leave whole and whose split is not known from neighbours.
    audited
        Number of skipped cells that the audit ran.
    surprises
        Number of audited cells that are boundary cells.
    undecided
        Number of audited cells with a failed node; not counted in `audited` or `surprises`.
    rate, low, high
        Share of skipped cells that one more halving shows to be boundary cells: estimate and 95 %
        Clopper-Pearson interval. None without audited cells.
    found
        Boundary cells found, by level from 0 to the finest. The lower end of the interval of the
        true number, without chance.
    corrected
        `found` plus the estimated boundary cells inside skipped cells. Unbiased for one halving of
        each skipped cell, so low if islands are smaller; from `found` to `upper`.
    stderr
        Standard errors of `corrected`, from the random choice of audited cells alone. They say
        nothing of islands that the audit cannot see.
    probed
        Number of probes in finest cells whose corners the rules leave unknown, without those with
        a failed corner.
    hits
        Number of these probes that are boundary cells.
    upper
        Upper end of the one-sided 95 % interval of the true number of boundary cells, by level.
        None without probes: the number is then not bounded.
    """

    skipped: int
    audited: int
    surprises: int
    undecided: int
    rate: float | None
    low: float | None
    high: float | None
    found: tuple[int, ...]
    corrected: tuple[float, ...]
    stderr: tuple[float, ...]
    probed: int = 0
    hits: int = 0
    upper: tuple[float, ...] | None = None


def audit_report(planner: RefinePlanner) -> AuditReport:
    """Judge a refinement by its audit.

    Parameters
    ----------
    planner
        A planner that is done. Takes about as long as planning did.

    Raises
    ------
    ValueError
        If the planner is not done.
    """
    if not planner.done:
        raise ValueError("the audit can be judged only when all points have results")
    tree = planner.tree
    ruled = _without_audit(planner)
    skipped = set(_skipped(ruled))
    audited = [cell for cell in skipped if tree.audited(*cell)]
    codes = [_codes(tree, tree.nodes.nine(*cell)) for cell in audited]
    undecided = sum(FAILED in labels for labels in codes)
    surprises = sum(labels == {YES, NO} for labels in codes)
    judged = len(audited) - undecided
    low, high = clopper_pearson(surprises, judged)
    cells = [_boundary_cells(tree, level) for level in range(planner.levels + 1)]
    ruled_cells = [_boundary_cells(ruled, level) for level in range(planner.levels + 1)]
    counts, corrected, stderr = [], [], []
    for level, (all_cells, by_rule) in enumerate(zip(cells, ruled_cells, strict=True)):
        weights = _hidden(tree, level, np.setdiff1d(all_cells, by_rule), skipped)
        counts.append(all_cells.size)
        total = by_rule.size + sum(weights) / planner.audit if weights else float(by_rule.size)
        corrected.append(max(float(all_cells.size), total))
        squares = sum(weight * weight for weight in weights)
        stderr.append(math.sqrt(squares * (1 - planner.audit)) / planner.audit if squares else 0.0)
    probes = _probes(tree, ruled)
    upper = None
    if tree.probed:
        upper = tuple(
            max(float(count), probes.upper(ruled, level, by_rule))
            for level, (count, by_rule) in enumerate(zip(counts, ruled_cells, strict=True))
        )
        corrected = list(map(min, corrected, upper))
    return AuditReport(
        skipped=len(skipped),
        audited=len(audited),
        surprises=surprises,
        undecided=undecided,
        rate=surprises / judged if judged else None,
        low=low,
        high=high,
        found=tuple(counts),
        corrected=tuple(corrected),
        stderr=tuple(stderr),
        probed=probes.total,
        hits=int(probes.mixed.sum()),
        upper=upper,
    )


def _without_audit(planner: RefinePlanner) -> Quadtree:
    """Return the refinement that these answers would have given without audit and probes."""
    frame, codes = planner.frame, planner.tree.nodes.codes
    tree = Quadtree(frame.cells_x, frame.cells_y, planner.levels, planner.halo, 0.0, planner.seed)
    tree.start()
    while tree.nodes.wanted:
        node = tree.nodes.wanted.pop()
        tree.learn(node, codes[node])
    return tree


def _skipped(tree: Quadtree) -> Iterable[_Cell]:
    """Return the skipped cells below the finest level, without those whose nine nodes are known."""
    whole = [(0, x, y) for y in range(tree.nodes.cells_y) for x in range(tree.nodes.cells_x)]
    while whole:
        level, x, y = cell = whole.pop()
        if not tree.is_boundary(*cell):
            if any(node not in tree.nodes.codes for node in tree.nodes.nine(*cell)):
                yield cell
        elif level + 1 < tree.nodes.levels:
            whole += [(level + 1, 2 * x + i, 2 * y + j) for i in (0, 1) for j in (0, 1)]


def _codes(tree: Quadtree, nodes: Iterable[int]) -> set[int]:
    return {tree.nodes.codes[node] for node in nodes}


def _boundary_cells(tree: Quadtree, level: int) -> NDArray[np.int64]:
    """Return the sorted ``y * columns + x`` of cells in whose closed square labels differ."""
    nodes = np.fromiter(tree.nodes.codes, dtype=np.int64, count=len(tree.nodes.codes))
    codes = np.fromiter(tree.nodes.codes.values(), dtype=np.int8, count=nodes.size)
    yes, no = (_cells_with(tree, level, nodes[codes == code]) for code in (YES, NO))
    return np.intersect1d(yes, no, assume_unique=True)


def _cells_with(tree: Quadtree, level: int, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, sorted, the cells of a level that hold a node, inside, on an edge or at a corner."""
    y, x = np.divmod(nodes, tree.nodes.stride)
    shift = tree.nodes.levels - level
    columns, rows = tree.nodes.cells_x << level, tree.nodes.cells_y << level
    cells = []
    for dy in (0, 1):
        for dx in (0, 1):  # of a node on an edge, one less lies in the cell before
            row, column = (y - dy) >> shift, (x - dx) >> shift
            inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            cells.append(np.unique(row[inside] * columns + column[inside]))
    return np.unique(np.concatenate(cells))


def _hidden(tree: Quadtree, level: int, cells: NDArray[np.int64], skipped: set[_Cell]) -> list[int]:
    """Return the number of `cells` in each audited skipped cell, without zeros."""
    counts: Counter[_Cell] = Counter()
    for y, x in zip(*np.divmod(cells, tree.nodes.cells_x << level), strict=True):
        for up in range(level + 1):
            above = (level - up, int(x) >> up, int(y) >> up)
            if above in skipped:
                counts[above] += tree.audited(*above)
                break
    return [count for count in counts.values() if count]


@dataclass(frozen=True)
class _Probes:
    """Probes among the finest cells whose corners the rules leave unknown.

    Parameters
    ----------
    x, y
        (total,) addresses at the finest level.
    mixed
        (total,) True for boundary cells.
    known_x, known_y
        Addresses of the finest cells whose corners the rules know.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    mixed: NDArray[np.bool_]
    known_x: NDArray[np.int64]
    known_y: NDArray[np.int64]

    @property
    def total(self) -> int:
        return self.x.size

    def upper(self, ruled: Quadtree, level: int, by_rule: NDArray[np.int64]) -> float:
        """Bound the boundary cells of a level, of which the rules found the sorted `by_rule`."""
        nodes = ruled.nodes
        shift, columns = nodes.levels - level, nodes.cells_x << level
        cells = (nodes.cells_y << level) * columns

        def outside(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.bool_]:
            return np.isin((y >> shift) * columns + (x >> shift), by_rule, invert=True)

        unknown = (cells - by_rule.size << 2 * shift) - int(
            outside(self.known_x, self.known_y).sum()
        )
        there = outside(self.x, self.y)
        _, share = clopper_pearson(int((self.mixed & there).sum()), int(there.sum()))
        most = cells - by_rule.size
        return by_rule.size + min(most, unknown * (1.0 if share is None else share))


def _probes(tree: Quadtree, ruled: Quadtree) -> _Probes:
    """Return the probes of `tree` that lie where `ruled`, the rules alone, knows too little."""
    nodes = np.sort(np.fromiter(ruled.nodes.codes, dtype=np.int64, count=len(ruled.nodes.codes)))
    stride = tree.nodes.stride
    whole = nodes
    for corner in (1, stride, stride + 1):
        whole = whole[np.isin(whole + corner, nodes, assume_unique=True)]
    known_y, known_x = np.divmod(whole, stride)
    drawn = np.array(tree.probed, dtype=np.int64).reshape(-1, 2)
    drawn = drawn[~np.isin(drawn[:, 1] * stride + drawn[:, 0], whole)]
    codes = tree.nodes.codes
    masks = np.array(
        [
            codes[low] | codes[low + 1] | codes[low + stride] | codes[low + stride + 1]
            for low in (drawn[:, 1] * stride + drawn[:, 0]).tolist()
        ],
        dtype=np.int64,
    )
    judged = masks & FAILED == 0
    drawn, masks = drawn[judged], masks[judged]
    return _Probes(drawn[:, 0], drawn[:, 1], masks == YES | NO, known_x, known_y)
