"""Outcomes of made curves: flat, slow, spiked, risen, and hard batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal_ray.plane.baseline import Baseline
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.plane.outcome import SPLIT, STORED, Criterion, Outcome

CRITERION = Criterion(window=3, threshold=0.9)
HARDNESS = np.array([1.0, 1.3, 0.8, 1.1, 0.9, 1.2, 0.7, 1.5], dtype=np.float32)
"""Difficulty of the batches; the last one is hard."""
UNTOUCHED = 5 * HARDNESS
RULE = LabelRule(CRITERION, "broken", Baseline(curves={(): UNTOUCHED}))
STAND_IN = LabelRule(CRITERION, "broken")


def outcome(curve: np.ndarray, rule: LabelRule = RULE) -> Outcome:
    return rule.outcome(Outcome.NOT_IMPROVED, curve.astype(np.float32), 0.1, 0.2)


CURVES = {
    "flat with noise": (UNTOUCHED * (1 + 0.005 * (-1.0) ** np.arange(8)), Outcome.TOO_SLOW),
    "slow fall": (UNTOUCHED * np.linspace(1, 0.97, 8), Outcome.TOO_SLOW),
    "warm-up spike that recovers, not enough": (
        UNTOUCHED * np.array([1, 1.5, 1.2, 1, 1, 0.99, 0.98, 0.98]),
        Outcome.DEGRADED,
    ),
    "warm-up spike, then trained": (
        UNTOUCHED * np.array([1, 1.5, 1.2, 0.9, 0.7, 0.6, 0.5, 0.3]),
        Outcome.TRAINED,
    ),
    "fall, then rise": (
        UNTOUCHED * np.array([1, 0.9, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3]),
        Outcome.DEGRADED,
    ),
    "a hard last batch": (UNTOUCHED, Outcome.TOO_SLOW),
    "one step": (UNTOUCHED[:1], Outcome.TOO_SHORT),
}


@pytest.mark.parametrize("name", CURVES)
def test_made_curves(name: str) -> None:
    curve, expected = CURVES[name]
    assert outcome(curve) is expected


def test_the_first_loss_mistakes_a_hard_batch_for_damage_and_its_rise_is_larger() -> None:
    assert STAND_IN.source == "stand-in"
    assert outcome(UNTOUCHED, STAND_IN) is Outcome.DEGRADED
    assert outcome(5 * np.linspace(1, 1.09, 8), STAND_IN) is Outcome.TOO_SLOW
    assert outcome(5 * np.linspace(1, 1.11, 8), STAND_IN) is Outcome.DEGRADED


def test_full_batches_are_judged_by_their_first_loss() -> None:
    rule = LabelRule(CRITERION, "broken", first_loss_is_baseline=True)
    assert rule.source == "first loss"
    assert outcome(5 * np.linspace(1, 1.019, 8), rule) is Outcome.TOO_SLOW
    assert outcome(5 * np.linspace(1, 1.021, 8), rule) is Outcome.DEGRADED


def test_an_order_that_was_not_evaluated_is_judged_by_the_first_loss() -> None:
    rule = LabelRule(CRITERION, "broken", Baseline(("x",), {(0.1,): UNTOUCHED}))
    flat = UNTOUCHED.astype(np.float32)
    assert rule.outcome(Outcome.NOT_IMPROVED, flat, 0.1, 9.0) is Outcome.TOO_SLOW
    assert rule.outcome(Outcome.NOT_IMPROVED, flat, 0.2, 9.0) is Outcome.DEGRADED


def test_outcomes_without_a_curve_and_divergence_stay() -> None:
    none = np.empty(0, dtype=np.float32)
    for stored in STORED:
        assert RULE.outcome(stored, none, 0, 0) is stored
    assert RULE.outcome(Outcome.DIVERGED, UNTOUCHED, 0, 0) is Outcome.DIVERGED


def test_planners_are_told_stored_outcomes_or_the_label_of_the_cliff() -> None:
    for boundary in ("trainable", "stable"):
        rule = LabelRule(CRITERION, boundary)
        assert {rule.told(each) for each in Outcome} == set(STORED)
    unknown = {each for each in Outcome if RULE.told(each) is None}
    assert unknown == {Outcome.NOT_IMPROVED, Outcome.TOO_SHORT}


def test_ratios_against_the_same_batches_and_held_out_ones() -> None:
    curve = UNTOUCHED * np.linspace(1, 0.8, 8, dtype=np.float32)
    same = LabelRule(Criterion(3, reference="same_batches"), "trainable", RULE.baseline)
    assert same.ratio(curve, 0, 0) == pytest.approx(
        float(curve[-3:].mean() / UNTOUCHED[-3:].mean()), rel=1e-6
    )
    held = LabelRule(Criterion(3, reference="held_out"), "trainable", Baseline(val_loss=4.0))
    assert held.ratio(curve, 0, 0, val_loss=3.0) == 0.75
    assert held.outcome(Outcome.NOT_IMPROVED, curve, 0, 0, 3.0) is Outcome.TRAINED


@given(
    st.lists(st.floats(0.0078125, 100, width=32), min_size=1, max_size=8),
    st.floats(0, 0.5),
    st.sampled_from([RULE, STAND_IN]),
)
def test_a_larger_rise_never_degrades_more_and_no_number_of_theirs_changes(
    losses: list[float], rise: float, rule: LabelRule
) -> None:
    curve = np.array(losses, dtype=np.float32)
    larger = LabelRule(Criterion(3, 0.9, rise + 0.1), "broken", rule.baseline)
    smaller = LabelRule(Criterion(3, 0.9, rise), "broken", rule.baseline)
    found = outcome(curve, larger), outcome(curve, smaller)
    assert found[0].stored is found[1].stored is CRITERION.outcome(curve, None)
    if found[0] is Outcome.DEGRADED:
        assert found[1] is Outcome.DEGRADED
    assert found[0] in (Outcome.TRAINED, *SPLIT)


def test_without_a_rise_the_rounding_of_the_first_loss_degrades_no_run() -> None:
    """The first loss is computed twice: by the run, and by a forward pass alone."""
    rule = LabelRule(Criterion(window=3, threshold=0.9, rise=0), "broken", RULE.baseline)
    curve = (UNTOUCHED * np.linspace(1, 0.97, 8)).astype(np.float32)
    curve[0] = np.nextafter(UNTOUCHED[0], np.float32(np.inf))
    assert outcome(curve, rule) is Outcome.TOO_SLOW
    curve[1] = np.nextafter(UNTOUCHED[1], np.float32(np.inf))
    assert outcome(curve, rule) is Outcome.DEGRADED
