"""The rim of a refinement: a border that leaves the frame comes back elsewhere.

A border that is one line crosses the rim twice. If labels change along the rim more often, the
frame cuts the border into pieces that are connected outside the frame only, and following one piece
does not lead to the next. So the whole rim is requested at the finest spacing; its four sides cost
little beside a border inside. A zoomed frame nearly always needs this, a closed border never does.
"""

from bisect import bisect_left
from typing import Final

from fractal_ray.planners.nodes import Nodes

_CROSSINGS: Final = 3
"""Least number of label changes along the rim that one line does not explain."""


class Rim:
    """The known labels along the rim of one refined lattice, whose nodes it asks for.

    The number of label changes among known nodes only grows when nodes become known, so this is a
    rule of the closure: the order of answers changes nothing.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._width, self._height = nodes.cells_x << nodes.levels, nodes.cells_y << nodes.levels
        self._places: list[int] = []
        self._codes: list[int] = []
        self._changes = 0
        self._is_wanted = False

    def learn(self, x: int, y: int, code: int) -> None:
        """Take a node that has just become yes or no; one inside the frame changes nothing."""
        if self._is_wanted or (0 < x < self._width and 0 < y < self._height):
            return
        place = self._place(x, y)
        at = bisect_left(self._places, place)
        before = self._codes[at - 1] if at else None
        after = self._codes[at] if at < len(self._codes) else None
        if before == after and before is not None:
            self._changes += 2 * (code != before)
        elif before is None or after is None:  # an end: the rim is taken as open at (0, 0)
            neighbour = after if before is None else before
            self._changes += neighbour is not None and code != neighbour
        self._places.insert(at, place)
        self._codes.insert(at, code)
        if self._changes >= _CROSSINGS:
            self._want_rim()

    def _place(self, x: int, y: int) -> int:
        """Return the steps from (0, 0) anticlockwise along the rim."""
        width, height = self._width, self._height
        if y == 0:
            return x
        if x == width:
            return width + y
        if y == height:
            return 2 * width + height - x
        return 2 * (width + height) - y

    def _want_rim(self) -> None:
        self._is_wanted = True
        stride = self._nodes.stride
        for x in range(self._width + 1):
            self._nodes.want(x)
            self._nodes.want(self._height * stride + x)
        for y in range(self._height + 1):
            self._nodes.want(y * stride)
            self._nodes.want(y * stride + self._width)
