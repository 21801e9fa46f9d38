"""The rule for one run, on its edges and against the rule of a sweep."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal_ray.plane.outcome import Criterion, Outcome
from nanochat.finetune_run.trainability import judge


@pytest.mark.parametrize(
    ("losses", "diverged", "expected"),
    [
        ([2.0, 1.0], False, (True, True, 2.0, 1.5, 0.75, 1.5)),
        ([2.0, 1.0], True, (False, False, 2.0, 1.5, 0.75, 1.5)),
        ([2.0], False, (True, False, 2.0, 2.0, 1.0, 2.0)),
        ([0.0, -1.0], False, (True, False, 0.0, -0.5, math.inf, -0.5)),
        ([], True, (False, False, math.nan, math.nan, math.nan, math.inf)),
    ],
)
def test_edges(losses: Any, diverged: bool, expected: Any) -> None:
    judged = judge(losses, diverged, 20, 1.0)
    got = (judged.stable, judged.converged, judged.loss0, judged.mean_last_k)
    assert (*got, judged.ratio, judged.avg_loss) == pytest.approx(expected, nan_ok=True)


@given(
    st.lists(st.floats(0.0, 100.0, width=32), max_size=40),
    st.booleans(),
    st.integers(1, 30),
    st.floats(0.1, 2.0),
)
def test_a_sweep_labels_alike(losses: Any, diverged: Any, window: Any, threshold: Any) -> None:
    curve = np.asarray(losses, np.float32)
    judged = judge(curve, diverged, window, threshold)
    outcome = Criterion(window, threshold).outcome(curve, len(losses) if diverged else None)
    assert judged.converged == (outcome is Outcome.TRAINED)
    assert judged.stable == (outcome is not Outcome.DIVERGED)
