"""The nodes that several seeds check: the best, its four neighbours, and both sides of each cliff.

Sides of a cliff are the runs that the advice names: the last unbroken and the first broken run in a
direction, or in a column where an axis changes the data.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from fractal_ray.analysis.advice.law_results import Column
from fractal_ray.analysis.advice.results import BestPoint, Cliff, Node, Refusal
from fractal_ray.analysis.advice.surface import Surface, neighbour_indices

BEST = "best"
NEIGHBOUR = "neighbour"
UNBROKEN = "unbroken side"
BROKEN = "broken side"
Roles = dict[Node, tuple[str, ...]]
"""Roles of nodes: of `BEST`, `NEIGHBOUR`, `UNBROKEN` and `BROKEN`."""


def checked_nodes(
    surface: Surface,
    best: BestPoint | Refusal,
    cliff: Cliff | Refusal,
    columns: Iterable[Column] = (),
    amount: str = "",
) -> Roles:
    """Return the nodes to check with their roles, by rows and columns of the lattice.

    Nodes without a run are left out. Of several nodes with equal values, which share a run, the
    first one is returned.

    Parameters
    ----------
    surface
        Losses and labels of a frame.
    best, cliff
        Advice on it.
    columns
        Columns of the axis that changes the data, if one does; each has a best and a cliff.
    amount
        Name of that axis.
    """
    roles: dict[Node, list[str]] = {}

    def add(x: float | None, y: float | None, role: str) -> None:
        node = node_at(surface, x, y)
        if node is not None and role not in roles.get(node, []):
            roles.setdefault(node, []).append(role)

    if isinstance(best, BestPoint):
        add(best.x, best.y, BEST)
        beside = neighbour_indices(surface.measured)[:, best.node[0], best.node[1]]
        for iy, ix in (divmod(int(flat), surface.x.size) for flat in beside if flat >= 0):
            add(float(surface.x[ix]), float(surface.y[iy]), NEIGHBOUR)
        for margin in cliff.margins if isinstance(cliff, Cliff) else ():
            if margin.first_broken is not None:
                for value, role in (
                    (margin.last_unbroken, UNBROKEN),
                    (margin.first_broken, BROKEN),
                ):
                    along_x = margin.direction[1] == "x"
                    add(value if along_x else best.x, best.y if along_x else value, role)
    for column in columns:
        sides = [(column.best_node_value, BEST)]
        if column.first_broken is not None:
            sides += [(column.last_unbroken, UNBROKEN), (column.first_broken, BROKEN)]
        for value, role in sides:
            add(*place_in_column(surface, column, amount, value), role)
    return {node: tuple(roles[node]) for node in sorted(roles)}


def place_in_column(
    surface: Surface, column: Column, amount: str, value: float | None
) -> tuple[float | None, float | None]:
    """Return x and y of a value of a column; `amount` is the axis that changes the data."""
    in_x = amount == surface.x_name
    return (column.amount, value) if in_x else (value, column.amount)


def node_at(surface: Surface, x: float | None, y: float | None) -> Node | None:
    """Return the first node of these values that has a run; None without one."""
    if x is None or y is None:
        return None
    columns, rows = np.flatnonzero(surface.x == x), np.flatnonzero(surface.y == y)
    measured = np.argwhere(surface.measured[np.ix_(rows, columns)])
    return (int(rows[measured[0][0]]), int(columns[measured[0][1]])) if len(measured) else None


def joined(*parts: Mapping[Node, tuple[str, ...]]) -> Roles:
    """Return the nodes of all parts; a node has its roles in the last part that names it."""
    nodes: Roles = {}
    for part in parts:
        nodes |= part
    return {node: nodes[node] for node in sorted(nodes)}
