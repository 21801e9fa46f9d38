"""The precision floor: windows known to be one number, and what optimizers make of a rate."""

import math

import numpy as np
import pytest
import torch

from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Axis, Frame
from fractal_ray.plane.precision import (
    deepest_level,
    depth_text,
    distinct_values,
    refuse_unresolved,
    rounded,
)
from fractal_ray.plane.zoom import centre_of, zoom_in
from fractal_ray.workloads.maps.spec import MapSpec
from fractal_ray.workloads.mlp.spec import MlpSpec
from fractal_ray.workloads.nanochat.settings import DataSpec
from fractal_ray.workloads.nanochat.spec import NanochatSpec
from nanochat.train.optim.muon import Muon

RATES = Frame(
    0, Axis("unembedding_lr", "log", 1e-6, 1e-1), Axis("matrix_lr", "log", 1e-6, 0.3), 63, 63
)
# Torkamandi (arXiv 2501.04286), main.py: steps of 1e-11 from 0.1020022 and 0.02500022.
WINDOW = Frame(
    0,
    Axis("eta_fc", "linear", 0.1020022, 0.1020022 + 149e-11),
    Axis("eta_att", "linear", 0.02500022, 0.02500022 + 152e-11),
    149,
    152,
)


def test_the_window_whose_150_rates_are_one_float32_is_caught() -> None:
    assert distinct_values(WINDOW.x, 149, "float64") == 150
    assert distinct_values(WINDOW.x, 149, "float32") == 1
    assert distinct_values(WINDOW.y, 152, "float32") == 2
    assert deepest_level(WINDOW, ("float64", "float64")) > 10
    assert deepest_level(WINDOW, ("float32", "float32")) == -1
    with pytest.raises(SweepError) as caught:
        refuse_unresolved(WINDOW, 0, ("float32", "float32"))
    text = str(caught.value)
    assert "eta_fc: 150 nodes are 1 different float32" in text
    assert "eta_att: 153 nodes are 2 different float32" in text
    assert "allow_unresolved: true" in text
    refuse_unresolved(WINDOW, 0, ("float64", "float64"))


def test_the_window_before_it_was_resolved_in_part() -> None:
    # Steps of 1e-8 are just above the spacing of float32 at 0.102, those of 1e-10 far below.
    coarse = Axis("eta_fc", "linear", 0.102, 0.102 + 300e-8)
    assert distinct_values(coarse, 300, "float32") == 301
    fine = Axis("eta_fc", "linear", 0.1020022, 0.1020022 + 250e-10)
    assert distinct_values(fine, 250, "float32") < 6


def test_which_arithmetic() -> None:
    nanochat = NanochatSpec(model="preset:tiny", data=DataSpec(source="stdlib_qa"))
    assert nanochat.arithmetic(RATES.x) == "float32"
    assert nanochat.arithmetic(Axis("num_tokens", "log", 1, 9, integer=True)) == "float64"
    assert MapSpec(set="disc").arithmetic(WINDOW.x) == MlpSpec().arithmetic(WINDOW.x) == "float64"
    assert MlpSpec(dtype="float32").arithmetic(WINDOW.x) == "float32"


def test_rounding_is_that_of_torch() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([10 ** rng.uniform(-12, 3, 2000), -rng.uniform(0, 1, 50), [0.0, 1.0]])
    values = np.append(values, 1 + np.arange(8) * 2.0**-8)  # every other one is a tie of bfloat16
    single = torch.tensor(values).to(torch.float32)
    assert np.array_equal(rounded(values, "float32"), single.double().numpy())
    assert np.array_equal(rounded(values, "bfloat16"), single.bfloat16().double().numpy())


@pytest.mark.parametrize(
    ("arithmetic", "level"), [("float64", 49), ("float32", 20), ("bfloat16", 4)]
)
def test_the_deepest_level_is_the_last_without_a_pair(arithmetic, level: int) -> None:
    assert deepest_level(RATES, (arithmetic, arithmetic)) == level
    for axis in (RATES.x, RATES.y):
        assert distinct_values(axis, 63 << level, arithmetic) == (63 << level) + 1
        assert distinct_values(axis, 63 << level + 2, arithmetic) < (63 << level + 2)
    assert depth_text(RATES, (arithmetic, arithmetic)) == (
        f"deepest meaningful level of frame 0, unembedding_lr in {arithmetic}: {level};"
        f" matrix_lr in {arithmetic}: {level}"
    )


def test_an_estimate_is_close_to_a_count() -> None:
    axis = Axis("lr", "linear", 0.5, 0.5009)
    exact = np.unique(np.linspace(0.5, 0.5009, (1 << 17) + 1).astype(np.float32)).size
    assert distinct_values(axis, 1 << 17, "float32") == pytest.approx(exact, rel=0.05)
    with pytest.raises(SweepError, match="nodes are about"):
        refuse_unresolved(Frame(0, axis, axis, 2, 2), 17, ("float32", "float32"))


def test_a_zoom_loses_the_levels_that_it_has_gone_down() -> None:
    frame = Frame(0, RATES.x, RATES.y, 64, 64)
    floor = deepest_level(frame, ("float32", "float32"))
    chain = zoom_in(
        frame, centre_of(frame, 3e-4, 0.02), 2, cells=(64, 64), first_id=1, rule="center", depth=24
    )
    left = [deepest_level(zoom.frame, ("float32", "float32")) for zoom in chain]
    for depth, levels in enumerate(left, 1):
        # Inside one binade, numbers may be up to twice as close as at the worst place outside.
        assert levels - max(-1, floor - depth) in (0, 1)
    assert left[-1] == -1


def test_whole_numbers_are_one_apart() -> None:
    tokens = Axis("num_tokens", "linear", 0, 64, integer=True)
    assert deepest_level(Frame(0, tokens, RATES.y, 16, 16), ("float64", "float32")) == 2
    assert distinct_values(tokens, 16 << 3, "float64") == 65
    doubling = Axis("num_tokens", "log", 1, 1024, integer=True)
    assert deepest_level(Frame(0, doubling, RATES.y, 10, 10), ("float64", "float32")) == 0


def test_zero_in_the_middle_of_an_axis_is_no_trouble() -> None:
    axis = Axis("x", "linear", -1.0, 1.0)
    assert deepest_level(Frame(0, axis, axis, 1, 1), ("float64", "float64")) == 54


def muon(lr: float, factors: list[float]) -> torch.Tensor:
    """Compute weights after steps from 0, where their own rounding does not hide the rate."""
    rng = torch.Generator().manual_seed(0)
    weights = torch.nn.Parameter(torch.zeros(16, 16))
    optimizer = Muon([weights], lr=lr)
    for factor in factors:
        optimizer.param_groups[0]["lr"] = lr * factor
        weights.grad = torch.randn(16, 16, generator=rng)
        optimizer.step()
    return weights.detach()


def test_rates_that_are_one_float32_make_the_same_step() -> None:
    lr = float(np.float32(3e-3))
    same, other = lr * (1 + 2**-27), float(np.nextafter(np.float32(lr), np.float32(1)))
    assert rounded(np.array([same]), "float32") == lr
    assert torch.equal(muon(lr, [1.0]), muon(same, [1.0]))
    assert not torch.equal(muon(lr, [1.0]), muon(other, [1.0]))


def test_a_schedule_tells_closer_rates_apart_by_how_they_round() -> None:
    cosine = [0.5 * (1 + math.cos(math.pi * step / 30)) for step in range(30)]
    base = muon(3e-3, cosine)
    assert not torch.equal(base, muon(3e-3 * (1 + 2**-27), cosine))
    assert torch.equal(base, muon(3e-3 * (1 + 2**-45), cosine))
