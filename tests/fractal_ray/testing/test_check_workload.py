"""The suite for workloads: ours pass it, and each check catches workloads that break its rule."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from fractal_ray.testing import CONTRACT, check_workload
from fractal_ray.testing.check_workload import (
    CHECKS,
    Case,
    check_divergence,
    check_fingerprint,
    check_is_picklable,
    check_nothing_is_kept,
    check_recipe,
    check_records,
    check_runners_are_independent,
    check_shared,
)
from fractal_ray.workloads.base import Workload
from fractal_ray.workloads.maps.known_sets import SETS
from fractal_ray.workloads.maps.workload import MapWorkload
from tests.fractal_ray.conftest import raw_spec
from tests.fractal_ray.testing import broken_workloads as broken

GOLDEN = Path(__file__).parents[2] / "golden" / "nanochat_tiny"

POINTS = tuple(
    Frame(0, Axis("x", "linear", -1.5, 0.9), Axis("y", "linear", -1.0, 0.8), 2, 1).points()
)
DIVERGING = (Point(0, 0, 9, 9, 1.5, 0.1), Point(0, 0, 9, 8, 2.5, 0.2))

BROKEN: list[tuple[Callable[[Case], None], Callable[[], Workload], str]] = [
    (check_recipe, broken.ListInRecipe, "'layers': .1, 2."),
    (check_recipe, broken.CountsItsRuns, "does not change"),
    (check_is_picklable, broken.HoldsFunction, "the workload is picklable"),
    (check_is_picklable, broken.SharesFunction, "shared` is picklable"),
    (check_is_picklable, broken.ForgetsItsSettings, "a pickled copy"),
    (check_fingerprint, broken.CountedFingerprint, "'slope-\\d+', then"),
    (check_fingerprint, broken.HashedFingerprint, "in a new process"),
    (check_fingerprint, broken.EmptyFingerprint, "found: ''"),
    (check_records, broken.OneTooFew, "found: 5 for 6 points"),
    (check_records, broken.Reversed, "in their order"),
    (check_records, broken.OutcomesOnly, "RunRecord"),
    (check_records, broken.InfiniteLosses, "finite losses"),
    (check_records, broken.NegativeTime, "-1.0"),
    (check_records, broken.NoDevice, "device"),
    (check_divergence, broken.RaisesForDivergence, "FloatingPointError: loss is nan"),
    (check_divergence, broken.HidesDivergence, "outcome `diverged`"),
    (check_shared, broken.ChangesShared, "other bytes"),
    (check_shared, broken.BorrowsShared, "read-only"),
    (check_nothing_is_kept, broken.Drifts, "before or beside it"),
    (check_nothing_is_kept, broken.DependsOnTile, "tiles of 1"),
    (check_runners_are_independent, broken.SharesBetweenRunners, "influence each other"),
]


def map_points(name: str) -> list[Point]:
    low_x, high_x, low_y, high_y = SETS[name]().window
    x, y = Axis("x", "linear", low_x, high_x), Axis("y", "linear", low_y, high_y)
    return list(Frame(0, x, y, 5, 5).points())


def case_of(workload: Workload) -> Case:
    return Case(workload, POINTS, diverging=DIVERGING)


def test_a_correct_workload_passes_every_check() -> None:
    check_workload(broken.Slope(), POINTS, diverging=DIVERGING)
    assert CONTRACT == 1


@pytest.mark.parametrize("name", ["disc", "newton", "mandelbrot", "noise"])
def test_known_sets(name: str) -> None:
    check_workload(MapWorkload(name), map_points(name))


@pytest.mark.parametrize(("dtype", "exact"), [("float64", True), ("float32", False)])
def test_mlp(dtype: str, exact: bool) -> None:
    """Allow matrix products of more networks to differ in the last bits of float32."""
    raw = raw_spec(
        workload={"kind": "mlp", "width": 4, "examples": 8, "steps": 60, "dtype": dtype},
        axes={"x": {"param": "eta0", "min": 0.01, "max": 1e4},
              "y": {"param": "eta1", "min": 0.01, "max": 1e4}},
    )  # fmt: skip
    spec = parse_spec(raw)
    points = list(spec.plan.frame(0).points())[:6]
    diverging = [Point(0, 0, 0, 0, 1e4, 1e4)]
    check_workload(Sweep(spec).workload(), points, diverging=diverging, exact=exact)


def test_nanochat() -> None:
    raw = raw_spec()
    raw["workload"]["model"] = str(GOLDEN)
    raw["workload"]["data"]["limit"] = 50
    workload = Sweep(parse_spec(raw)).workload()
    points = [Point(0, 0, 0, 0, 1e-3, 1e-3), Point(0, 0, 1, 0, 0.03, 0.1)]
    check_workload(workload, points)


@pytest.mark.parametrize(
    ("check", "make", "message"), BROKEN, ids=[make.__name__ for _, make, _ in BROKEN]
)
def test_each_check_catches_a_broken_workload(
    check: Callable[[Case], None], make: Callable[[], Workload], message: str
) -> None:
    with pytest.raises(AssertionError, match=rf"^contract 1: .*{message}.*; allowed: ") as caught:
        check(case_of(make()))
    assert "; found: " in str(caught.value)
    with pytest.raises(AssertionError, match=r"^contract 1: "):
        check_workload(make(), POINTS, diverging=DIVERGING)


def test_a_run_that_diverged_says_when() -> None:
    with pytest.raises(AssertionError, match="`diverged_step` is the step"):
        check_records(Case(broken.NoStep(), DIVERGING))


def test_every_check_has_a_broken_workload() -> None:
    assert {check for check, _, _ in BROKEN} == set(CHECKS)


def test_runs_that_do_not_repeat_are_compared_by_their_outcomes() -> None:
    points = [POINTS[0], POINTS[4], Point(0, 0, 5, 0, 0.9, 0.8)]
    with pytest.raises(AssertionError):
        check_workload(broken.Drifts(), points)
    check_workload(broken.Drifts(), points, exact=False)


@pytest.mark.parametrize("points", [POINTS[:1], [POINTS[0], POINTS[0]]])
def test_points_that_show_nothing_are_refused(points: list[Point]) -> None:
    with pytest.raises(ValueError, match=r"two points are needed|choose points whose runs differ"):
        check_workload(broken.Slope(), points)


def test_version_1_takes_these_arguments() -> None:
    """Keep the parameters that authors use; later versions may add optional ones."""
    parameters: dict[str, Any] = dict(inspect.signature(check_workload).parameters)
    assert list(parameters)[:5] == ["workload", "points", "device", "diverging", "exact"]
