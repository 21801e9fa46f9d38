"""The halo of a refinement: nodes around a border that lies in pieces.

Following finds every piece of border that a known node touches. It cannot find islands and cusps
between the nodes. A sign of them is a *knot*: at some spacing, a node that differs from its four
neighbours, or a square whose diagonals differ. Near a knot the border has pieces too small for that
spacing, and more such pieces are likely. A disc, and any graph of a function, has no knots, so it
costs no additional runs.

Around a knot (in its cell 5 levels above the finest) the neighbours of boundary cells are
requested. Coarse rings are cheap and find large islands. At the finest levels a ring is half of all
points, so it is requested only near several boundary cells.
"""

from typing import Final

from fractal_ray.planners.nodes import Nodes

_KNOT_LEVELS: Final = 5

# halo -> (radius, least number of boundary cells within it) of a requested cell, by levels above
# the finest; the last entry is for all coarser levels. On the sets of benchmarks/refine.py with
# other seeds, about a hundred tables give one curve of recall against points; these are two points
# on it.
_RINGS: Final = {
    1: ((1, 3), (1, 2), (3, 1), (8, 1)),
    2: ((1, 1), (2, 1), (4, 1), (8, 1)),
}
HALOS: Final = (0, *_RINGS)
"""Values that `halo` may have: none, usual, wide."""

_TURNS: Final = ((1, 0), (0, 1), (-1, 0), (0, -1))


class Halo:
    """Knots and rings of one refined lattice.

    Parameters
    ----------
    nodes
        The lattice, whose answers it reads and whose nodes it asks for.
    halo
        1 or 2.
    """

    def __init__(self, nodes: Nodes, halo: int) -> None:
        self._nodes = nodes
        self._rings = _RINGS[halo]
        self._top = max(0, nodes.levels - _KNOT_LEVELS)
        # By level from the regions' up to the coarsest: cells with a knot in their closed square,
        # and the boundary cells that wait for one: cell * (levels + 1) + level.
        self._knotted: list[set[int]] = [set() for _ in range(self._top + 1)]
        self._waiting: list[dict[int, list[int]]] = [{} for _ in range(self._top + 1)]
        self._crowds: list[dict[int, int]] = [{} for _ in range(nodes.levels + 1)]

    def learn(self, node: int, x: int, y: int, code: int, near_border: bool) -> None:
        """Take a node that has just become yes (1) or no (2).

        Parameters
        ----------
        node, x, y, code
            The node, its address and its answer.
        near_border
            True if a cell of side 4 that holds the node is a boundary cell. Otherwise there is
            nothing to see at the two finest spacings.
        """
        finest = self._nodes.levels
        for level in range(self._nodes.level_of(x, y), finest + 1 if near_border else finest - 1):
            self._compare(level, node, x, y, code)

    def surround(self, level: int, x: int, y: int) -> None:
        """Ask for the ring around a new boundary cell, now or when its region has a knot."""
        above = min(level, self._top)
        shift = level - above
        region = (y >> shift) * (self._nodes.cells_x << above) + (x >> shift)
        if region in self._knotted[above]:
            self._ring(level, x, y)
        else:
            cell = y * (self._nodes.cells_x << level) + x
            packed = cell * (self._nodes.levels + 1) + level
            self._waiting[above].setdefault(region, []).append(packed)

    def _compare(self, level: int, node: int, x: int, y: int, code: int) -> None:
        """Find the knots that `node` completes at the spacing of `level`.

        At the finest level it finds boundary cells as well, which only the halo needs.
        """
        nodes = self._nodes
        get, step, other = nodes.codes.get, 1 << (nodes.levels - level), 3 - code
        row = step * nodes.stride
        sides = get(node + step), get(node + row), get(node - step), get(node - row)
        finest = level == nodes.levels
        if other not in sides and not finest:
            return
        corners = (
            get(node + row + step),
            get(node + row - step),
            get(node - row - step),
            get(node - row + step),
        )
        if other not in sides and other not in corners:
            return
        for turn, (dx, dy) in enumerate(_TURNS):
            side, next_side, across = sides[turn], sides[turn - 3], corners[turn]
            if side == other and across == code:
                if next_side == other:
                    self._knot(x, y, step * (dx - dy), step * (dx + dy))
                if corners[turn - 1] == code and get(node + 2 * (dx * step + dy * row)) == code:
                    self._knot(x + step * dx, y + step * dy)
            three = (side, next_side, across)
            if finest and other in three and code not in three:
                self._surround_finest(x + min(dx - dy, 0), y + min(dx + dy, 0))
        if sides.count(other) == 4:
            self._knot(x, y)

    def _surround_finest(self, x: int, y: int) -> None:
        nodes = self._nodes
        if 0 <= x < nodes.cells_x << nodes.levels and 0 <= y < nodes.cells_y << nodes.levels:
            self.surround(nodes.levels, x, y)

    def _knot(self, x: int, y: int, dx: int = 0, dy: int = 0) -> None:
        """Record a knot: a node, or the square from it to the opposite corner."""
        for corner_x, corner_y in {(x, y), (x + dx, y), (x, y + dy), (x + dx, y + dy)}:
            for level in range(self._top, -1, -1):
                for row, column in self._nodes.cells_with(level, corner_x, corner_y):
                    region = row * (self._nodes.cells_x << level) + column
                    if region not in self._knotted[level]:
                        self._knotted[level].add(region)
                        self._release(level, region)

    def _release(self, above: int, region: int) -> None:
        for packed in self._waiting[above].pop(region, ()):
            cell, level = divmod(packed, self._nodes.levels + 1)
            y, x = divmod(cell, self._nodes.cells_x << level)
            self._ring(level, x, y)

    def _ring(self, level: int, x: int, y: int) -> None:
        nodes = self._nodes
        radius, least = self._rings[min(nodes.levels - level, len(self._rings) - 1)]
        if least == 1:
            nodes.want_block(level, x - radius, y - radius, x + radius + 1, y + radius + 1)
            return
        crowd, columns = self._crowds[level], nodes.cells_x << level
        bottom, top = max(0, y - radius), min(nodes.cells_y << level, y + radius + 1)
        left, right = max(0, x - radius), min(columns, x + radius + 1)
        for row in range(bottom, top):
            for cell in range(row * columns + left, row * columns + right):
                crowd[cell] = count = crowd.get(cell, 0) + 1
                if count == least:
                    column = cell - row * columns
                    nodes.want_block(level, column, row, column + 1, row + 1)
