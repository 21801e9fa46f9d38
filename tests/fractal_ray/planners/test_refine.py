"""The stage `refine`: cells found and points run, the audit's statistics, idle workers."""

import heapq
import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fractal_ray.dataset.store import Store
from fractal_ray.dimension.audit import audit_report
from fractal_ray.engine.base import Tile, evaluate_tile
from fractal_ray.engine.dispatcher import Dispatcher
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.engine.progress import Progress
from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.boundary import boundary_cells
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.plane.outcome import Criterion, Outcome
from fractal_ray.planners.base import Planner
from fractal_ray.planners.grid import GridPlanner
from fractal_ray.planners.inferred_labels import infer_labels
from fractal_ray.planners.program import Program
from fractal_ray.planners.refine import RefinePlanner
from fractal_ray.workloads.maps.known_sets import known_set
from tests.fractal_ray.sample_workloads import Disc

Labels = NDArray[np.int8]


def trained(outcome: Outcome) -> bool:
    return outcome is Outcome.TRAINED


def frame(cells: int, window: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 1.0)) -> Frame:
    x, y = Axis("a", "linear", *window[:2]), Axis("b", "linear", *window[2:])
    return Frame(0, x, y, cells, cells)


def refine(planner: RefinePlanner, truth: Labels) -> int:
    """Answer from a dense raster until the planner is done; return the number of points."""
    count = 0
    while not planner.done:
        points = planner.ask(1000)
        planner.tell([(point, outcome(point, truth, planner.levels)) for point in points])
        count += len(points)
    return count


def outcome(point: Point, truth: Labels, levels: int) -> Outcome | None:
    shift = levels - point.level
    label = truth[point.iy << shift, point.ix << shift]
    return None if label < 0 else Outcome.TRAINED if label else Outcome.DIVERGED


def dense(name: str, cells: int, **parameters: float) -> Labels:
    known = known_set(name, parameters)
    axes = [np.linspace(low, high, cells + 1) for low, high in (known.window[:2], known.window[2:])]
    return known.trained(*np.meshgrid(*axes)).astype(np.int8)


def filled(planner: RefinePlanner) -> tuple[Labels, NDArray[np.bool_]]:
    cells = planner.frame
    return infer_labels(
        *planner.labels(), cells_x=cells.cells_x, cells_y=cells.cells_y, levels=planner.levels
    )


def recall(planner: RefinePlanner, truth: Labels) -> float:
    found, true = (boundary_cells(labels).mixed for labels in (filled(planner)[0], truth))
    return (found & true).sum() / true.sum()


@pytest.mark.parametrize("halo", [0, 1, 2])
def test_a_smooth_border_is_found_whole_for_a_fraction(halo: int) -> None:
    truth = dense("disc", 256)
    planner = RefinePlanner(frame(16), 4, trained, halo=halo, probes=0)
    share = refine(planner, truth) / truth.size
    assert (filled(planner)[0] == truth).all()
    assert share < 0.05


def test_a_smooth_border_costs_nothing_for_the_halo() -> None:
    truth = dense("disc", 256)
    costs = [refine(RefinePlanner(frame(16), 4, trained, halo=halo), truth) for halo in (0, 2)]
    assert costs[0] == costs[1]


def test_the_halo_finds_islands_that_following_misses() -> None:
    truth = dense("fbm", 256, hurst=0.5, seed=1)
    found = []
    for halo in (0, 1, 2):
        planner = RefinePlanner(frame(16), 4, trained, halo=halo, audit=0.0)
        refine(planner, truth)
        found.append(recall(planner, truth))
    assert found[0] < 0.85
    assert found[1] > 0.9
    assert found[2] > 0.93


def test_the_audit_starts_a_border_that_nothing_else_touches() -> None:
    truth = np.zeros((65, 65), dtype=np.int8)
    truth[18:26, 38:45] = 1  # inside one cell of level 0, over its centre
    blind = RefinePlanner(frame(4), 4, trained, audit=0.0)
    refine(blind, truth)
    assert not boundary_cells(filled(blind)[0]).mixed.any()
    audited = RefinePlanner(frame(4), 4, trained, audit=1.0)
    refine(audited, truth)
    assert (filled(audited)[0] == truth).all()


def test_a_point_that_fails_leaves_open_nothing_but_itself() -> None:
    truth = np.ones((65, 65), dtype=np.int8)
    truth[16, 32] = -1
    planner = RefinePlanner(frame(4), 4, trained, audit=0.0)
    count = refine(planner, truth)
    labels, measured = filled(planner)
    assert (labels == truth).all()
    assert not measured[16, 32]
    assert count == 25 + 4 * 16  # at each level the splits of four cells that share a corner


def test_a_cut_that_no_corner_shows_is_followed_from_where_it_was_seen() -> None:
    truth = np.zeros((65, 65), dtype=np.int8)
    truth[:, 24:41] = 1  # over a node at the bottom, and from there between the nodes
    truth[1:, 24:41] = 0
    truth[1:, 33:40] = 1
    planner = RefinePlanner(frame(4), 4, trained, halo=0, audit=0.0)
    refine(planner, truth)
    assert (filled(planner)[0] == truth).all()


def test_coarse_points_come_first_and_levels_overlap() -> None:
    truth = dense("rabbit", 256)
    planner = RefinePlanner(frame(16), 4, trained)
    levels: list[int] = []
    while not planner.done:
        (point,) = planner.ask(1)
        levels.append(point.level)
        planner.tell([(point, outcome(point, truth, 4))])
    assert levels[:289] == [0] * 289
    assert sorted(set(levels)) == [0, 1, 2, 3, 4]
    planner = RefinePlanner(frame(16), 4, trained)
    straggler, *others = planner.ask(289)
    planner.tell([(point, outcome(point, truth, 4)) for point in others])
    assert planner.backlog > 100  # one unknown point of level 0 holds up its own cells only
    assert [point.level for point in planner.ask(100)] == [1] * 100
    assert straggler.level == 0


@pytest.mark.parametrize("name", ["disc", "rabbit"])
def test_workers_of_uneven_speed_stay_busy(name: str) -> None:
    truth = dense(name, 256)
    planner = RefinePlanner(frame(16), 4, trained)
    speeds = [1.0, 1.1, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0]
    rng = random.Random(0)
    working: list[tuple[float, int, int, Point]] = []
    idle, busy, now, number = list(range(8)), 0.0, 0.0, itertools.count()
    while not planner.done:
        while idle and (points := planner.ask(1)):
            worker = idle.pop()
            seconds = speeds[worker] * rng.uniform(0.5, 1.5)
            busy += seconds
            heapq.heappush(working, (now + seconds, next(number), worker, points[0]))
        now, _, worker, point = heapq.heappop(working)
        idle.append(worker)
        planner.tell([(point, outcome(point, truth, 4))])
    assert busy / (8 * now) > 0.95


def islands(seed: int) -> Labels:
    """Make 33 x 33 labels, level 0 all no; every eighth cell of level 0 hides one yes node."""
    truth = np.zeros((33, 33), dtype=np.int8)
    truth[1::2, 1::2] = np.random.default_rng(seed).random((16, 16)) < 1 / 8
    return truth


def test_the_audit_interval_holds_the_truth_and_the_corrected_count_has_its_mean() -> None:
    truth = islands(0)
    cells = boundary_cells(truth).n_mixed
    share = cells / 4 / 256
    reports = []
    for seed in range(300):
        planner = RefinePlanner(frame(16), 1, trained, halo=0, audit=0.1, seed=seed)
        refine(planner, truth)
        reports.append(audit_report(planner))
    held = [r.low <= share <= r.high for r in reports if r.low is not None and r.high is not None]
    assert len(held) == 300
    assert np.mean(held) > 0.93
    assert {report.skipped for report in reports} == {256}
    sampled = np.array([report.audited for report in reports])
    assert abs(sampled.mean() - 25.6) < 3 * np.sqrt(256 * 0.1 * 0.9 / 300)
    corrected = np.array([report.corrected[1] for report in reports])
    assert abs(corrected.mean() - cells) < 3 * corrected.std() / np.sqrt(300)
    stderr = np.array([report.stderr[1] for report in reports])
    assert np.sqrt((stderr**2).mean()) == pytest.approx(corrected.std(), rel=0.15)


def test_the_audit_report_of_a_small_case() -> None:
    truth = np.zeros((9, 9), dtype=np.int8)
    truth[3, 3] = 1
    planner = RefinePlanner(frame(2), 2, trained, audit=1.0)
    refine(planner, truth)
    report = audit_report(planner)
    # Four cells are skipped by the rules. One halving of them, at even nodes, shows nothing; the
    # cells that it makes are no cells of the tree, so the island at (3, 3) stays unseen.
    assert (report.skipped, report.audited, report.surprises) == (4, 4, 0)
    assert report.found == report.corrected == (0, 0, 0)
    assert report.low == 0
    assert report.high == pytest.approx(0.6024, abs=1e-4)  # 1 - 0.025 ** (1 / 4)
    truth[2, 2] = 1
    planner = RefinePlanner(frame(2), 2, trained, audit=1.0)
    refine(planner, truth)
    report = audit_report(planner)
    assert (report.skipped, report.audited, report.surprises) == (4, 4, 1)
    assert report.found == (1, 4, 7)
    assert report.corrected == (1.0, 4.0, 7.0)
    assert report.stderr == (0.0, 0.0, 0.0)


def test_an_audited_cell_with_a_failed_point_is_neither_quiet_nor_a_surprise() -> None:
    truth = np.zeros((9, 9), dtype=np.int8)
    truth[2, 2] = -1
    planner = RefinePlanner(frame(2), 2, trained, halo=0, audit=1.0)
    refine(planner, truth)
    report = audit_report(planner)
    assert (report.skipped, report.audited, report.surprises, report.undecided) == (4, 4, 0, 1)
    assert report.high == pytest.approx(0.7076, abs=1e-4)  # 1 - 0.025 ** (1 / 3)


def test_a_cell_in_which_something_differs_says_nothing_of_its_other_nodes() -> None:
    x, y = np.array([0, 4, 0, 4, 2]), np.array([0, 0, 2, 2, 0])
    labels = np.array([0, 0, 0, 0, 1], dtype=np.int8)
    labels, measured = infer_labels(
        np.append(x, 2), np.append(y, 2), np.append(labels, 0).astype(np.int8),
        cells_x=2, cells_y=1, levels=1,
    )  # fmt: skip
    assert measured.sum() == 6
    assert labels[0].tolist() == [0, -1, 1, -1, 0]
    assert labels[1].tolist() == [-1] * 5


def test_an_audit_cannot_be_judged_before_the_end() -> None:
    with pytest.raises(ValueError, match="all points have results"):
        audit_report(RefinePlanner(frame(2), 2, trained))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"levels": 0}, "levels must be at least 1; given 0"),
        ({"halo": 3}, r"halo must be one of \(0, 1, 2\); given 3"),
        ({"audit": 1.5}, "audit is a share from 0 to 1; given 1.5"),
        ({"audit": float("nan")}, "audit is a share"),
        ({"probes": -1}, "probes must be at least 0; given -1"),
    ],
)
def test_mistakes_are_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RefinePlanner(**{"frame": frame(2), "levels": 1, "label": trained, **options})  # type: ignore[arg-type]


def test_points_of_another_lattice_are_refused() -> None:
    planner = RefinePlanner(frame(2), 1, trained)
    with pytest.raises(ValueError, match="not on frame 0 up to level 1"):
        planner.tell([(frame(2).point(2, 0, 0), Outcome.TRAINED)])
    with pytest.raises(ValueError, match="was not requested"):
        planner.tell([(frame(2).point(1, 1, 1), Outcome.TRAINED)])


def test_through_the_dispatcher_a_grid_and_its_refinement_share_their_points(
    tmp_path: Path,
) -> None:
    x, y = (Axis(name, "log", 1e-4, 1.0) for name in ("unembedding_lr", "matrix_lr"))
    cells = Frame(0, x, y, 8, 8)

    def refinement() -> Planner:
        return RefinePlanner(cells, 2, trained)

    stages = [("0:grid", lambda: GridPlanner(cells)), ("1:refine", refinement)]
    spec = DispatcherSpec(
        program=lambda zooms: Program(stages),
        location=str(tmp_path),
        metadata={},
        fingerprint="disc",
        recipe=dict(Disc.recipe),
        x_param="unembedding_lr",
        y_param="matrix_lr",
        rule=LabelRule(Criterion(), "trainable"),
    )
    _work(Dispatcher(spec))
    again = _work(Dispatcher(spec))
    assert again.reused == again.done > 81 + 100  # the second time nothing is left to run
    rows = Store(str(tmp_path)).read(["point_id", "stage"])
    stages = rows.column("stage").to_pylist()
    assert len(set(rows.column("point_id").to_pylist())) == len(stages) == again.done
    assert again.shared_nodes == 81
    assert stages.count("0:grid") == 81


def _work(dispatcher: Dispatcher) -> Progress:
    runner, reply = Disc().open(Disc().prepare().shared, "cpu"), dispatcher.take(0)
    while isinstance(reply, Tile):
        reply = dispatcher.exchange(0, evaluate_tile(runner, reply))
    assert reply == "stop"
    return dispatcher.close()
