"""The probes of a refinement: random cells of the finest level, whose corners are requested.

They bound how many boundary cells no rule has reached (`dimension/audit.py`). A few are enough to
show that little is missed. Where much is missed, few give a wide bound, so more follow: once
`HITS_FOR_MORE` of the first probes are boundary cells, `FACTOR_OF_MORE` times as many are requested
again. Labels that are known never cease to differ, so this is a rule of the closure: the order of
answers changes nothing.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from fractal_ray.plane.hashing import scramble
from fractal_ray.planners.nodes import NO, YES, Nodes

HITS_FOR_MORE: Final = 5
"""Number of boundary cells among the first probes that lets more follow."""
FACTOR_OF_MORE: Final = 5
"""Number of probes that follow, as a multiple of the first: about 30 boundary cells in all, of
which the Clopper-Pearson bound is at most 1.45 times the estimate."""


def default_probes(cells_x: int, cells_y: int, levels: int, audit: float) -> int:
    """Return the number of first probes of a refinement that names none.

    It is half of the cells along the longer side of the finest lattice, and 0 without an audit. A
    border that crosses the frame has more cells than that, each with about 6 runs, so probes are a
    fraction of the runs at any level.
    """
    return max(cells_x, cells_y) << levels - 1 if audit else 0


class Probes:
    """The probes of one refined lattice.

    Parameters
    ----------
    nodes
        The nodes of the lattice; corners of cells are requested through it.
    count
        Number of first probes, drawn with replacement.
    salt
        64-bit number of the seed: another one takes other cells.
    """

    def __init__(self, nodes: Nodes, count: int, salt: int) -> None:
        self._nodes, self._count, self._salt = nodes, count, salt
        self._hits = 0
        self.cells = [self._random_cell(number) for number in range(count)]
        """(x, y) of the probed cells, those that followed included; a cell can occur twice."""
        self._quiet = Counter(y * nodes.stride + x for x, y in self.cells)
        """Lowest corner -> number of first probes, of cells whose known corners do not differ."""

    def start(self) -> None:
        """Ask for the corners of the first probes."""
        self._want(self.cells[: self._count])

    def learn(self, node: int) -> None:
        """Take a node that has just become yes or no."""
        if self._hits >= HITS_FOR_MORE:
            return
        codes, stride = self._nodes.codes.get, self._nodes.stride
        for low in (node, node - 1, node - stride, node - stride - 1):
            if low not in self._quiet:
                continue
            corners = (low, low + 1, low + stride, low + stride + 1)
            if {YES, NO} <= {codes(corner) for corner in corners}:
                self._hits += self._quiet.pop(low)
        if self._hits >= HITS_FOR_MORE:
            last = self._count * (1 + FACTOR_OF_MORE)
            more = [self._random_cell(number) for number in range(self._count, last)]
            self.cells += more
            self._want(more)

    def _random_cell(self, number: int) -> tuple[int, int]:
        """Return the address of a random cell of the finest level, each with equal probability."""
        nodes = self._nodes
        columns, rows = nodes.cells_x << nodes.levels, nodes.cells_y << nodes.levels
        drawn = scramble(scramble(number) ^ self._salt ^ 0x9E3779B97F4A7C15)
        y, x = divmod(drawn * columns * rows >> 64, columns)
        return x, y

    def _want(self, cells: Iterable[tuple[int, int]]) -> None:
        for x, y in cells:
            self._nodes.want_block(self._nodes.levels, x, y, x + 1, y + 1)
