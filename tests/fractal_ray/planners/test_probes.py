"""The probes of a refinement: where they lie, and when more of them follow."""

import numpy as np
import pytest

from fractal_ray.planners.nodes import FAILED, NO, YES, Nodes
from fractal_ray.planners.probes import Probes, default_probes
from fractal_ray.planners.refine import RefinePlanner
from tests.fractal_ray.planners.test_refine import Labels, frame, refine, trained


def dust(share: float) -> Labels:
    """Make 65 x 65 labels, each yes with probability `share`."""
    return (np.random.default_rng(3).random((65, 65)) < share).astype(np.int8)


@pytest.mark.parametrize(("share", "factor"), [(0.0, 1), (0.5, 6)])
def test_five_times_as_many_follow_where_five_hold_border(share: float, factor: int) -> None:
    planner = RefinePlanner(frame(4), 4, trained, halo=0, audit=0.0, probes=20)
    refine(planner, dust(share))
    assert len(planner.tree.probed) == 20 * factor
    x, y, _ = planner.labels()
    known = set(zip(x.tolist(), y.tolist(), strict=True))
    corners = {(a + i, b + j) for a, b in planner.tree.probed for i in (0, 1) for j in (0, 1)}
    assert corners <= known


def test_more_follow_at_the_fifth_and_not_at_the_fourth() -> None:
    nodes = Nodes(64, 64, 4)
    probes = Probes(nodes, 6, salt=1)
    probes.start()
    first = [y * nodes.stride + x for x, y in probes.cells]
    for number, low in enumerate(first):
        assert len(probes.cells) == (6 if number < 5 else 36)
        # A failed corner is neither yes nor no.
        nodes.codes |= {low: FAILED, low + 1: NO, low + nodes.stride: NO}
        probes.learn(low + 1)
        assert len(probes.cells) == (6 if number < 5 else 36)
        nodes.codes[low + nodes.stride + 1] = YES
        probes.learn(low + nodes.stride + 1)


def test_every_finest_cell_is_probed_equally_often() -> None:
    nodes = Nodes(3, 2, 2)
    x, y = np.array(Probes(nodes, 9600, salt=7).cells).T
    counts = np.bincount(y * 12 + x, minlength=96)
    assert counts.size == 96
    # 95 degrees of freedom: above 145 in one of a thousand sets of draws.
    assert ((counts - 100) ** 2 / 100).sum() < 145
    other = np.array(Probes(nodes, 9600, salt=8).cells).T
    assert (other != [x, y]).any()


def test_the_number_of_probes_grows_with_the_side() -> None:
    assert default_probes(32, 16, 4, 0.02) == 256
    assert default_probes(32, 16, 5, 0.02) == 512
    assert default_probes(32, 16, 5, 0.0) == 0
    assert RefinePlanner(frame(2), 2, trained, audit=0.0).probes == 0
    assert RefinePlanner(frame(2), 2, trained).probes == 4
