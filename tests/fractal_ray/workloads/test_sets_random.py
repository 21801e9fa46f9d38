"""Random sets: the roughness, the islands and the independence that they promise."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from fractal_ray.workloads.maps.known_sets import known_set
from fractal_ray.workloads.maps.sets.fbm import field
from tests.fractal_ray.workloads.sample_sets import pair_dimension, square

WIDE = (0.0, 40.0, 0.0, 40.0)
"""A window of many independent pieces of fbm border."""


@pytest.mark.parametrize("hurst", [0.2, 0.5, 0.8])
def test_fbm_dimension_is_what_pairs_measure(hurst: float) -> None:
    known = known_set("fbm", {"hurst": hurst})
    assert known.dimension == 2 - hurst
    distances = [2.0**-k for k in range(3, 9)]
    measured = pair_dimension(known, WIDE, distances, pairs=50_000)
    assert measured == pytest.approx(2 - hurst, abs=0.03)


@pytest.mark.parametrize("hurst", [0.2, 0.8])
def test_fbm_increments_follow_the_hurst_exponent_at_1024_squared(hurst: float) -> None:
    # 32 points a unit: 32 x 32 independent cells, and lags to an eighth of one.
    x, y = np.meshgrid(np.arange(1024) / 32, np.arange(1024) / 32)
    values = field(x.ravel(), y.ravel(), hurst, seed=0).reshape(x.shape)
    lags = np.array([1, 2, 4])
    slopes = []
    for view in (values, values[:, ::-1].T):
        along = [np.mean((view[lag:] - view[:-lag]) ** 2) for lag in lags]
        across = [np.mean((view[lag:, lag:] - view[:-lag, :-lag]) ** 2) for lag in lags]
        slopes += [np.polyfit(np.log(lags), np.log(squares), 1)[0] for squares in (along, across)]
    # 0.03 is three times the spread between seeds.
    assert float(np.mean(slopes)) / 2 == pytest.approx(hurst, abs=0.03)


def test_fbm_labels_are_the_sign_of_the_field() -> None:
    for hurst in (0.05, 0.5, 0.95):
        known = known_set("fbm", {"hurst": hurst, "seed": 5})
        x, y = np.random.default_rng(0).uniform(-100, 100, (2, 3000))
        assert np.array_equal(known.trained(x, y), field(x, y, hurst, 5) < 0)


def pieces(mask: np.ndarray) -> int:
    """Count connected components."""
    labelled: Any = ndimage.label(mask)
    return labelled[1]


def test_fbm_has_islands_at_every_scale() -> None:
    known = known_set("fbm", {"hurst": 0.5})
    trained = known.trained(*square(known, 1024))
    assert 0.2 < trained.mean() < 0.8
    assert min(pieces(trained), pieces(~trained)) > 1000
    assert pieces(trained) > 4 * pieces(trained[::4, ::4]) > 200


def test_noise_is_even_and_independent() -> None:
    known = known_set("noise")
    x, y = square(known, 1024)
    trained = known.trained(x, y)
    error = 1 / math.sqrt(trained.size)
    sign = np.where(trained, 1.0, -1.0)
    assert abs(sign.mean()) < 4 * error
    for shift in (1, 2, 512):
        for axis in (0, 1):
            assert abs((sign * np.roll(sign, shift, axis)).mean()) < 4 * error
    assert abs((sign * sign.T).mean()) < 4 * error
    other = np.where(known_set("noise", {"seed": 1}).trained(x, y), 1.0, -1.0)
    assert abs((sign * other).mean()) < 4 * error
    # Neighbours in the last bit are independent too, and 0.0 is one number.
    beside = np.where(known.trained(np.nextafter(x, 2), y), 1.0, -1.0)
    assert abs((sign * beside).mean()) < 4 * error
    zeros = np.zeros(100)
    values = np.arange(100.0)
    assert np.array_equal(known.trained(zeros, values), known.trained(-zeros, values))
    assert np.array_equal(known.trained(values, zeros), known.trained(values, -zeros))


@pytest.mark.parametrize("p", [0.05, 0.7])
def test_noise_trains_its_share(p: float) -> None:
    known = known_set("noise", {"p": p})
    assert known.trained(*square(known, 512)).mean() == pytest.approx(p, abs=0.005)
