"""The nodes of a refined lattice: their answers, their addresses, and the cells that hold them.

Nodes are whole numbers (x, y) on the finest lattice, level `levels`. A cell of level L is a square
of side ``2**(levels - L)``. `quadtree.py`, `halo.py` and `rim.py` share one `Nodes` and ask for
points through it.
"""

from collections.abc import Iterator, Sequence
from typing import Final

ASKED: Final = 0
"""Code of a node that was requested and has no answer yet."""
YES: Final = 1
NO: Final = 2
FAILED: Final = 4
"""Codes of answers. They are bits, so a cell's mask is the union of the codes of its nodes."""

HAS_BOTH_LABELS: Final = tuple(mask not in (0, YES, NO, FAILED) for mask in range(8))
"""By a cell's mask: True if its nodes differ. A failed node differs from both labels."""


class Nodes:
    """Nodes of one frame's refined lattice.

    Parameters
    ----------
    cells_x, cells_y
        Cells along each side at level 0, at least 1.
    levels
        The finest level, at least 1.
    """

    def __init__(self, cells_x: int, cells_y: int, levels: int) -> None:
        self.levels = levels
        self.cells_x, self.cells_y = cells_x, cells_y
        # Wide enough that two steps over the rim land on no other row's node.
        self.stride = (cells_x + 2 << levels) + 1
        self.codes: dict[int, int] = {}
        """Node ``y * stride + x`` -> code, for all nodes that were ever requested or known."""
        self.wanted: list[int] = []
        """Nodes that were requested since the list was last emptied."""

    def want(self, node: int) -> None:
        """Ask for a node, once."""
        if node not in self.codes:
            self.codes[node] = ASKED
            self.wanted.append(node)

    def want_block(self, level: int, left: int, bottom: int, right: int, top: int) -> None:
        """Ask for the nodes of a level from (left, bottom) to (right, top), cut to the frame."""
        codes, stride, shift = self.codes, self.stride, self.levels - level
        right, top = min(right, self.cells_x << level), min(top, self.cells_y << level)
        for row in range(max(bottom, 0) * stride, top * stride + 1, stride):
            for column in range(max(left, 0), right + 1):
                node = row + column << shift
                if node not in codes:
                    codes[node] = ASKED
                    self.wanted.append(node)

    def level_of(self, x: int, y: int) -> int:
        """Return the coarsest level whose lattice holds a node."""
        bits = x | y | 1 << self.levels
        return self.levels - (bits & -bits).bit_length() + 1

    def nine(self, level: int, x: int, y: int) -> Iterator[int]:
        """Yield the nine nodes of a split cell: corners, edge midpoints and centre.

        Parameters
        ----------
        level, x, y
            Address of the cell, at a level below the finest.
        """
        half = 1 << (self.levels - level - 1)
        corner = (y * self.stride + x) * 2 * half
        for row in range(corner, corner + 2 * half * self.stride + 1, half * self.stride):
            yield row
            yield row + half
            yield row + 2 * half

    def cells_with(self, level: int, x: int, y: int) -> Sequence[tuple[int, int]]:
        """Return (row, column) of the one, two or four cells of a level that hold a node."""
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

    def mask_of_small_cell(self, row: int, column: int) -> int:
        """Return the union of the codes of the nine nodes of a cell of side 2."""
        get, stride = self.codes.get, self.stride
        low = 2 * (row * stride + column)
        mid, top = low + stride, low + 2 * stride
        return (
            get(low, 0) | get(low + 1, 0) | get(low + 2, 0)
            | get(mid, 0) | get(mid + 1, 0) | get(mid + 2, 0)
            | get(top, 0) | get(top + 1, 0) | get(top + 2, 0)
        )  # fmt: skip
