"""The criterion at its edges (features D2, D3, D5)."""

import math

import numpy as np
import pytest

from fractal_ray.plane.outcome import Criterion, Outcome, RunRecord


def curve(*losses: float) -> np.ndarray:
    return np.array(losses, dtype=np.float32)


@pytest.mark.parametrize(
    ("losses", "window", "threshold", "expected"),
    [
        (curve(2.0, 1.0), 1, 1.0, Outcome.TRAINED),
        (curve(2.0, 2.0), 1, 1.0, Outcome.NOT_IMPROVED),  # strictly below
        (curve(2.0, 1.0), 20, 1.0, Outcome.TRAINED),  # a short curve uses all it has
        (curve(2.0, 9.0, 1.0), 2, 1.0, Outcome.NOT_IMPROVED),
        (curve(2.0, 1.9), 1, 0.9, Outcome.NOT_IMPROVED),
        (curve(0.0, -1.0), 1, 1.0, Outcome.NOT_IMPROVED),  # first loss <= 0: ratio is +inf
        (curve(), 20, 1.0, Outcome.NOT_IMPROVED),
    ],
)
def test_finite_curves(
    losses: np.ndarray, window: int, threshold: float, expected: Outcome
) -> None:
    assert Criterion(window, threshold).outcome(losses, None) is expected


def test_divergence_wins_over_a_falling_curve() -> None:
    assert Criterion().outcome(curve(2.0, 1.0), 2) is Outcome.DIVERGED


def test_ratio_edges() -> None:
    assert math.isnan(Criterion().ratio(curve()))
    assert Criterion().ratio(curve(0.0, 1.0)) == math.inf
    assert Criterion(window=2).ratio(curve(4.0, 1.0, 3.0)) == 0.5


def test_record_keeps_the_loss_that_was_not_finite() -> None:
    record = RunRecord.from_curve(
        curve(3.0, 4.0),
        Criterion(),
        diverged_step=2,
        final_loss=math.inf,
        steps=2,
        tokens_seen=10,
        seconds=0.1,
    )
    assert record.outcome is Outcome.DIVERGED
    assert record.final_loss == math.inf
    assert (record.first_loss, record.best_loss, record.diverged_step) == (3.0, 3.0, 2)
    assert "step 2" in record.reason
