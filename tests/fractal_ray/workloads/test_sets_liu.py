"""Liu's functions against the counts that he published (arXiv 2406.13971)."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fractal_ray.workloads.maps.known_sets import known_set
from fractal_ray.workloads.maps.sets.base import KnownSet

GOLDEN = Path(__file__).parents[2] / "golden" / "dimension"


def flips(known: KnownSet, n: int, start: float) -> list[int]:
    """Count those of the 2**m cells of [0, 1.5] whose ends disagree, for m = 0 .. n."""
    x = np.linspace(0, 1.5, 2**n + 1)
    trained = known.trained(x, np.full_like(x, start))
    return [int(np.count_nonzero(np.diff(trained[:: 2 ** (n - m)]))) for m in range(n + 1)]


def slope(counts: list[int], first: int) -> float:
    return float(np.polyfit(np.arange(first, len(counts)), np.log2(counts[first:]), 1)[0])


def test_liu_multiplicative_gives_the_published_counts() -> None:
    golden = json.loads((GOLDEN / "liu_multiplicative.json").read_text())
    asked = {
        "eps": golden["eps"],
        "lam": golden["lam"],
        "bound": golden["diverged_if_loss_exceeds"],
        "steps": golden["steps"],
    }
    known = known_set("liu_multiplicative", asked)
    exact = golden["reproducible_bit_for_bit_up_to_n"]
    assert exact == 14
    assert flips(known, exact, golden["x0"]) == golden["label_flips_N_B"][: exact + 1]


def test_liu_additive_is_smooth_while_convex_and_rough_beyond() -> None:
    # f'' > 0 everywhere for eps / lam**2 below 1 / (2 pi**2) = 0.0507 (science: case C, x0 = 5).
    for eps, lam in ((0.01, 0.45), (0.05, 1.0), (0.2, 2.0)):
        assert eps / lam**2 < 1 / (2 * math.pi**2)
        known = known_set("liu_additive", {"eps": eps, "lam": lam, "bound": 1e16})
        assert flips(known, 12, 5.0) == [1] * 13
    # The default has eps / lam**2 = 20. Its border lies above a rate of 1.0019; which cells it
    # crosses there depends on the last bit of a cosine, how many of them does not.
    rates = np.linspace(1.001, 1.003, 1025)
    trained = known_set("liu_additive").trained(rates, np.ones_like(rates))
    assert trained[:100].all()
    assert np.count_nonzero(np.diff(trained)) > 50


@pytest.mark.slow
def test_the_published_phase_diagram() -> None:
    """Check case C: no roughness in the 8 convex cells of 100 and in three just beyond.

    There is more than one flip wherever eps / lam**2 is well above.
    """
    zero = {0.0511, 0.0522, 0.0659}
    seen = {"convex": 0, "beyond": 0, "rough": 0}
    for eps in np.linspace(0.01, 0.2, 10).tolist():
        for lam in np.linspace(0.01, 1, 10).tolist():
            theta = eps / lam**2
            known = known_set("liu_additive", {"eps": eps, "lam": lam, "bound": 1e16})
            if theta < 0.0507:
                assert flips(known, 14, 5.0) == [1] * 15, (eps, lam)
                seen["convex"] += 1
            elif min(abs(theta - each) for each in zero) < 5e-4:
                assert flips(known, 14, 5.0)[-1] == 1, (eps, lam)
                seen["beyond"] += 1
            elif theta > 0.2 and lam > 0.3:
                assert flips(known, 14, 5.0)[-1] > 4, (eps, lam)
                seen["rough"] += 1
    assert seen["convex"] == 8
    assert seen["beyond"] == 3
    assert seen["rough"] > 10


def test_bowl_has_one_flip() -> None:
    assert flips(known_set("liu_multiplicative", {"eps": 0.0}), 12, 1.0) == [1] * 13


def test_redrawn_starting_points_read_as_noise() -> None:
    """Reproduce the published 1.0004 +- 0.011; a fixed starting point gives 0.8375."""
    redrawn = flips(known_set("liu_redrawn"), 15, 1.0)
    fixed = flips(known_set("liu_multiplicative"), 15, 1.0)
    assert slope(redrawn, 8) == pytest.approx(1, abs=0.05)
    assert slope(fixed, 8) < 0.9
    other = known_set("liu_redrawn", {"seed": 1})
    assert flips(other, 10, 1.0) != redrawn[:11]
