"""Loss and gradients of the head against autograd over all logits."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.model.gpt import SOFT_CAP
from nanochat.model.head_loss import head_loss

VOCAB, WIDTH = 37, 8


def by_autograd(hidden: Any, weight: Any, targets: Any, scale: Any) -> Any:
    """The plain way, of one copy."""
    hidden, weight = (tensor.detach().clone().requires_grad_() for tensor in (hidden, weight))
    logits = SOFT_CAP * torch.tanh(F.linear(hidden, weight)[:, :VOCAB] / SOFT_CAP)
    loss = F.cross_entropy(logits, targets, ignore_index=-1)
    (loss * scale).backward()
    return loss.detach(), hidden.grad, weight.grad


@settings(max_examples=40, deadline=None)
@given(
    copies=st.integers(1, 4),
    positions=st.integers(1, 30),
    filled=st.integers(0, 5),
    cells=st.integers(1, 4 * 30 * VOCAB),
    padded_rows=st.integers(0, 3),
    size=st.sampled_from([0.1, 1.0, 30.0]),
    seed=st.integers(0, 1000),
)
def test_whatever_the_chunks(
    copies: Any, positions: Any, filled: Any, cells: Any, padded_rows: Any, size: Any, seed: Any
) -> None:
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(copies, positions + filled, WIDTH, generator=draw) * size
    weight = torch.randn(copies, VOCAB + padded_rows, WIDTH, generator=draw)
    targets = torch.randint(VOCAB, (positions,), generator=draw)
    targets = torch.cat([targets, torch.full((filled,), -1)])
    count, scale = torch.tensor(float(positions)), torch.tensor(0.25)
    found = head_loss(
        hidden,
        weight,
        targets,
        count,
        scale,
        vocab=VOCAB,
        dtype=torch.float32,
        wants=(True, True),
        cells=cells,
    )
    # Where the cap saturates, 1 - t² is a difference of nearly equal numbers, in autograd too.
    exact = 3e-6 * max(1, size)
    for copy in range(copies):
        loss, by_hidden, by_weight = by_autograd(hidden[copy], weight[copy], targets, scale)
        torch.testing.assert_close(found.loss[copy], loss, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.hidden[copy], by_hidden, rtol=1e-4, atol=exact)
        torch.testing.assert_close(found.weight[copy], by_weight, rtol=1e-4, atol=exact)


def test_one_state_for_all_copies_and_a_plain_weight() -> None:
    hidden, weight = torch.randn(1, 9, WIDTH), torch.randn(3, VOCAB, WIDTH)
    targets = torch.arange(9)
    options = {"vocab": VOCAB, "dtype": torch.float32, "wants": (False, True)}
    rest = (targets, torch.tensor(9.0), torch.ones(()))
    found = head_loss(hidden, weight, *rest, **options)
    assert found.hidden is None
    for copy in range(3):
        alone = head_loss(hidden, weight[copy], *rest, **options)
        assert alone.weight.shape == weight[copy].shape
        torch.testing.assert_close(found.loss[copy], alone.loss[0])
        torch.testing.assert_close(found.weight[copy], alone.weight)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_is_as_autograd_has_it(bad: Any) -> None:
    hidden, weight = torch.randn(1, 4, WIDTH), torch.randn(VOCAB, WIDTH)
    hidden[0, 1, 2] = bad
    targets = torch.arange(4)
    found = head_loss(
        hidden,
        weight,
        targets,
        torch.tensor(4.0),
        torch.ones(()),
        vocab=VOCAB,
        dtype=torch.float32,
        wants=(True, True),
    )
    loss, *_ = by_autograd(hidden[0], weight, targets, torch.ones(()))
    torch.testing.assert_close(found.loss[0], loss, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_products(dtype: Any) -> None:
    draw = torch.Generator().manual_seed(3)
    hidden = torch.randn(1, 20, WIDTH, generator=draw)
    weight = torch.randn(VOCAB, WIDTH, generator=draw)
    targets = torch.randint(VOCAB, (20,), generator=draw)
    scale = torch.tensor(1024.0 if dtype is torch.float16 else 1.0)
    rest = (targets, torch.tensor(20.0), scale)
    options = {"vocab": VOCAB, "wants": (True, True)}
    exact = head_loss(hidden, weight, *rest, dtype=torch.float32, **options)
    found = head_loss(hidden, weight, *rest, dtype=dtype, **options)
    assert found.hidden.dtype == found.weight.dtype == torch.float32
    torch.testing.assert_close(found.loss, exact.loss, rtol=1e-2, atol=0)
    for one, other in ((found.hidden, exact.hidden), (found.weight, exact.weight)):
        assert (one - other).norm() < 0.02 * other.norm()
