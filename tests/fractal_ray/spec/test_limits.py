"""Sizes of stages: absurd ones are refused before any value of a lattice is listed."""

import re
from typing import Any

import pytest

from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Axis
from fractal_ray.spec.cost import estimate_cost
from fractal_ray.spec.yaml_file import load_spec

SPECS = ("sweeps/weierstrass.yaml", "sweeps/lr_tokens.yaml")
GRID = {"grid": {"points": 9}}


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"grid": {"points": 1_000_000}}], "stages.0: 1,000,000 points along a side; at most 65"),
        ([{"grid": {"points": [2, 10**9]}}], "stages.0: 1,000,000,000 points along a side"),
        ([{"grid": {"points": 60_000}}], "stages.0: grid has 3,600,000,000 points; at most 67,"),
        ([GRID, {"refine": {"levels": 60}}], "stages.1.refine.levels: input should be less than"),
        ([GRID, {"refine": {"levels": 30}}], "30 levels make 8,589,934,592 cells a side"),
        ([GRID, {"zoom": {"points": 10**9}}], "stages.1: 1,000,000,000 points a side; at most 8,"),
        ([GRID, {"pairs": {"count": 10**12}}], "pairs has 20,000,000,000,000 points; at most"),
        ([GRID, {"transects": {"count": 10**12}}], "transects has 129,000,000,000,000 points"),
        ([GRID, {"transects": {"levels": 48, "dense": 48}}], "transects has 4,503,599,627,370,512"),
    ],
)
def test_absurd_sizes_are_refused_without_listing_values(
    spec: str, stages: list[Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listed(axis: Axis, cells: int) -> None:
        raise AssertionError(f"values of {axis.param} are listed for {cells} cells")

    monkeypatch.setattr(Axis, "values", listed)
    with pytest.raises(SweepError, match=re.escape(message)):
        load_spec(spec, [f"stages={stages}"])


def test_a_zoom_of_a_billion_frames_is_refused() -> None:
    with pytest.raises(SweepError, match="windows and depth make 1,000,000,000 frames"):
        load_spec(SPECS[0], [f"stages={[GRID, {'zoom': {'points': 9, 'depth': 10**9}}]}"])


def test_the_largest_sizes_are_planned() -> None:
    spec = load_spec(SPECS[0], ["stages=[{grid: {points: [8193, 2]}}]"])
    assert estimate_cost(spec).runs == 2 * 8193
    spec = load_spec(SPECS[0], ["stages=[{grid: {points: [5, 65]}}, {grid: {points: [9, 65]}}]"])
    assert [stage.runs for stage in estimate_cost(spec).stages] == [5 * 65, 4 * 65]
