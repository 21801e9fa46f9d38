"""Labels and losses over several seeds."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from fractal_ray.analysis.advice.seeds import (
    label_of_seeds,
    noise_of_seeds,
    re_estimate,
)
from fractal_ray.dimension.intervals import wilson_interval


def test_a_node_is_broken_from_the_risk_on() -> None:
    assert label_of_seeds(1, 2).label == 0
    assert label_of_seeds(1, 3).label == 1
    assert label_of_seeds(1, 3, risk=0.3).label == 0
    assert label_of_seeds(0, 0).label == -1 and label_of_seeds(0, 0).share is None


@pytest.mark.parametrize(("broken", "seeds"), [(0, 3), (1, 3), (3, 3), (7, 50), (49, 50)])
def test_the_interval_is_wilsons(broken: int, seeds: int) -> None:
    exact = binomtest(broken, seeds).proportion_ci(method="wilson")
    label = label_of_seeds(broken, seeds)
    assert (label.low, label.high) == pytest.approx((exact.low, exact.high))
    assert label.share == broken / seeds


def test_wilson_covers_shares() -> None:
    rng = np.random.default_rng(0)
    for share in (0.1, 0.5, 0.8):
        broken = rng.binomial(8, share, size=4000)
        low, high = wilson_interval(broken, np.full(4000, 8))
        assert ((low <= share) & (share <= high)).mean() > 0.9


def test_the_re_estimate_has_no_bias_of_choice() -> None:
    """The best of 100 nodes looks better than it is; its other seeds do not, and they cover."""
    held, gaps = 0, []
    for seed in range(200):
        losses = 2.0 + 0.1 * np.random.default_rng(seed).standard_normal((100, 5))
        node = int(losses[:, 0].argmin())
        result = re_estimate(losses[node], np.array([True, False, False, False, False]))
        assert result.loss is not None and result.seeds == 4
        held += result.loss.low <= 2.0 <= result.loss.high
        gaps.append(result.chosen_loss - 2.0)
    assert held >= 180
    assert np.mean(gaps) < -0.2


def test_a_re_estimate_needs_other_seeds() -> None:
    alone = re_estimate(np.array([1.0, np.nan]), np.array([True, False]))
    assert alone.loss is None and alone.seeds == 0 and alone.chosen_loss == 1.0
    one = re_estimate(np.array([1.0, 2.0]), np.array([True, False]))
    assert one.loss is not None and one.loss.high == math.inf and one.standard_error is None


def test_noise_is_pooled_over_nodes() -> None:
    rng = np.random.default_rng(1)
    losses = rng.uniform(1, 9, size=(200, 1)) + 0.3 * rng.standard_normal((200, 4))
    losses[::2, 3] = np.nan
    losses[0] = [5, np.nan, np.nan, np.nan]
    noise = noise_of_seeds(losses)
    assert noise is not None and noise.sd == pytest.approx(0.3, rel=0.1)
    assert noise.freedom == 100 * 3 + 99 * 2 and noise.source == "seeds"
    assert noise_of_seeds(losses[:1]) is None
