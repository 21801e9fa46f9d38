"""Checkpoints: the published one, round trips, cut-off writes, and files that do not fit."""

import json
import os
import shutil

import pytest
import torch

import nanochat.checkpoint
from nanochat.checkpoint import build_model, find_checkpoint, load_checkpoint, save_checkpoint
from nanochat.errors import NanochatError


def test_published_checkpoint(checkpoint, model):
    assert checkpoint.step == 400
    assert checkpoint.config.n_kv_head == 1
    assert sum(tensor.numel() for tensor in checkpoint.state.values()) == 155_648
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


def test_round_trip_keeps_every_bit(tmp_path, checkpoint, model):
    path = save_checkpoint(tmp_path / "new", model, 7, {"note": "é"})
    assert sorted(p.name for p in path.parent.iterdir()) == ["meta_000007.json", "model_000007.pt"]
    again = load_checkpoint(tmp_path / "new")
    assert (again.step, again.meta["note"], again.config) == (7, "é", checkpoint.config)
    assert again.fingerprint == checkpoint.fingerprint
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1e-6
    save_checkpoint(tmp_path / "new", model, 8, {})
    assert load_checkpoint(tmp_path / "new").fingerprint != checkpoint.fingerprint
    assert load_checkpoint(tmp_path / "new", step=7).fingerprint == checkpoint.fingerprint


def test_training_does_not_reach_the_file(checkpoint):
    before = checkpoint.state["lm_head.weight"].clone()
    with torch.no_grad():
        build_model(checkpoint.config, checkpoint.state).lm_head.weight.zero_()
    assert torch.equal(checkpoint.state["lm_head.weight"], before)


def test_a_save_that_is_cut_short_is_no_checkpoint(tmp_path, model, monkeypatch):
    save_checkpoint(tmp_path, model, 1, {})
    real = os.fsync
    for survives in (0, 1, 2):  # dies in the weights, between the files, in the meta file
        calls = []

        def dies(handle, calls=calls, survives=survives):
            calls.append(handle)
            if len(calls) > survives:
                raise KeyboardInterrupt
            real(handle)

        monkeypatch.setattr("os.fsync", dies)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, model, 2, {})
        monkeypatch.undo()
        assert find_checkpoint(tmp_path) == 1
        assert not list(tmp_path.glob(".*.tmp"))


def test_old_meta_does_not_vouch_for_new_weights(tmp_path, model, monkeypatch):
    save_checkpoint(tmp_path, model, 1, {"run": "old"})

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(nanochat.checkpoint, "write_atomically", dies)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, model, 1, {"run": "new"})
    with pytest.raises(NanochatError, match="no checkpoint"):
        find_checkpoint(tmp_path)


@pytest.fixture
def copy(tmp_path, golden_folder):
    return shutil.copytree(golden_folder / "checkpoints", tmp_path / "copy")


def _rewrite(folder, change):
    path = folder / "model_000400.pt"
    state = torch.load(path, weights_only=True)
    torch.save(change(state) or state, path)


def test_prefix_of_compiled_models_is_stripped(copy, checkpoint):
    _rewrite(copy, lambda state: {f"_orig_mod.{key}": value for key, value in state.items()})
    assert load_checkpoint(copy).fingerprint == checkpoint.fingerprint


def test_padded_vocabulary_and_bfloat16_are_read(copy):
    def pad(state):
        for key in ("transformer.wte.weight", "lm_head.weight"):
            state[key] = torch.cat([state[key], torch.zeros(64, 64)])
        state["transformer.wte.weight"] = state["transformer.wte.weight"].bfloat16()

    _rewrite(copy, pad)
    loaded = load_checkpoint(copy)
    model = build_model(loaded.config, loaded.state)
    assert model(torch.zeros(1, 4, dtype=torch.long)).shape == (1, 4, 512)
    assert len(loaded.fingerprint) == 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "lm_head.weight"}, "no tensor lm_head"),
        (lambda s: {**s, "extra": torch.zeros(1)}, "unexpected tensor extra"),
        (lambda s: {**s, "resid_lambdas": torch.ones(2)}, "resid_lambdas belongs to a later"),
        (lambda s: {**s, "transformer.h.0.attn.ve_gate.weight": torch.ones(1)}, "ve_gate"),
        (lambda s: {**s, "smear_gate.weight": torch.ones(1, 24)}, "smear_gate.weight belongs"),
        (
            lambda s: {**s, "transformer.h.0.mlp.c_fc.weight": torch.ones(2, 2)},
            r"c_fc.weight has shape \(2, 2\); the config wants \(256, 64\)",
        ),
        (lambda s: {**s, "lm_head.weight": torch.ones(500, 64)}, "lm_head.weight has shape"),
        (lambda s: {**s, "lm_head.weight": torch.ones(576, 64)}, "wte.weight has shape"),
        (lambda s: {**s, "lm_head.weight": torch.tensor(1.0)}, "lm_head.weight has shape"),
        (lambda s: [1, 2], "something other than named tensors"),
        (lambda s: {"a": "text"}, "something other than named tensors"),
    ],
)
def test_weights_that_do_not_fit_are_named(copy, change, message):
    _rewrite(copy, change)
    with pytest.raises(NanochatError, match=message) as caught:
        load_checkpoint(copy)
    assert str(copy / "model_000400.pt") in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_damaged_weights_are_named(copy, content):
    (copy / "model_000400.pt").write_bytes(content)
    with pytest.raises(NanochatError, match=r"model_000400\.pt cannot be read") as caught:
        load_checkpoint(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ("{", "Expecting"),
        ("{}", "no model_config"),
        ('{"model_config": {"n_layer": 2}}', "no sequence_len"),
        ('{"model_config": 3}', "meta_000400.json"),
    ],
)
def test_damaged_meta_is_named(copy, meta, message):
    (copy / "meta_000400.json").write_text(meta)
    with pytest.raises(NanochatError, match=message):
        load_checkpoint(copy)


def test_sliding_windows_are_refused(copy):
    meta = json.loads((copy / "meta_000400.json").read_text())
    for pattern in ("L", "SSSL"):
        meta["model_config"]["window_pattern"] = pattern
        (copy / "meta_000400.json").write_text(json.dumps(meta))
        if pattern == "L":
            load_checkpoint(copy)
        else:
            with pytest.raises(NanochatError, match="window_pattern 'SSSL'"):
                load_checkpoint(copy)


def test_the_newest_complete_step_is_taken(copy):
    (copy / "model_000500.pt").touch()
    (copy / "meta_000600.json").touch()
    assert find_checkpoint(copy) == 400
    with pytest.raises(NanochatError, match=r"step 500 is missing; it has steps \[400\]"):
        find_checkpoint(copy, 500)
    with pytest.raises(NanochatError, match="no checkpoint in"):
        find_checkpoint(copy / "nowhere")
