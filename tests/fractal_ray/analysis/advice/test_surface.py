"""Surfaces: weights of refined lattices, neighbours, and results as JSON."""

import json
import math

import numpy as np
import pytest

from fractal_ray.analysis.advice.results import Interval, Margin, plain
from fractal_ray.analysis.advice.surface import (
    State,
    Surface,
    area_weights,
    coordinates,
    neighbour_indices,
    real_value,
)


def test_weights_are_areas() -> None:
    grid = np.ones((5, 7), dtype=bool)
    assert (area_weights(grid) == 1).all()
    refined = np.zeros((9, 9), dtype=bool)
    refined[::4, ::4] = True
    refined[0:3, 0:3] = True
    weight = area_weights(refined)
    assert weight.sum() == pytest.approx(81)
    assert (weight[~refined] == 0).all()
    assert weight[4, 4] > 8 > 2 > weight[1, 1] >= 1
    assert np.allclose(area_weights(refined.T), weight.T)
    assert np.allclose(area_weights(refined[::-1]), weight[::-1])


def test_no_run_has_no_weight() -> None:
    assert not area_weights(np.zeros((3, 3), dtype=bool)).any()


def test_neighbours_are_the_next_nodes_along_the_axes() -> None:
    nodes = np.zeros((4, 5), dtype=bool)
    nodes[1, [0, 3]] = nodes[3, 3] = True
    left, right, down, up = neighbour_indices(nodes)
    assert left[1, 3] == 1 * 5 + 0 and right[1, 0] == 1 * 5 + 3
    assert left[1, 0] == right[1, 3] == -1
    assert up[1, 3] == 3 * 5 + 3 and down[3, 3] == 1 * 5 + 3 and down[1, 3] == -1
    assert left[1, 2] == 5 and right[1, 2] == 8  # seen from a node outside the mask, too


def test_a_surface_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="broken has shape"):
        Surface(
            loss=np.ones((2, 3)),
            state=np.full((2, 3), State.TRAINED, dtype=np.int8),
            broken=np.ones((3, 2), dtype=np.int8),
            measured=np.ones((2, 3), dtype=bool),
            x=np.arange(1.0, 4),
            y=np.arange(1.0, 3),
        )


def test_coordinates_are_decades_on_a_log_axis_only() -> None:
    values = np.array([1e-3, 1e2])
    assert np.allclose(coordinates(values, "log"), [-3, 2])
    assert (coordinates(values, "linear") == values).all()
    assert real_value(-3.0, "log") == pytest.approx(1e-3) and real_value(-3.0, "linear") == -3.0


def test_plain_results_are_json() -> None:
    margin = Margin(
        "+x", np.float64(0.1), None, 2.0, math.inf, "log", 3, False, (1.0, 2.0), None, math.nan
    )
    text = json.dumps(plain({"margins": (margin,), "at": Interval(1.0, 0.5, 2.0)}), allow_nan=False)
    data = json.loads(text)
    assert data["margins"][0]["last_unbroken"] == 0.1
    assert data["margins"][0]["high"] is None and data["margins"][0]["grid_end"] is None
    assert data["at"] == {"value": 1.0, "low": 0.5, "high": 2.0}
