"""Where models are looked for, and that the tokenizer is the model's own."""

import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nanochat.errors import NanochatError
from nanochat.files.base_dir import base_dir
from nanochat.model.checkpoint import Checkpoint, load_checkpoint
from nanochat.sources.load import (
    ModelFolder,
    check_place,
    check_source,
    load_model,
    resolve_model,
    resolve_tokenizer,
)
from nanochat.tokenizer.tokenizer import Tokenizer


@pytest.fixture(autouse=True)
def base(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty base folder, and no tokenizer named in the surroundings."""
    folder = tmp_path / "base"
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(folder))
    monkeypatch.delenv("TOKENIZER_ARTIFACT", raising=False)
    return folder


@pytest.fixture
def put(golden_folder: Path) -> Callable[..., None]:
    """Copy the model's halves to folders."""

    def copy(checkpoints: Any = None, tokenizer: Any = None) -> None:
        for part, target in (("checkpoints", checkpoints), ("tokenizer", tokenizer)):
            if target is not None:
                shutil.copytree(golden_folder / part, target, dirs_exist_ok=True)

    return copy


def renamed(folder: Path, step: Any) -> None:
    """The checkpoint of a folder under another step."""
    for kind, suffix in (("model", "pt"), ("meta", "json")):
        (found,) = folder.glob(f"{kind}_*")
        found.rename(folder / f"{kind}_{step:06d}.{suffix}")


def test_nested_layout(golden_folder: Path) -> None:
    expected = ModelFolder(golden_folder / "checkpoints", golden_folder / "tokenizer", 400)
    assert resolve_model(str(golden_folder)) == expected
    assert resolve_model(str(golden_folder / "checkpoints")) == expected
    check_source(str(golden_folder))


def test_flat_layout(tmp_path: Path, put: Callable[..., None]) -> None:
    put(tmp_path / "flat", tmp_path / "flat")
    expected = ModelFolder(tmp_path / "flat", tmp_path / "flat", 400)
    assert resolve_model(str(tmp_path / "flat")) == expected


def test_relative_folders(
    tmp_path: Path, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "m/checkpoints", tmp_path / "m/tokenizer")
    for start, source in ((tmp_path, "m"), (tmp_path / "m", "."), (tmp_path / "m", "checkpoints")):
        monkeypatch.chdir(start)
        found = resolve_model(source)
        assert found.checkpoint_dir == tmp_path / "m/checkpoints"
        assert found.tokenizer_dir == tmp_path / "m/tokenizer"


@pytest.mark.parametrize("folder", ["", "chatsft_checkpoints", "chatsft_checkpoints/d2"])
def test_nanochat_s_own_layout_from_the_top_and_from_inside(
    tmp_path: Path, put: Callable[..., None], folder: str
) -> None:
    model = tmp_path / "chatsft_checkpoints" / "d2"
    put(model, tmp_path / "tokenizer")
    expected = ModelFolder(model, tmp_path / "tokenizer", 400)
    source = str(tmp_path / folder)
    assert resolve_model(source) == resolve_model(source, stage="sft", tag="d2") == expected
    with pytest.raises(NanochatError, match=r"no checkpoint of stage base; there is: sft$"):
        resolve_model(source, stage="base")
    with pytest.raises(NanochatError, match=r"no checkpoint with tag 'd4'; tags there: d2$"):
        resolve_model(source, tag="d4")


def test_what_was_chosen_for_the_caller_is_told_once(
    tmp_path: Path, put: Callable[..., None]
) -> None:
    for stage in ("base", "chatsft"):
        for tag in ("d2", "d10"):
            put(tmp_path / f"{stage}_checkpoints" / tag, tmp_path / "tokenizer")
    newest = tmp_path / "chatsft_checkpoints/d10"
    renamed(newest, 500)
    put(newest)
    with pytest.warns(UserWarning) as told:
        checkpoint, _ = load_model(str(tmp_path))
    assert checkpoint.step == 500
    assert [str(warning.message).partition("': ")[2] for warning in told] == [
        "stage sft is used; also there: stage base",
        "chatsft_checkpoints/d10 is used; also there: chatsft_checkpoints/d2",
        "step 500, the newest, is used; also there: 400",
    ]
    assert {warning.filename for warning in told} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_model(str(tmp_path), stage="base", tag="d2")[0].step == 400
        assert load_model(str(tmp_path), stage="sft", tag="d10", step=400)[0].step == 400


def test_the_tag_that_was_changed_last(tmp_path: Path, put: Callable[..., None]) -> None:
    for tag, seconds in (("old", 1e9), ("new", 2e9), ("older", 5e8)):
        put(tmp_path / "base_checkpoints" / tag, tmp_path / "tokenizer")
        for path in (tmp_path / "base_checkpoints" / tag).iterdir():
            os.utime(path, (seconds, seconds))
    with pytest.warns(UserWarning, match="base_checkpoints/new is used"):
        assert resolve_model(str(tmp_path)).checkpoint_dir.name == "new"


def test_files_of_a_stage_beside_those_of_another(
    tmp_path: Path, put: Callable[..., None], checkpoint: Checkpoint
) -> None:
    put(tmp_path / "m", tmp_path / "m/tokenizer")
    for kind, suffix in (("model", "pt"), ("meta", "json")):
        path = tmp_path / "m" / f"{kind}_000400.{suffix}"
        path.rename(path.with_name(f"mid_{kind}_000813.{suffix}"))
    with pytest.raises(NanochatError, match=r"no checkpoint of stage base; there is: mid"):
        resolve_model(str(tmp_path / "m"), stage="base")
    (tmp_path / "m/model_000700.pt").write_bytes(b"another model")
    (tmp_path / "m/meta_000700.json").write_bytes(b"{}")
    for _ in range(2):  # the second time over the links of the first
        loaded, _ = load_model(str(tmp_path / "m"), stage="mid")
        assert (loaded.step, loaded.fingerprint) == (813, checkpoint.fingerprint)
    found = resolve_model(str(tmp_path / "m"), stage="mid")
    assert load_checkpoint(found.checkpoint_dir).step == 813
    assert found.checkpoint_dir.is_relative_to(base_dir())
    with pytest.warns(UserWarning, match="also there: stage mid"):
        assert resolve_model(str(tmp_path / "m")).step == 700


def test_meta_without_a_step(tmp_path: Path, put: Callable[..., None]) -> None:
    """Reinforcement learning writes none: the file's name has it."""
    put(tmp_path / "chatrl_checkpoints/d2", tmp_path / "tokenizer")
    path = tmp_path / "chatrl_checkpoints/d2/meta_000400.json"
    path.write_text(json.dumps({"model_config": json.loads(path.read_text())["model_config"]}))
    assert load_model(str(tmp_path))[0].step == 400


def test_base_dir_is_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path))
    assert base_dir() == tmp_path
    monkeypatch.delenv("NANOCHAT_BASE_DIR")
    assert base_dir() == Path.home() / ".cache" / "nanochat"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("preset:tyni", "unknown preset 'tyni'; did you mean 'tiny'"),
        ("hf:", "is not of the form hf:owner/name"),
        ("hf:a/b@", "is not of the form"),
        ("hf:a/b/c", "is not of the form"),
        ("wandb:a/b", "is not of the form wandb:entity/project/name:version"),
        (
            "s3:bucket",
            r"unknown scheme \(a model is a folder, .*, hf:owner/name.*, or wandb:entity",
        ),
    ],
)
def test_bad_sources_are_refused(source: str, message: str) -> None:
    with pytest.raises(NanochatError, match=message):
        check_source(source)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "model_000001.pt").touch()
    with pytest.raises(NanochatError, match=r"no model_\*.pt with .*found: model_000001.pt$") as it:
        resolve_model(str(tmp_path))
    assert str(it.value).startswith(f"model {str(tmp_path)!r}: ")


@pytest.mark.parametrize("source", ["gpt2", "README.md", str(Path(__file__))])
def test_a_model_that_can_be_nowhere_is_refused_before_it_is_needed(source: str) -> None:
    with pytest.raises(NanochatError, match=r"hf:owner/name"):
        check_place(source)


@pytest.mark.parametrize("source", ["/no/such/folder", "models/d20", "tests", "hf:a/b", "~/d20"])
def test_a_model_that_may_be_on_another_machine_is_accepted(source: str) -> None:
    check_place(source)


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("nowhere/at/all", r"no such folder \(a model is"),
        ("karpathy/nanochat-d34", r"no such folder; did you mean 'hf:karpathy/nanochat-d34'\? \("),
        ("team/proj/run:v7", r"no such folder; did you mean 'wandb:team/proj/run:v7'\? \("),
    ],
)
def test_a_folder_that_is_elsewhere_is_refused_only_when_it_is_needed(
    source: str, hint: str
) -> None:
    check_source(source)
    with pytest.raises(NanochatError, match=hint):
        resolve_model(source)


def test_a_tokenizer_is_looked_for_in_this_order(
    tmp_path: Path, put: Callable[..., None], base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "m"
    put(model)
    everywhere = r"none was given, none lies beside model_000400.pt, TOKENIZER_ARTIFACT is not set"
    with pytest.raises(NanochatError, match=rf"{everywhere}, and {base}/tokenizer has none"):
        resolve_model(str(model))
    put(tokenizer=base / "tokenizer")
    assert resolve_model(str(model)).tokenizer_dir == base / "tokenizer"
    put(tokenizer=tmp_path / "named/tokenizer")
    monkeypatch.setenv("TOKENIZER_ARTIFACT", str(tmp_path / "named"))
    assert resolve_model(str(model)).tokenizer_dir == tmp_path / "named/tokenizer"
    put(tokenizer=model / "tokenizer")
    assert resolve_model(str(model)).tokenizer_dir == model / "tokenizer"
    put(tokenizer=tmp_path / "given")
    given = resolve_model(str(model), tokenizer=str(tmp_path / "given"))
    assert given.tokenizer_dir == tmp_path / "given"


def test_a_tokenizer_that_is_named_and_not_there_is_no_other(
    tmp_path: Path, put: Callable[..., None], base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "m")
    put(tokenizer=base / "tokenizer")
    with pytest.raises(NanochatError, match=r"/empty': no tokenizer.json or tokenizer.pkl$"):
        (tmp_path / "empty").mkdir()
        resolve_model(str(tmp_path / "m"), tokenizer=str(tmp_path / "empty"))
    monkeypatch.setenv("TOKENIZER_ARTIFACT", "team/proj/run:v1")
    with pytest.raises(NanochatError, match="did you mean 'wandb:team/proj/run:v1'"):
        resolve_model(str(tmp_path / "m"))


def test_a_tokenizer_alone(tmp_path: Path, put: Callable[..., None]) -> None:
    put(tokenizer=tmp_path / "t")
    assert resolve_tokenizer(str(tmp_path / "t")) == tmp_path / "t"
    put(tmp_path / "base_checkpoints/d2", tmp_path / "tokenizer")
    found = resolve_tokenizer(str(tmp_path / "base_checkpoints/d2"))
    assert found == tmp_path / "tokenizer"


def swapped(tokenizer: Tokenizer, one: Any, other: Any) -> Any:
    special = dict(tokenizer.special)
    special[one], special[other] = special[other], special[one]
    return Tokenizer(tokenizer.pattern, tokenizer.ranks, special)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda own: Tokenizer.train(["some text"] * 9, 270), r"has 270 tokens, the model 512"),
        (lambda own: swapped(own, "<|bos|>", "<|user_end|>"), r"has <\|bos\|> at 505, the model"),
        (
            lambda own: swapped(own, "<|user_start|>", "<|output_end|>"),
            r"has <\|user_start\|> at 511, the model at 504",
        ),
    ],
)
def test_the_tokenizer_of_another_model_is_refused(
    tmp_path: Path,
    put: Callable[..., None],
    base: Path,
    tokenizer: Tokenizer,
    other: Callable[..., Any],
    message: str,
) -> None:
    put(tmp_path / "m")
    other(tokenizer).save(base / "tokenizer")
    with pytest.raises(NanochatError, match=message) as caught:
        load_model(str(tmp_path / "m"))
    assert str(caught.value).startswith(f"the tokenizer in {base / 'tokenizer'} ")
    assert str(caught.value).endswith(": they do not belong together")


def test_one_of_the_same_size_is_told_by_its_fingerprint(
    tmp_path: Path, put: Callable[..., None], base: Path, tokenizer: Tokenizer
) -> None:
    put(tmp_path / "m")
    ranks = dict(tokenizer.ranks)
    last, before = sorted(ranks, key=ranks.__getitem__)[-1:-3:-1]
    ranks[last], ranks[before] = ranks[before], ranks[last]
    other = Tokenizer(tokenizer.pattern, ranks, tokenizer.special)
    other.save(base / "tokenizer")
    assert load_model(str(tmp_path / "m"))[1].fingerprint == other.fingerprint  # cannot be told
    path = tmp_path / "m/meta_000400.json"
    noted = {**json.loads(path.read_text()), "tokenizer_fingerprint": tokenizer.fingerprint}
    path.write_text(json.dumps(noted))
    with pytest.raises(NanochatError, match=r"meta file names \(tokenizer_fingerprint\): they do"):
        load_model(str(tmp_path / "m"))
    put(tokenizer=tmp_path / "m")
    assert load_model(str(tmp_path / "m"))[1].fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda counts: counts[:-1], r"counts 511 tokens, the tokenizer beside it has 512: they d"),
        (lambda counts: counts + 1, r"its zeros elsewhere than .* special tokens: they do not"),
        (lambda counts: counts.roll(-1), r"its zeros elsewhere than"),
        (
            lambda counts: {"a": 1},
            r"token_bytes.pt holds something other than one tensor; without",
        ),
    ],
)
def test_counts_of_bytes_beside_a_tokenizer_must_fit_it(
    tmp_path: Path, put: Callable[..., None], change: Callable[..., Any], message: str
) -> None:
    put(tmp_path / "m", tmp_path / "m/tokenizer")
    path = tmp_path / "m/tokenizer/token_bytes.pt"
    counts = torch.load(path, weights_only=True)
    assert load_model(str(tmp_path / "m"))[1].vocab_size == len(counts)
    torch.save(change(counts), path)
    with pytest.raises(NanochatError, match=message):
        load_model(str(tmp_path / "m"))


def test_presets(monkeypatch: pytest.MonkeyPatch, golden_folder: Path) -> None:
    monkeypatch.setattr("nanochat.train.pretrain.pretrain", lambda name: golden_folder)
    assert load_model("preset:tiny")[0].step == 400
    with pytest.raises(NanochatError, match="step 3; steps there: 400"):
        resolve_model("preset:tiny", step=3)
