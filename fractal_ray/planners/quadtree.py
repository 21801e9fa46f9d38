"""Which nodes of a lattice a boundary needs: a closure, so the order of answers changes nothing.

Nodes are whole numbers (x, y) on the finest lattice, level `levels`. A cell of level L is a square
of side ``2**(levels - L)``. Every rule reads "once these nodes are known and look so, ask for
those": none waits for a node to be absent, so each only ever adds, and answers that come in any
order, in any portions, lead to the same smallest set that all rules agree with.

* **Follow.** A cell is a *boundary cell* when two known nodes of its closed square differ, nodes
  that hang on its edges or lie inside included. Every boundary cell is split: its corners, edge
  midpoints and centre are asked for. A border once seen is thereby followed wherever it goes.
* **Halo.** Where the border is in pieces, more is asked for around it: see `halo.py`.
* **Rim.** Where the frame cuts the border into pieces, its rim is asked for: see `rim.py`.
* **Audit.** A fixed share of all cells, chosen by a hash of level and address, is split whatever
  its corners say. What that shows makes boundary cells like everything else.

A failed node is neither yes nor no: it differs from both, so that what it leaves unknown is
confined to the four finest cells around it.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from fractal_ray.planners.halo import Halo
from fractal_ray.planners.rim import Rim

ASKED: Final = 0
"""Code of a node that was asked for and has no answer yet."""
YES: Final = 1
NO: Final = 2
FAILED: Final = 4
"""Codes of answers: bits, so that a cell's mask is the union of what its nodes showed."""

_MIXED: Final = tuple(mask not in (0, YES, NO, FAILED) for mask in range(8))


def mixed_bits(bits: int) -> int:
    """A bijection of 64-bit numbers that scatters them: MurmurHash3's finalizer (Appleby)."""
    bits = ((bits ^ bits >> 33) * 0xFF51AFD7ED558CCD) & 0xFFFFFFFFFFFFFFFF
    bits = ((bits ^ bits >> 33) * 0xC4CEB9FE1A85EC53) & 0xFFFFFFFFFFFFFFFF
    return bits ^ bits >> 33


class Quadtree:
    """The closure over one frame's lattice.

    Parameters
    ----------
    cells_x, cells_y
        Cells along each side at level 0, at least 1.
    levels
        The finest level, at least 1.
    halo
        One of `halo.HALOS`.
    audit
        Share of the cells that is split unasked, 0 to 1.
    seed
        Another seed audits other cells.
    """

    def __init__(
        self, cells_x: int, cells_y: int, levels: int, halo: int, audit: float, seed: int
    ) -> None:
        self.levels = levels
        self.cells_x, self.cells_y = cells_x, cells_y
        # Wide enough that two steps over the rim land on no other row's node.
        self.stride = (cells_x + 2 << levels) + 1
        self.nodes: dict[int, int] = {}
        """Node ``y * stride + x`` -> code, for every node ever asked for or known."""
        self.wanted: list[int] = []
        """Nodes that were asked for since the list was last emptied."""
        # By level: cell y * (cells_x << level) + x -> bits of its known nodes. The two finest
        # levels, where most cells are, are looked up in the nodes instead.
        self._masks: list[dict[int, int]] = [{} for _ in range(levels - 1)]
        self._halo = Halo(self, halo) if halo else None
        self._rim = Rim(self)
        self._threshold = int(audit * 2**64)
        self._salt = mixed_bits((seed + 1) & 0xFFFFFFFFFFFFFFFF)

    def start(self) -> None:
        """Ask for the nodes of level 0 that are not known, and for its audited cells."""
        self.want_block(0, 0, 0, self.cells_x, self.cells_y)
        for y in range(self.cells_y):
            for x in range(self.cells_x):
                self._audit(0, x, y)

    def learn(self, node: int, code: int) -> None:
        """Take the answer `YES`, `NO` or `FAILED` of a node; what follows is in `wanted`."""
        self.nodes[node] = ASKED  # so that what was known before can be told from what is new
        y, x = divmod(node, self.stride)
        # Only a boundary cell has parts that differ: this spares most nodes the closer look.
        near_border = self._spread(x, y, code) or self.levels == 1
        if near_border:
            level = self.levels - 1
            for row, column in self.cells_with(level, x, y):
                seen = self._seen_in_small(row, column)
                if _MIXED[seen | code] and not _MIXED[seen]:
                    self._split(level, column, row)
        self.nodes[node] = code
        if code != FAILED:
            self._rim.learn(x, y, code)
        if self._halo is not None and code != FAILED:
            self._halo.learn(node, x, y, code, near_border)

    def want(self, node: int) -> None:
        """Ask for a node, once."""
        if node not in self.nodes:
            self.nodes[node] = ASKED
            self.wanted.append(node)

    def want_block(self, level: int, left: int, bottom: int, right: int, top: int) -> None:
        """Ask for the nodes of a level from (left, bottom) to (right, top), cut to the frame."""
        nodes, stride, shift = self.nodes, self.stride, self.levels - level
        right, top = min(right, self.cells_x << level), min(top, self.cells_y << level)
        for row in range(max(bottom, 0) * stride, top * stride + 1, stride):
            for column in range(max(left, 0), right + 1):
                node = row + column << shift
                if node not in nodes:
                    nodes[node] = ASKED
                    self.wanted.append(node)

    def level_of(self, x: int, y: int) -> int:
        """The coarsest level whose lattice holds a node."""
        bits = x | y | 1 << self.levels
        return self.levels - (bits & -bits).bit_length() + 1

    def nine(self, level: int, x: int, y: int) -> Iterator[int]:
        """The nodes of a cell below the finest level and of its split, by its address."""
        half = 1 << (self.levels - level - 1)
        corner = (y * self.stride + x) * 2 * half
        for row in range(corner, corner + 2 * half * self.stride + 1, half * self.stride):
            yield row
            yield row + half
            yield row + 2 * half

    def audited(self, level: int, x: int, y: int) -> bool:
        """Whether the audit takes a cell, if the cell comes to exist."""
        return mixed_bits(mixed_bits(x << 32 ^ y) + level ^ self._salt) < self._threshold

    def is_boundary(self, level: int, x: int, y: int) -> bool:
        """Whether known nodes of a cell below the finest level differ."""
        if level == self.levels - 1:
            return _MIXED[self._seen_in_small(y, x)]
        return _MIXED[self._masks[level].get(y * (self.cells_x << level) + x, 0)]

    def _audit(self, level: int, x: int, y: int) -> None:
        if self.audited(level, x, y):
            for node in self.nine(level, x, y):
                self.want(node)

    def cells_with(self, level: int, x: int, y: int) -> Sequence[tuple[int, int]]:
        """(row, column) of the one, two or four cells of a level that hold a node."""
        shift = self.levels - level
        column, row, inner = x >> shift, y >> shift, (1 << shift) - 1
        if x & inner and y & inner:
            return ((row, column),)
        columns, rows = self.cells_x << level, self.cells_y << level
        left = column if x & inner or not x else column - 1
        low = row if y & inner or not y else row - 1
        return [
            (r, c)
            for r in range(low, min(row + 1, rows))
            for c in range(left, min(column + 1, columns))
        ]

    def _seen_in_small(self, row: int, column: int) -> int:
        """Bits of the nine nodes of a cell of side 2."""
        get, stride = self.nodes.get, self.stride
        low = 2 * (row * stride + column)
        mid, top = low + stride, low + 2 * stride
        return (
            get(low, 0) | get(low + 1, 0) | get(low + 2, 0)
            | get(mid, 0) | get(mid + 1, 0) | get(mid + 2, 0)
            | get(top, 0) | get(top + 1, 0) | get(top + 2, 0)
        )  # fmt: skip

    def _spread(self, x: int, y: int, code: int) -> bool:
        """Add a node's answer to all cells of side 4 and more that hold it, the finest first.

        Returns whether a cell of side 4 that holds it is a boundary cell.
        """
        near_border = False
        for level in range(self.levels - 2, -1, -1):
            masks, columns, news = self._masks[level], self.cells_x << level, False
            for row, column in self.cells_with(level, x, y):
                cell = row * columns + column
                old = masks.get(cell, 0)
                if not old & code:
                    masks[cell] = old | code
                    news = True
                    if _MIXED[old | code] and not _MIXED[old]:
                        self._split(level, column, row)
                if level == self.levels - 2 and _MIXED[old | code]:
                    near_border = True
            if not news:  # a coarser cell has seen all that its parts have
                break
        return near_border

    def _split(self, level: int, x: int, y: int) -> None:
        for node in self.nine(level, x, y):
            self.want(node)
        if level + 1 < self.levels and self._threshold:
            for row in (2 * y, 2 * y + 1):
                self._audit(level + 1, 2 * x, row)
                self._audit(level + 1, 2 * x + 1, row)
        if self._halo is not None:
            self._halo.surround(level, x, y)
