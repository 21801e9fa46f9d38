"""Small state dicts of every generation of nanochat: 0 is read, the others are refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nanochat.errors import NanochatError
from nanochat.model.checkpoint import build_model, load_checkpoint
from nanochat.model.generations import later_tensors, later_windows
from nanochat.model.gpt import GPT, GPTConfig

CONFIG = {
    "sequence_len": 16,
    "vocab_size": 50,
    "n_layer": 3,
    "n_head": 2,
    "n_kv_head": 1,
    "n_embd": 32,
}
NEEDS = {
    1: ["residual scalars", "sliding windows"],
    2: ["residual scalars", "sliding windows", "value embeddings", "32 channels", "15 or 20"],
    3: ["value embeddings", "12 channels", "rope base 100,000", "times 1.15"],
    4: ["value embeddings", "rope base 100,000", "times 1.2,", "smear", "backout"],
}


def _state(generation: Any) -> Any:
    """Weights as nanochat of that time stored them: vocabulary padded to 64 rows, bf16 embedding.

    The extra tensors have the values that switch them off, so that they could be overlooked.
    """
    model = GPT(GPTConfig(**CONFIG), vocab_rows=64)
    model.init_weights(torch.Generator().manual_seed(generation))
    state = dict(model.state_dict())
    state["transformer.wte.weight"] = state["transformer.wte.weight"].bfloat16()
    if generation >= 1:
        state |= {"resid_lambdas": torch.ones(3), "x0_lambdas": torch.zeros(3)}
    if generation >= 2:
        for layer in (0, 2):  # every other one, the last among them
            state[f"value_embeds.{layer}.weight"] = torch.zeros(64, 16)
            gate = torch.zeros(1, 32 if generation == 2 else 12)
            state[f"transformer.h.{layer}.attn.ve_gate.weight"] = gate
    if generation >= 4:
        state |= {
            "smear_gate.weight": torch.zeros(1, 24),
            "smear_lambda": torch.zeros(1),
            "backout_lambda": torch.zeros(1),
        }
    return state


def _save(folder: Path, state: Any, meta: Any) -> None:
    torch.save(state, folder / "model_000009.pt")
    (folder / "meta_000009.json").write_text(json.dumps(meta))


@pytest.fixture(params=["", "_orig_mod."], ids=["plain", "compiled"])
def prefix(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("extra", [{}, {"window_pattern": "L"}, {"window_pattern": "LLL"}])
def test_generation_0_is_read(tmp_path: Path, prefix: Any, extra: dict[str, Any]) -> None:
    state = _state(0)
    named = {f"{prefix}{key}": tensor for key, tensor in state.items()}
    # A meta file of reinforcement learning has no step: the file's name gives it.
    _save(tmp_path, named, {"model_config": {**CONFIG, **extra}})
    loaded = load_checkpoint(tmp_path)
    assert loaded.step == 9
    assert loaded.state.keys() == state.keys()
    model = build_model(loaded.config, loaded.state)
    assert model(torch.zeros(1, 5, dtype=torch.long)).shape == (1, 5, 50)
    for name, weight in model.named_parameters():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, state[name].float())


@pytest.mark.parametrize("windows", ["L", "SSSL"])
@pytest.mark.parametrize("generation", [1, 2, 3, 4])
def test_later_generations_are_refused_by_name(
    tmp_path: Path, prefix: Any, generation: int, windows: str
) -> None:
    state = {f"{prefix}{key}": tensor for key, tensor in _state(generation).items()}
    _save(tmp_path, state, {"step": 9, "model_config": {**CONFIG, "window_pattern": windows}})
    with pytest.raises(NanochatError) as caught:
        load_checkpoint(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'model_000009.pt'}: ")
    assert f"belongs to generation {generation} of nanochat" in message
    assert message.endswith("only generation 0 is read")
    assert "\n" not in message
    for need in NEEDS[generation]:
        assert need in message
    named = message.removeprefix(f"{tmp_path / 'model_000009.pt'}: ").split()[0]
    assert named in _state(generation)
    assert named not in _state(generation - 1) or generation == 3  # told by the gate's shape


def test_one_tensor_left_over_is_enough() -> None:
    for key, generation in [
        ("x0_lambdas", 1),
        ("smear_lambda", 4),
        ("backout_lambda", 4),
    ]:
        reason = later_tensors({"lm_head.weight": (50, 32), key: (1,)})
        assert reason is not None
        assert reason.startswith(f"{key} belongs to generation {generation}")


@pytest.mark.parametrize(
    "shapes",
    [
        {"value_embeds.0.weight": (64, 16)},
        {"transformer.h.0.attn.ve_gate.weight": (1, 16)},
        {"transformer.h.0.attn.ve_gate.weight": ()},
        {"h.0.ve_gate.weight": (1, 12), "h.2.ve_gate.weight": (1, 32)},
    ],
)
def test_value_embeddings_of_an_unknown_kind_are_refused(shapes: dict[str, Any]) -> None:
    reason = later_tensors(shapes)
    assert reason is not None
    assert reason.startswith(next(iter(shapes)))
    assert "later generation of nanochat that is not known here" in reason


def test_windows_are_told_by_the_meta_file(tmp_path: Path) -> None:
    assert later_windows("LLLL") is None
    _save(tmp_path, _state(0), {"model_config": {**CONFIG, "window_pattern": "SSSL"}})
    with pytest.raises(NanochatError) as caught:
        load_checkpoint(tmp_path)
    path = tmp_path / "meta_000009.json"
    expected = f"{path}: window_pattern 'SSSL' needs sliding windows (generation 1 of nanochat"
    assert str(caught.value).startswith(expected)


def test_a_name_that_only_looks_alike_is_not_of_a_later_generation() -> None:
    assert later_tensors({"transformer.h.0.attn.c_q.weight": (32, 32), "smear_gates": (1,)}) is None
