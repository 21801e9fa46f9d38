"""Zooms: the choice of windows, their frames, and bisection of the border to the last bit."""

import json
import math
from decimal import Decimal

import numpy as np
import pytest

from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.outcome import Outcome
from fractal_ray.plane.zoom import Centre, Zoom, centre_of, zoom_in, zoom_out
from fractal_ray.planners.base import Planner
from fractal_ray.planners.bisect import BisectPlanner, Segment, segments_in
from fractal_ray.planners.windows import densest, diverse, random_cells
from fractal_ray.workloads.maps.known_sets import known_set

LRS = Frame(0, Axis("a", "log", 1e-6, 1e-1), Axis("b", "log", 1e-5, 1.0), 16, 16)
MIDDLE = (Decimal("0.5"), Decimal("0.5"))


def trained(outcome: Outcome) -> bool:
    return outcome is Outcome.TRAINED


def left_of(line: float, *, columns: int = 33, rows: int = 33) -> np.ndarray:
    """Make labels that are yes left of a line."""
    return np.tile(np.arange(columns) < line, (rows, 1)).astype(np.int8)


def unit(centre: Centre) -> tuple[float, float]:
    return float(centre[0]), float(centre[1])


# Windows ------------------------------------------------------------------------------------


def test_densest_takes_the_corner_where_there_is_most_border() -> None:
    labels = left_of(9)
    labels[24:33:2, 24:33] = 1
    assert unit(densest(labels, 4)[0]) == (27 / 32, 27 / 32)  # of all full ones the lowest


def test_a_lone_boundary_cell_is_in_the_middle_of_its_window() -> None:
    labels = np.full((33, 33), -1, dtype=np.int8)
    labels[20, 12:14] = 0, 1  # two boundary cells, above and below that edge
    assert unit(densest(labels, 4)[0]) == (12 / 32, 20 / 32)  # of even side: half a cell off


def test_windows_come_fullest_first_and_stop_where_no_border_is_left() -> None:
    labels = np.zeros((33, 33), dtype=np.int8)
    labels[4, 4] = 1
    labels[20:22, 20:22] = 1
    first, second = densest(labels, 8, windows=5)
    assert np.hypot(*np.subtract(unit(first), 20.5 / 32)) < 1 / 32
    assert np.hypot(*np.subtract(unit(second), 4 / 32)) < 1 / 32
    assert densest(np.zeros((9, 9), dtype=np.int8), 2) == []


def test_what_is_not_known_is_no_border() -> None:
    labels = np.full((17, 17), -1, dtype=np.int8)
    labels[3, 3], labels[3, 12] = 1, 0
    assert densest(labels, 4) == diverse(labels, 4) == random_cells(labels, 4) == []


def test_a_window_smaller_than_a_cell_is_refused() -> None:
    with pytest.raises(SweepError, match=r"factor 64 .* known at 32 x 32 cells"):
        densest(left_of(9), 64)


def test_diverse_windows_differ_in_place_and_density() -> None:
    labels = left_of(8, columns=65, rows=65)
    rng = np.random.default_rng(0)
    labels[:, 40:] = rng.integers(0, 2, (65, 25))
    for seed in range(5):
        centres = [unit(centre) for centre in diverse(labels, 8, windows=4, seed=seed)]
        sparse = [x < 0.25 for x, _ in centres]
        assert len(centres) == 4
        assert 1 <= sum(sparse) <= 3, "the smooth border and the noise both have a window"
        assert min(math.dist(a, b) for a in centres for b in centres if a != b) > 0.25


def test_density_counts_as_much_as_place() -> None:
    labels = np.ascontiguousarray(left_of(32.5, columns=65, rows=65).T)  # a border from rim to rim
    labels[28:37, 28:37] = np.random.default_rng(0).integers(0, 2, (9, 9))
    for seed in range(10):
        places = [unit(centre)[0] for centre in diverse(labels, 8, windows=2, seed=seed)]
        assert any(0.35 < place < 0.65 for place in places), "not the two far ends"


def test_a_random_window_is_as_often_on_a_border_as_there_is_border() -> None:
    labels = np.zeros((65, 65), dtype=np.int8)
    labels[:, :4] = 1  # 64 boundary cells
    labels[16:32, 48:] = 1  # 48 of them: 16 + 16 + 16
    drawn = [unit(diverse(labels, 16, seed=seed)[0])[0] < 0.5 for seed in range(400)]
    cells = [random_cells(labels, 16, seed=seed)[0][1] < 32 for seed in range(400)]
    expected = 64 / (64 + 17 + 16 + 17)
    assert np.mean(drawn) == pytest.approx(expected, abs=0.08)
    assert np.mean(cells) == pytest.approx(expected, abs=0.08)


# Frames -------------------------------------------------------------------------------------


def test_a_log_axis_is_zoomed_in_the_logarithm() -> None:
    (zoom,) = zoom_in(LRS, MIDDLE, 5, cells=(8, 4), first_id=3, rule="densest")
    assert (zoom.frame.id, zoom.frame.cells_x, zoom.frame.cells_y) == (3, 8, 4)
    assert (zoom.frame.x.min, zoom.frame.x.max) == (1e-4, 1e-3)
    assert (zoom.frame.y.min, zoom.frame.y.max) == (1e-3, 1e-2)
    assert (zoom.parent_id, zoom.factor, zoom.fx, zoom.fy) == (0, 5, 0.5, 0.5)
    assert zoom.x == pytest.approx(10**-3.5)


def test_nodes_shared_with_the_frame_around_have_the_same_bits() -> None:
    # An eighth of 16 << 3 cells is 16 cells: every node of the window is one of level 3.
    labels = left_of(45, columns=129, rows=129)
    (zoom,) = zoom_in(LRS, densest(labels, 8)[0], 8, cells=(16, 16), first_id=1, rule="densest")
    for cut, axis in ((zoom.frame.x, LRS.x), (zoom.frame.y, LRS.y)):
        addresses = axis.addresses(cut.values(16), 128)
        assert addresses[0] >= 0
        assert addresses.tolist() == list(range(addresses[0], addresses[0] + 17))


def test_a_window_at_the_rim_is_shifted_inside() -> None:
    centre = centre_of(LRS, 1e-6, 0.9)
    (zoom,) = zoom_in(LRS, centre, 5, cells=(8, 8), first_id=1, rule="center")
    assert (zoom.frame.x.min, zoom.frame.x.max) == (1e-6, 1e-5)
    assert (zoom.frame.y.min, zoom.frame.y.max) == (0.1, 1.0)
    assert (zoom.x, zoom.y) == (1e-6, 0.9), "the centre that was asked for is on record"


def test_a_chain_has_parents_and_ends_where_float64_does() -> None:
    centre = centre_of(LRS, 3e-4, 0.02)
    chain = zoom_in(LRS, centre, 2, cells=(2, 2), first_id=1, rule="center", depth=80)
    assert [zoom.frame.id for zoom in chain] == list(range(1, len(chain) + 1))
    assert [zoom.parent_id for zoom in chain] == list(range(len(chain)))
    assert {(zoom.x, zoom.y) for zoom in chain} == {(3e-4, 0.02)}
    assert 50 < len(chain) < 60
    last = chain[-1].frame
    assert last.x.min < last.x.max <= last.x.min * (1 + 1e-15)


def test_zooming_out_shows_the_same_rectangles_and_ends_with_the_axes() -> None:
    centre = centre_of(LRS, 3e-6, 0.02)
    inward = zoom_in(LRS, centre, 2, cells=(4, 4), first_id=1, rule="center", depth=6)
    out = zoom_out(LRS, centre, cells=(4, 4), first_id=10, rule="center, out", depth=6)
    assert [zoom.frame.id for zoom in out] == list(range(10, 17))
    assert [zoom.factor for zoom in out] == [64, 32, 16, 8, 4, 2, 1]
    assert {zoom.parent_id for zoom in out} == {0}
    for a, b in zip(reversed(out[:-1]), inward, strict=True):
        assert np.array_equal(a.frame.x.values(4), b.frame.x.values(4))
        assert np.array_equal(a.frame.y.values(4), b.frame.y.values(4))
    assert np.array_equal(out[-1].frame.x.values(16), LRS.x.values(16))


def test_a_zoom_is_plain_json() -> None:
    chain = zoom_in(LRS, MIDDLE, 3, cells=(4, 4), first_id=1, rule="diverse", depth=30, seed=7)
    for zoom in chain:
        again = Zoom.from_json(json.loads(json.dumps(zoom.to_json())))
        assert again == zoom
        assert np.array_equal(again.frame.x.values(16), zoom.frame.x.values(16))


def test_mistakes_are_told() -> None:
    whole = Frame(0, Axis("num_tokens", "linear", 1, 9, integer=True), LRS.y, 4, 4)
    with pytest.raises(SweepError, match="num_tokens takes whole numbers"):
        zoom_in(whole, MIDDLE, 2, cells=(2, 2), first_id=1, rule="densest")
    with pytest.raises(SweepError, match="num_tokens takes whole numbers"):
        BisectPlanner(whole, [], trained)
    with pytest.raises(SweepError, match="above 1; given 1"):
        zoom_in(LRS, MIDDLE, 1, cells=(2, 2), first_id=1, rule="densest")
    with pytest.raises(SweepError, match=r"y \(b\) is 2.0; the frame goes from 1e-05 to 1.0"):
        centre_of(LRS, 1e-3, 2.0)
    with pytest.raises(ValueError, match=r"outside 0\.\.2"):
        zoom_in(LRS, MIDDLE, 2, cells=(2, 2), first_id=1, rule="center")[0].frame.x.value(3, 2)


# Bisection ----------------------------------------------------------------------------------


def bisect(planner: BisectPlanner, yes) -> list[Point]:
    """Run a planner on labels ``yes(point) -> bool | None``."""
    asked: list[Point] = []
    while not planner.done:
        points = planner.ask(100)
        assert points, "a planner that is not done and has nothing out has something to ask"
        asked += points
        answers = [yes(point) for point in points]
        outcomes = [
            Outcome.TRAINED if a else None if a is None else Outcome.DIVERGED for a in answers
        ]
        planner.tell(list(zip(points, outcomes, strict=True)))
    return asked


def across(frame: Frame = LRS, row: int = 5) -> Segment:
    return frame.point(0, 0, row), frame.point(0, 16, row)


def test_bisection_finds_the_last_float() -> None:
    edge = 0.000123456789
    planner = BisectPlanner(LRS, [across()], trained)
    assert isinstance(planner, Planner)
    asked = bisect(planner, lambda point: point.x < edge)
    (bracket,) = planner.brackets()
    assert bracket.state == "resolved"
    assert bracket.x == (math.nextafter(edge, 0), edge)
    assert bracket.y == (across()[0].y, across()[0].y)
    assert (bracket.yes[0], bracket.no[0]) == bracket.x
    assert len(asked) == len(set(asked)) < 60
    assert bracket.labels == tuple(point.x < edge for point in asked)
    assert [(point.level, point.ix, point.iy) for point in asked] == [
        (step + 1, 0, 0) for step in range(len(asked))
    ]


def test_a_diagonal_segment_is_resolved_along_both_axes() -> None:
    segment = LRS.point(2, 8, 8), LRS.point(2, 9, 9)
    planner = BisectPlanner(LRS, [segment], trained)
    middle = LRS.point(3, 17, 17)
    assert bisect(planner, lambda point: point.x < middle.x * 1.01 and point.y < middle.y)
    (bracket,) = planner.brackets()
    for low, high in (bracket.x, bracket.y):
        assert high <= math.nextafter(low, 1)


def test_a_border_at_zero_does_not_take_a_thousand_runs() -> None:
    frame = Frame(0, Axis("x", "linear", -1, 1), Axis("y", "linear", -1, 1), 16, 16)
    planner = BisectPlanner(frame, [across(frame)], trained)
    assert len(bisect(planner, lambda point: point.x < 1e-300)) == 64
    assert planner.brackets()[0].state == "resolved"


def test_a_failed_midpoint_is_tried_beside() -> None:
    edge, failed = 0.000123456789, set()

    def yes(point: Point) -> bool | None:
        if point.level in (1, 7) and point.iy < 3:
            failed.add(point)
            return None
        return point.x < edge

    planner = BisectPlanner(LRS, [across()], trained, seed=1)
    asked = bisect(planner, yes)
    (bracket,) = planner.brackets()
    assert len(failed) == 6
    assert bracket.labels.count(None) == 6
    assert bracket.state == "resolved"
    assert bracket.x == (math.nextafter(edge, 0), edge)
    assert asked == bisect(BisectPlanner(LRS, [across()], trained, seed=1), yes)
    assert asked != bisect(BisectPlanner(LRS, [across()], trained, seed=2), yes)


def test_a_segment_whose_runs_all_fail_is_given_up_with_what_is_known() -> None:
    edge = 0.000123456789
    planner = BisectPlanner(LRS, [across(), across(row=6)], trained)
    bisect(planner, lambda p: None if p.ix == 0 and p.level > 9 else p.x < edge)
    stuck, fine = planner.brackets()
    assert (stuck.state, fine.state) == ("gave up", "resolved")
    assert stuck.labels[9:] == (None,) * 4
    assert stuck.yes[0] < edge <= stuck.no[0]


def test_values_that_have_failed_are_not_tried_again() -> None:
    edge = 0.000123456789
    for seed in range(20):
        planner = BisectPlanner(LRS, [across()], trained, seed)
        asked = bisect(planner, lambda p: None if abs(p.x / edge - 1) < 5e-16 else p.x < edge)
        assert planner.brackets()[0].state == "gave up"
        assert len({point.x for point in asked}) == len(asked)


def test_what_was_not_asked_for_is_refused() -> None:
    planner = BisectPlanner(LRS, [across()], trained)
    (point,) = planner.ask(5)
    planner.tell([(point, Outcome.TRAINED)])
    with pytest.raises(ValueError, match="already has a result"):
        planner.tell([(point, Outcome.TRAINED)])
    other = Frame(1, LRS.x, LRS.y, 16, 16)
    with pytest.raises(ValueError, match="not on frame 0"):
        BisectPlanner(LRS, [across(other)], trained)


def test_segments_join_corners_that_differ() -> None:
    labels = np.array([[1, 0, 0], [1, 1, 0]], dtype=np.int8)
    frame = Frame(0, LRS.x, LRS.y, 2, 1)
    seen = set()
    for seed in range(40):
        for yes, no in segments_in(frame, 0, labels, [(0, 0), (0, 1)], seed):
            assert labels[yes.iy, yes.ix] == 1
            assert labels[no.iy, no.ix] == 0
            seen.add((yes.ix, yes.iy, no.ix, no.iy))
    assert len(seen) == 3 + 3 - 1, "every pair has its turn; one is in both cells"
    with pytest.raises(ValueError, match="do not differ"):
        segments_in(frame, 0, np.ones((2, 3), dtype=np.int8), [(0, 0)])


# Together -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_fifty_frames_around_a_bisected_point_all_show_the_border(scale: str) -> None:
    known = known_set("weierstrass")
    x = Axis("x", "linear", 0.0, 1.0) if scale == "linear" else Axis("x", "log", 0.01, 1.0)
    y = Axis("y", "linear", 0.1, 0.6) if scale == "linear" else Axis("y", "log", 0.1, 0.6)
    frame = Frame(0, x, y, 23, 23)  # no dyadic x, where the border has a cusp

    def yes(x: float, y: float) -> bool:
        return bool(known.trained(np.array([x]), np.array([y]))[0])

    sides = [(frame.point(0, n, 0), frame.point(0, n, 23)) for n in range(24)]
    # What lies below the graph is trained.
    segments = [(low, high) for low, high in sides if yes(low.x, low.y) > yes(high.x, high.y)][:4]
    assert len(segments) == 4
    planner = BisectPlanner(frame, segments, trained)
    runs = bisect(planner, lambda point: yes(point.x, point.y))
    assert len(runs) < 60 * len(segments)
    for bracket in planner.brackets():
        chain = zoom_in(
            frame, centre_of(frame, *bracket.yes), 2,
            cells=(2, 2), first_id=1, rule="boundary-point", depth=50,
        )  # fmt: skip
        assert len(chain) == 50
        for zoom in chain:
            labels = {yes(point.x, point.y) for point in zoom.frame.points()}
            middle = zoom.frame.point(0, 1, 1)
            if (middle.x, middle.y) == bracket.yes:  # not shifted away from the rim
                assert labels == {True, False}
        assert chain[-1].frame.x.value(1, 2) == bracket.yes[0]
        assert chain[-1].frame.y.value(1, 2) == bracket.yes[1]
