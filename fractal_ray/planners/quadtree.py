"""The set of nodes that a boundary needs: a closure, so the order of answers changes nothing.

Every rule has the form "once these nodes are known and have these labels, ask for those nodes".
No rule waits for a node to be absent, so each rule only adds nodes. Answers in any order, in any
portions, thus lead to one smallest set that satisfies all rules. `nodes.py` describes the addresses
of nodes and cells.

* **Follow.** A cell is a *boundary cell* when two known nodes of its closed square differ, nodes
  that hang on its edges or lie inside included. Every boundary cell is split: its corners, edge
  midpoints and centre are requested. A border of which one cell is known is thereby followed to its
  end.
* **Halo.** If the border is in pieces, nodes around it are requested as well: see `halo.py`.
* **Rim.** If the frame cuts the border into pieces, its rim is requested: see `rim.py`.
* **Audit.** A fixed share of all cells, chosen by a hash of level and address, is split whatever
  the labels of its corners. Labels that differ there make boundary cells by the rule "follow".
* **Probes.** The corners of random cells of the finest level are requested: see `probes.py`.

A failed node is neither yes nor no: it differs from both, so only the four finest cells around it
stay unknown.
"""

from fractal_ray.plane.hashing import scramble
from fractal_ray.planners.halo import Halo
from fractal_ray.planners.nodes import ASKED, FAILED, HAS_BOTH_LABELS, Nodes
from fractal_ray.planners.probes import Probes
from fractal_ray.planners.rim import Rim


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
        Share of the cells that is split although no rule asks for it, 0 to 1.
    seed
        Seed of the audit and the probes: another seed takes other cells.
    probes
        Number of first probes; 0 for none.
    """

    def __init__(
        self,
        cells_x: int,
        cells_y: int,
        levels: int,
        halo: int,
        audit: float,
        seed: int,
        probes: int = 0,
    ) -> None:
        self.nodes = Nodes(cells_x, cells_y, levels)
        # By level: cell y * (cells_x << level) + x -> mask of its known nodes. The two finest
        # levels, which hold most cells, are looked up in the nodes instead.
        self._masks: list[dict[int, int]] = [{} for _ in range(levels - 1)]
        self._halo = Halo(self.nodes, halo) if halo else None
        self._rim = Rim(self.nodes)
        self._threshold = int(audit * 2**64)
        self._salt = scramble((seed + 1) & 0xFFFFFFFFFFFFFFFF)
        self._probes = Probes(self.nodes, probes, self._salt) if probes else None

    @property
    def probed(self) -> list[tuple[int, int]]:
        """Return the (x, y) of the probed cells of the finest level; a cell can occur twice."""
        return [] if self._probes is None else self._probes.cells

    def start(self) -> None:
        """Ask for the unknown nodes of level 0, of its audited cells, and of all probed cells."""
        nodes = self.nodes
        if self._probes is not None:
            self._probes.start()
        nodes.want_block(0, 0, 0, nodes.cells_x, nodes.cells_y)
        for y in range(nodes.cells_y):
            for x in range(nodes.cells_x):
                self._audit(0, x, y)

    def learn(self, node: int, code: int) -> None:
        """Take the answer `YES`, `NO` or `FAILED` of a node; new nodes are in `nodes.wanted`."""
        nodes = self.nodes
        nodes.codes[node] = ASKED  # so that masks of its cells are those from before the answer
        y, x = divmod(node, nodes.stride)
        # Only a boundary cell has parts that differ: this spares most nodes the closer look.
        near_border = self._spread(x, y, code) or nodes.levels == 1
        if near_border:
            level = nodes.levels - 1
            for row, column in nodes.cells_with(level, x, y):
                mask = nodes.mask_of_small_cell(row, column)
                if HAS_BOTH_LABELS[mask | code] and not HAS_BOTH_LABELS[mask]:
                    self._split(level, column, row)
        nodes.codes[node] = code
        if code != FAILED:
            self._rim.learn(x, y, code)
            if self._probes is not None:
                self._probes.learn(node)
        if self._halo is not None and code != FAILED:
            self._halo.learn(node, x, y, code, near_border)

    def audited(self, level: int, x: int, y: int) -> bool:
        """Return True if the audit takes a cell, provided that the cell comes to exist."""
        return scramble(scramble(x << 32 ^ y) + level ^ self._salt) < self._threshold

    def is_boundary(self, level: int, x: int, y: int) -> bool:
        """Return True if known nodes of a cell below the finest level differ."""
        nodes = self.nodes
        if level == nodes.levels - 1:
            return HAS_BOTH_LABELS[nodes.mask_of_small_cell(y, x)]
        return HAS_BOTH_LABELS[self._masks[level].get(y * (nodes.cells_x << level) + x, 0)]

    def _audit(self, level: int, x: int, y: int) -> None:
        if self.audited(level, x, y):
            for node in self.nodes.nine(level, x, y):
                self.nodes.want(node)

    def _spread(self, x: int, y: int, code: int) -> bool:
        """Add a node's answer to all cells of side 4 and more that hold it, the finest first.

        Returns
        -------
        True if a cell of side 4 that holds the node is a boundary cell.
        """
        near_border, nodes = False, self.nodes
        finest_masks = nodes.levels - 2
        for level in range(finest_masks, -1, -1):
            masks, columns, changed = self._masks[level], nodes.cells_x << level, False
            for row, column in nodes.cells_with(level, x, y):
                cell = row * columns + column
                old = masks.get(cell, 0)
                if not old & code:
                    masks[cell] = old | code
                    changed = True
                    if HAS_BOTH_LABELS[old | code] and not HAS_BOTH_LABELS[old]:
                        self._split(level, column, row)
                if level == finest_masks and HAS_BOTH_LABELS[old | code]:
                    near_border = True
            if not changed:  # a coarser cell has the codes of all its parts
                break
        return near_border

    def _split(self, level: int, x: int, y: int) -> None:
        for node in self.nodes.nine(level, x, y):
            self.nodes.want(node)
        if level + 1 < self.nodes.levels and self._threshold:
            for row in (2 * y, 2 * y + 1):
                self._audit(level + 1, 2 * x, row)
                self._audit(level + 1, 2 * x + 1, row)
        if self._halo is not None:
            self._halo.surround(level, x, y)
