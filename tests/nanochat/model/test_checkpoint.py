"""Checkpoints: the published one, round trips, cut-off writes, and files that do not fit."""

import collections
import json
import os
import pickle
import re
import resource
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import nanochat.model.checkpoint
from nanochat.errors import NanochatError
from nanochat.model.checkpoint import (
    Checkpoint,
    build_model,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from nanochat.model.gpt import GPT


def test_published_checkpoint(checkpoint: Checkpoint, model: GPT) -> None:
    assert checkpoint.step == 400
    assert checkpoint.config.n_kv_head == 1
    assert sum(tensor.numel() for tensor in checkpoint.state.values()) == 155_648
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


def test_round_trip_keeps_every_bit(tmp_path: Path, checkpoint: Checkpoint, model: GPT) -> None:
    path = save_checkpoint(tmp_path / "new", model, 7, {"note": "é"})
    assert sorted(p.name for p in path.parent.iterdir()) == ["meta_000007.json", "model_000007.pt"]
    again = load_checkpoint(tmp_path / "new")
    assert (again.step, again.meta["note"], again.config) == (7, "é", checkpoint.config)
    assert again.fingerprint == checkpoint.fingerprint
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1e-6
    save_checkpoint(tmp_path / "new", model, 8, {})
    assert load_checkpoint(tmp_path / "new", step=8).fingerprint != checkpoint.fingerprint
    assert load_checkpoint(tmp_path / "new", step=7).fingerprint == checkpoint.fingerprint


def test_training_does_not_reach_the_file(checkpoint: Checkpoint) -> None:
    before = checkpoint.state["lm_head.weight"].clone()
    with torch.no_grad():
        build_model(checkpoint.config, checkpoint.state).lm_head.weight.zero_()
    assert torch.equal(checkpoint.state["lm_head.weight"], before)


def test_a_save_that_is_cut_short_is_no_checkpoint(
    tmp_path: Path, model: GPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, model, 1, {})
    real = os.fsync
    for survives in (0, 1, 2):  # dies in the weights, between the files, in the meta file
        calls = []

        def dies(handle: Any, calls: Any = calls, survives: Any = survives) -> None:
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


def test_old_meta_does_not_vouch_for_new_weights(
    tmp_path: Path, model: GPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, model, 1, {"run": "old"})

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(nanochat.model.checkpoint, "write_atomically", dies)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, model, 1, {"run": "new"})
    with pytest.raises(NanochatError, match="no checkpoint"):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("meta", "key"),
    [
        ({"note": "x", "val_bpb": float("nan")}, "val_bpb"),
        ({"rates": {"matrix": [1.0, float("inf")]}}, "rates"),
    ],
)
def test_meta_that_json_cannot_hold_is_refused_by_key(
    tmp_path: Path, model: GPT, meta: dict[str, Any], key: str
) -> None:
    save_checkpoint(tmp_path, model, 7, {"run": "old"})
    with pytest.raises(NanochatError, match=rf"meta_000007\.json: {key} must be finite, or null$"):
        save_checkpoint(tmp_path, model, 7, meta)
    assert load_checkpoint(tmp_path).meta["run"] == "old"


@pytest.fixture
def copy(tmp_path: Path, golden_folder: Path) -> Path:
    return shutil.copytree(golden_folder / "checkpoints", tmp_path / "copy")


def _rewrite(folder: Path, change: Any) -> None:
    path = folder / "model_000400.pt"
    state = torch.load(path, weights_only=True)
    torch.save(change(state) or state, path)


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module."]
)
def test_prefixes_of_compiled_and_distributed_models_are_stripped(
    copy: Path, checkpoint: Checkpoint, prefix: str
) -> None:
    _rewrite(copy, lambda state: {prefix + key: value for key, value in state.items()})
    assert load_checkpoint(copy).fingerprint == checkpoint.fingerprint


def test_a_tensor_with_and_without_a_prefix_is_refused(copy: Path) -> None:
    _rewrite(copy, lambda state: {**state, "module.lm_head.weight": state["lm_head.weight"]})
    message = r"000400\.pt: lm_head\.weight and module\.lm_head\.weight are both tensor lm_head"
    with pytest.raises(NanochatError, match=message):
        load_checkpoint(copy)


def test_padded_vocabulary_and_bfloat16_are_read(copy: Path) -> None:
    def pad(state: Any) -> None:
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
        (lambda s: {**s, "resid_lambdas": torch.ones(2)}, "resid_lambdas belongs to generation 1"),
        (
            lambda s: {**s, "transformer.h.0.mlp.c_fc.weight": torch.ones(2, 2)},
            r"c_fc.weight has shape \(2, 2\); the config wants \(256, 64\)",
        ),
        (lambda s: {**s, "lm_head.weight": torch.ones(500, 64)}, "lm_head.weight has shape"),
        (lambda s: {**s, "lm_head.weight": torch.ones(576, 64)}, "wte.weight has shape"),
        (lambda s: {**s, "lm_head.weight": torch.tensor(1.0)}, "lm_head.weight has shape"),
        (lambda s: {**s, "lm_head.weight": s["lm_head.weight"].int()}, "lm_head.weight is torch"),
        (lambda s: [1, 2], "something other than named tensors"),
        (lambda s: {"a": "text"}, "something other than named tensors"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    copy: Path, change: Callable[..., Any], message: str
) -> None:
    _rewrite(copy, change)
    with pytest.raises(NanochatError, match=message) as caught:
        load_checkpoint(copy)
    assert str(copy / "model_000400.pt") in str(caught.value)


def _with(state: dict[str, Any], key: str, place: Any, value: float, dtype: Any) -> dict[str, Any]:
    changed = state[key].to(dtype)
    changed[place] = value
    return {**state, key: changed}


NOT_FINITE = [
    ("lm_head.weight", (5, 6), float("nan"), torch.float32, r"1 of 32,768 .*, nan, at \[5, 6\]"),
    ("transformer.wte.weight", 300, float("inf"), torch.bfloat16, r"64 .*, inf, at \[300, 0\]"),
    # Models compute in float32, in which this number is infinite.
    ("lm_head.weight", (0, 1), -1e300, torch.float64, r"1 of .*, -1e\+300, at \[0, 1\]"),
]


@pytest.mark.parametrize(("key", "place", "value", "dtype", "message"), NOT_FINITE)
def test_weights_that_are_not_finite_are_named(
    copy: Path, key: str, place: Any, value: float, dtype: Any, message: str
) -> None:
    _rewrite(copy, lambda state: _with(state, key, place, value, dtype))
    with pytest.raises(NanochatError, match=rf"model_000400\.pt: {key} has {message}"):
        load_checkpoint(copy)


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path, model: GPT) -> None:
    with torch.no_grad():
        model.get_parameter("transformer.h.1.mlp.c_fc.weight")[3, 4] = torch.nan
    with pytest.raises(NanochatError, match=r"h\.1\.mlp\.c_fc\.weight has 1 of 16,384 values"):
        save_checkpoint(tmp_path, model, 7, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.to_sparse(),
        lambda tensor: tensor.to("meta"),
        lambda tensor: torch.nested.nested_tensor(list(tensor)),
    ],
    ids=["sparse", "meta", "nested"],
)
def test_weights_that_are_not_dense_are_refused(copy: Path, change: Callable[..., Any]) -> None:
    _rewrite(copy, lambda state: {**state, "lm_head.weight": change(state["lm_head.weight"])})
    message = r"model_000400\.pt is refused: it asks for torch\._utils\._rebuild_.*; only plain"
    with pytest.raises(NanochatError, match=message):
        load_checkpoint(copy)


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_damaged_weights_are_named(copy: Path, content: bytes) -> None:
    (copy / "model_000400.pt").write_bytes(content)
    with pytest.raises(NanochatError, match=r"model_000400\.pt cannot be read: cut") as caught:
        load_checkpoint(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999, 1])
def test_truncated_weights_are_named(copy: Path, share: float) -> None:
    path = copy / "model_000400.pt"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content)) - 1])
    with pytest.raises(NanochatError, match=r"model_000400\.pt cannot be read") as caught:
        load_checkpoint(copy)
    assert "\n" not in str(caught.value)


class _Call:
    def __init__(self, function: Any, *arguments: str) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _write_zip(value: Any, path: Path) -> None:
    torch.save(value, path)


def _write_old(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def _write_plain(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


@pytest.mark.parametrize("write", [_write_zip, _write_old, _write_plain])
@pytest.mark.parametrize("function", [os.system, eval, os.mkdir])
def test_weights_that_call_something_are_refused(
    copy: Path, tmp_path: Path, function: Any, write: Any
) -> None:
    mark = tmp_path / "mark"
    argument = {os.system: f"touch {mark}", os.mkdir: str(mark)}.get(
        function, f"__import__('os').mkdir({str(mark)!r})"
    )
    call = _Call(function, argument)
    write({"lm_head.weight": torch.ones(2), "x": call}, copy / "model_000400.pt")
    with pytest.raises(NanochatError, match=r"model_000400\.pt (is refused|cannot)") as caught:
        load_checkpoint(copy)
    assert not mark.exists()
    message = str(caught.value)
    assert "\n" not in message
    assert "weights_only" not in message  # torch advises to switch it off
    if write is _write_zip:
        assert re.search(rf"it asks for (\w+\.)?{function.__name__}; only plain tensors", message)


def test_a_class_among_the_weights_is_refused(copy: Path) -> None:
    _rewrite(copy, lambda state: {**state, "x": collections.Counter})
    with pytest.raises(NanochatError, match=r"it asks for collections\.Counter; only plain"):
        load_checkpoint(copy)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ("{", "Expecting"),
        ("{}", "no model_config"),
        ('{"model_config": {"n_layer": 2}}', "no sequence_len"),
        ("[]", r"it must be an object, not \[\]"),
        ("null", "it must be an object, not null"),
        ('{"model_config": 3}', "model_config must be an object, not 3"),
        ('{"model_config": null}', "model_config must be an object, not null"),
        ('{"model_config": ["n_layer"]}', r"model_config must be an object, not \[\"n_layer\"\]"),
        pytest.param("[" * 100_000, "maximum recursion depth exceeded", id="deep"),
    ],
)
def test_damaged_meta_is_named(copy: Path, meta: str, message: str) -> None:
    (copy / "meta_000400.json").write_text(meta)
    with pytest.raises(NanochatError, match=rf"meta_000400\.json: {message}") as caught:
        load_checkpoint(copy)
    assert "\n" not in str(caught.value)


def _with_config(folder: Path, **values: Any) -> None:
    path = folder / "meta_000400.json"
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({**meta, "model_config": {**meta["model_config"], **values}}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        # No tensor has these lengths: unbounded, the first one is 40 GB when the model is built.
        ({"sequence_len": 10**9}, "sequence_len must be at most 131,072, not 1,000,000,000"),
        ({"sequence_len": 2**17 + 1}, "sequence_len must be at most 131,072, not 131,073"),
        ({"n_layer": 1025}, "n_layer must be at most 1,024, not 1,025"),
        ({"n_head": "2"}, "n_head must be from 1 to .*, not '2'"),
        ({"n_embd": None}, "n_embd must be from 1 to .*, not None"),
        ({"window_pattern": None}, "window_pattern must be text, not null"),
    ],
)
def test_a_config_out_of_bounds_is_named(copy: Path, values: dict[str, Any], message: str) -> None:
    _with_config(copy, **values)
    with pytest.raises(NanochatError, match=rf"meta_000400\.json: {message}$"):
        load_checkpoint(copy)


def test_the_longest_sequence_that_is_allowed_is_read(copy: Path) -> None:
    _with_config(copy, sequence_len=2**17)
    assert load_checkpoint(copy).config.sequence_len == 131_072


def test_a_folder_in_place_of_the_meta_file_is_named(copy: Path) -> None:
    (copy / "meta_000400.json").unlink()
    (copy / "meta_000400.json").mkdir()
    with pytest.raises(NanochatError, match=r"meta_000400\.json: .*directory"):
        load_checkpoint(copy)


def _copy_step(folder: Path, step: Any) -> None:
    for name in ("model_{}.pt", "meta_{}.json"):
        shutil.copy(folder / name.format("000400"), folder / name.format(step))


def test_of_several_steps_the_newest_is_used_and_a_warning_names_the_others(copy: Path) -> None:
    for step in ("000399", "1000000", "000020"):
        _copy_step(copy, step)
    with pytest.warns(UserWarning, match="step 1000000, the newest, is used") as caught:
        assert load_checkpoint(copy).step == 1_000_000
    assert [str(warning.message).split(": ")[-1] for warning in caught] == ["20, 399, 400"]
    assert caught[0].filename == __file__
    assert load_checkpoint(copy, step=20).step == 20  # asked for: nothing to warn of


def test_the_newest_complete_step_is_taken(copy: Path) -> None:
    (copy / "model_000500.pt").touch()
    _copy_step(copy, "0000700")  # not the name of any step
    (copy / "meta_000600.json").touch()
    assert find_checkpoint(copy) == 400
    with pytest.raises(NanochatError, match=r"step 500 is missing; it has steps \[400\]"):
        find_checkpoint(copy, 500)
    with pytest.raises(NanochatError, match="no checkpoint in"):
        find_checkpoint(copy / "nowhere")


def _nothing_more_than_the_file_holds(folder: Path, message: str) -> None:
    """Load a checkpoint with no more memory than Python and torch take already."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(NanochatError, match=message) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def test_expanded_tensors_are_refused_before_they_are_copied(copy: Path) -> None:
    def expand(state: Any) -> None:
        for key in ("transformer.wte.weight", "lm_head.weight"):
            state[key] = state[key][:1].clone().expand(10**12, 64)

    _rewrite(copy, expand)
    message = (
        r"model_000400\.pt has [\d,]+ bytes, and its tensors need 512,000,000,360,448 "
        r"\(transformer\.wte\.weight alone 256,000,000,000,000\): values are repeated"
    )
    _nothing_more_than_the_file_holds(copy, message)


def test_many_tensors_on_one_storage_are_refused(copy: Path) -> None:
    """Each alone fits: their sum decides."""

    def share(state: Any) -> None:
        one = state["transformer.h.0.mlp.c_fc.weight"]
        for layer in range(2):
            state[f"transformer.h.{layer}.mlp.c_fc.weight"] = one
            state[f"transformer.h.{layer}.mlp.c_proj.weight"] = one.view(64, 256)

    _rewrite(copy, share)
    _nothing_more_than_the_file_holds(copy, "values are repeated, in expanded or shared tensors")


def _with_pickle(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3")


def _pairs() -> bytes:
    pairs = b"".join(b"h%ch%c\x86q%c" % (k, k, k + 1) for k in range(40))
    return b"\x80\x02}Nq\x00" + pairs + b"Ns."


# A call with an argument that takes memory without bounds: torch allows both names.
_BYTES = b"\x80\x02c__builtin__\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R."
_STORAGE = b"\x80\x02ctorch.storage\nUntypedStorage\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_pairs(), "is refused: it nests more than 100 objects in one tuple; only plain tensors"),
        (_BYTES, r"is refused: it asks for __builtin__\.bytearray; only plain tensors are read"),
        (_STORAGE, r"is refused: it asks for torch\.storage\.UntypedStorage; only plain tensors"),
        (b"\x80\x02}X\xff\xff\xff\xffab.", "is refused: it is damaged"),
    ],
)
def test_weights_that_ask_for_too_much_are_refused(
    copy: Path, content: bytes, message: str
) -> None:
    _with_pickle(copy / "model_000400.pt", content)
    _nothing_more_than_the_file_holds(copy, message)


def test_compressed_weights_are_refused(copy: Path) -> None:
    """A megabyte of an archive may be a gigabyte of zeros."""
    with (
        zipfile.ZipFile(copy / "model_000400.pt", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("archive/data.pkl", "w") as file,
    ):
        for _ in range(100):
            file.write(bytes(1_000_000))
    _nothing_more_than_the_file_holds(copy, "cannot be read: it is compressed, and torch.save comp")


@pytest.mark.parametrize(
    "change",
    [
        lambda s: {**s, 3: torch.ones(1)},
        lambda s: {**s, (1, "a"): torch.ones(1)},
        lambda s: {**s, "x" * 201: torch.ones(1)},
    ],
)
def test_names_of_tensors_are_short_texts(copy: Path, change: Callable[..., Any]) -> None:
    _rewrite(copy, change)
    with pytest.raises(NanochatError, match="a tensor without a name, or with a very long one"):
        load_checkpoint(copy)


def test_weights_that_ask_for_gradients_are_read_without(
    copy: Path, checkpoint: Checkpoint
) -> None:
    _rewrite(copy, lambda state: {k: v.requires_grad_() for k, v in state.items()})
    loaded = load_checkpoint(copy)
    assert not any(tensor.requires_grad for tensor in loaded.state.values())
    assert loaded.fingerprint == checkpoint.fingerprint
