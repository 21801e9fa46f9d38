"""Model folders in nanochat's own layout, and their way to the hub."""

import json
import os
import pickle
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stamina
import tiktoken
import torch

from nanochat.cli.upload import read_local_model
from nanochat.errors import NanochatError
from nanochat.files.retry import ATTEMPTS
from nanochat.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from nanochat.model.gpt import GPT
from nanochat.sharing.published import (
    model_files,
    save_model_folder,
    token_bytes,
    write_published_tokenizer,
)
from nanochat.sharing.upload import upload_model
from nanochat.tokenizer.tokenizer import Tokenizer
from tests.hub_stand_in import HubStandIn, use

# huggingface_hub 2.4 hands a file to httpx2 in a way that httpx2 has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "models/some/model"


def upload_folder(
    folder: Path,
    repo: str,
    *,
    mid: Path | None = None,
    step: int | None = None,
    tag: str | None = None,
    stage: str | None = None,
    **options: Any,
) -> str:
    """Upload the model of a folder, as `nanochat upload` does."""
    beside = None if mid is None else read_local_model(mid, stage="mid")
    return upload_model(read_local_model(folder, step, tag, stage), repo, mid=beside, **options)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubStandIn]:
    with stamina.set_testing(True, attempts=ATTEMPTS), HubStandIn() as stand_in:
        use(monkeypatch, stand_in, tmp_path)
        yield stand_in


@pytest.fixture
def folder(tmp_path: Path, golden_folder: Path) -> Path:
    return shutil.copytree(golden_folder, tmp_path / "model")


def test_bytes_of_tokens_are_those_of_nanochat(tokenizer: Tokenizer, golden_folder: Path) -> None:
    theirs = torch.load(golden_folder / "tokenizer" / "token_bytes.pt", weights_only=True)
    ours = token_bytes(tokenizer)
    assert ours.dtype == torch.int32
    assert torch.equal(ours, theirs)
    assert (ours[503:] == 0).all()


def test_bytes_of_tokens_add_up_to_the_text(tokenizer: Tokenizer) -> None:
    text = "naïve café ✓ 😀 plain"
    assert token_bytes(tokenizer)[tokenizer.encode(text)].sum() == len(text.encode())


def test_published_tokenizers_are_read_by_both(
    tokenizer: Tokenizer, tmp_path: Path, golden_folder: Path
) -> None:
    write_published_tokenizer(tokenizer, tmp_path)
    names = ["token_bytes.pt", "tokenizer.json", "tokenizer.pkl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    # Safe here: the file was written a line above.
    loaded = pickle.loads((tmp_path / "tokenizer.pkl").read_bytes())
    published = pickle.loads((golden_folder / "tokenizer" / "tokenizer.pkl").read_bytes())
    assert isinstance(loaded, tiktoken.Encoding)
    assert loaded.name == published.name == "rustbpe"
    assert loaded.encode_ordinary("Hello, world!") == published.encode_ordinary("Hello, world!")
    assert loaded.encode_single_token("<|bos|>") == 503
    assert loaded.n_vocab == 512
    (tmp_path / "tokenizer.json").unlink()
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint


def test_files_of_two_tokenizers_are_never_mixed(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_published_tokenizer(Tokenizer.train(["some text"], 265), tmp_path)

    real = os.fsync

    def dies(handle: int, calls: list[int] = []) -> None:  # noqa: B006
        calls.append(handle)
        if len(calls) > 2:  # one file and its folder
            raise KeyboardInterrupt
        real(handle)

    monkeypatch.setattr("os.fsync", dies)
    with pytest.raises(KeyboardInterrupt):
        write_published_tokenizer(tokenizer, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["token_bytes.pt"]


def test_model_folders_have_nanochats_names_and_are_read_back(
    tmp_path: Path, model: GPT, tokenizer: Tokenizer
) -> None:
    with torch.no_grad():
        model.wte.weight += 1e-6  # no longer a bfloat16 number
    meta = save_model_folder(tmp_path, model, tokenizer, 700, {"final_loss": 1.5})
    held = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert held == set(model_files(700))
    assert meta == tmp_path / "checkpoints" / "meta_000700.json"
    content = json.loads(meta.read_text())
    assert content["tokenizer_fingerprint"] == tokenizer.fingerprint
    assert (content["step"], content["final_loss"]) == (700, 1.5)
    assert content["model_config"]["n_layer"] == 2
    again = load_checkpoint(tmp_path / "checkpoints")
    assert torch.equal(again.state["transformer.wte.weight"], model.wte.weight)
    assert Tokenizer.load(tmp_path / "tokenizer").fingerprint == tokenizer.fingerprint


def test_the_embedding_is_rounded_only_where_that_is_asked_for(
    tmp_path: Path, checkpoint: Checkpoint, tokenizer: Tokenizer
) -> None:
    save_model_folder(tmp_path, checkpoint, tokenizer, 1, {}, wte_dtype="bfloat16")
    half = load_checkpoint(tmp_path / "checkpoints")
    kinds = {key: tensor.dtype for key, tensor in half.state.items()}
    assert kinds.pop("transformer.wte.weight") == torch.bfloat16
    assert set(kinds.values()) == {torch.float32}
    save_model_folder(tmp_path, half, tokenizer, 2, half.meta)
    assert load_checkpoint(tmp_path / "checkpoints", 2).fingerprint == half.fingerprint
    save_model_folder(tmp_path, half, tokenizer, 3, {}, wte_dtype="float32")
    wide = load_checkpoint(tmp_path / "checkpoints", 3)
    assert wide.state["transformer.wte.weight"].dtype == torch.float32
    sizes = [(tmp_path / "checkpoints" / f"model_00000{n}.pt").stat().st_size for n in (2, 3)]
    assert sizes[1] - sizes[0] == pytest.approx(512 * 64 * 2, abs=512)


def test_a_tokenizer_of_another_model_is_not_saved_with_it(
    tmp_path: Path, checkpoint: Checkpoint, tokenizer: Tokenizer
) -> None:
    other = Tokenizer.train(["some text"], 265)
    with pytest.raises(NanochatError, match="the tokenizer has 265 tokens, the model 512"):
        save_model_folder(tmp_path, checkpoint, other, 1, {})
    assert not list(tmp_path.iterdir())


def test_an_upload_is_one_commit_in_the_published_layout(
    hub: HubStandIn, folder: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    about = folder / "checkpoints" / "meta_000400.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "data": "half \ud83d"}))
    mid = shutil.copytree(folder, tmp_path / "mid")
    for name in ("model_{}.pt", "meta_{}.json"):
        (mid / "checkpoints" / name.format("000400")).rename(
            mid / "checkpoints" / name.format("000813")
        )
    url = upload_folder(folder, "some/model", mid=mid)
    (commit,) = hub.commits
    assert url == f"{hub.url}/some/model/commit/{commit['sha']}"
    assert sorted(commit["paths"]) == [
        "README.md",
        "meta_000400.json",
        "mid_meta_000813.json",
        "mid_model_000813.pt",
        "model_000400.pt",
        "tokenizer/token_bytes.pt",
        "tokenizer/tokenizer.json",
        "tokenizer/tokenizer.pkl",
    ]
    assert commit["message"] == "nanochat model, step 400"
    files = hub.repos[REPO]
    assert files["model_000400.pt"] == (folder / "checkpoints" / "model_000400.pt").read_bytes()
    assert files["mid_model_000813.pt"] == files["model_000400.pt"]
    card = files["README.md"].decode()
    assert "step 400, 155,648 parameters" in card
    assert '"data": "half \\ud83d"' in card  # a text that UTF-8 cannot hold
    assert "nanochat export --model hf:some/model" in card
    columns, rules, values = re.findall(r"^\|.*\|$", card, re.MULTILINE)
    assert columns.count("|") == rules.count("|") == values.count("|") == 7
    assert REPO not in hub.private


def test_what_was_uploaded_is_a_source(
    hub: HubStandIn, folder: Path, checkpoint: Checkpoint, tokenizer: Tokenizer
) -> None:
    from nanochat.sources.load import resolve_model

    upload_folder(folder, "some/model", private=True, message="by hand")
    assert REPO in hub.private
    assert hub.commits[0]["message"] == "by hand"
    found = resolve_model("hf:some/model")
    assert load_checkpoint(found.checkpoint_dir).fingerprint == checkpoint.fingerprint
    assert Tokenizer.load(found.tokenizer_dir).fingerprint == tokenizer.fingerprint


def test_steps_gather_and_a_written_card_is_taken(
    hub: HubStandIn, folder: Path, model: GPT
) -> None:
    upload_folder(folder, "some/model")
    save_checkpoint(folder / "checkpoints", model, 700, {})
    (folder / "README.md").write_text("my own")
    with pytest.warns(UserWarning, match="step 700, the newest, is used; also there: 400"):
        upload_folder(folder, "some/model")
    assert {"model_000400.pt", "model_000700.pt"} <= hub.repos[REPO].keys()
    assert hub.repos[REPO]["README.md"] == b"my own"
    (folder.parent / "notes").write_text("SECRET")
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(folder.parent / "notes")
    with pytest.raises(NanochatError, match=r"README.md is a link to .*notes, outside of"):
        upload_folder(folder, "some/model", step=700)
    (folder / "README.md").unlink()
    (folder / "README.md").write_text("my own")
    upload_folder(folder, "some/model", step=700)  # nothing is new
    assert len(hub.commits) == 2


def test_one_of_several_stages_and_models_is_chosen(
    hub: HubStandIn, folder: Path, tmp_path: Path, model: GPT
) -> None:
    for name, step in (("mid_checkpoints/d4", 5), ("chatsft_checkpoints/d4", 6)):
        save_checkpoint(tmp_path / "base" / name, model, step, {})
    shutil.copytree(folder / "tokenizer", tmp_path / "base" / "tokenizer")
    base = tmp_path / "base"
    upload_folder(base, "some/model", stage="sft", tag="d4", mid=base)
    assert {"model_000006.pt", "mid_model_000005.pt"} <= hub.repos[REPO].keys()


def test_faults_of_the_network_are_ridden_out(hub: HubStandIn, folder: Path) -> None:
    hub.fail = [
        ("POST /api/repos/create", 503, 1),
        ("POST /api/models/some/model/commit", 502, 2),
    ]
    upload_folder(folder, "some/model")
    assert len(hub.commits) == 1
    assert len([path for method, path in hub.requests if method == "PUT"]) == 3


def test_a_fault_that_lasts_is_one_line(hub: HubStandIn, folder: Path) -> None:
    hub.fail = [("POST /api/repos/create", 503, 9)]
    with pytest.raises(NanochatError, match=r"some/model: the hub refused: .*503") as caught:
        upload_folder(folder, "some/model")
    assert "\n" not in str(caught.value)
    hub.fail = [("POST /api/repos/create", 0, 9)]
    with pytest.raises(NanochatError, match=r"some/model: the hub was not reached .*disconnected"):
        upload_folder(folder, "some/model")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("checkpoints/meta_000400.json", r"no model_\*\.pt with its"),
        ("checkpoints/model_000400.pt", r"no model_\*\.pt with its"),
        ("tokenizer", r"no tokenizer\.json or tokenizer\.pkl"),
    ],
)
def test_a_folder_without_a_whole_model_sends_nothing(
    hub: HubStandIn, folder: Path, golden_folder: Path, missing: str, message: str
) -> None:
    gone = folder / missing
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(NanochatError, match=message):
        upload_folder(folder, "some/model")
    with pytest.raises(NanochatError, match=message):
        upload_folder(golden_folder, "some/model", mid=folder)
    assert hub.requests == []


def test_a_tokenizer_of_another_model_is_not_sent(hub: HubStandIn, folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")
    Tokenizer.train(["some text"], 265).save(folder / "tokenizer")
    with pytest.raises(NanochatError, match="has 265 tokens, the model 512"):
        upload_folder(folder, "some/model")
    assert hub.requests == []


@pytest.mark.parametrize("name", ["model", "some/model@main", "some/model/x", "a b/c", ""])
def test_names_that_are_no_repository_send_nothing(
    hub: HubStandIn, folder: Path, name: str
) -> None:
    with pytest.raises(NanochatError):
        upload_folder(folder, name)
    assert hub.requests == []


@pytest.mark.parametrize("name", ["a/b--c", "a/b..c", "a/-b", "a/b.git", f"a/{'b' * 97}"])
def test_names_that_the_hub_does_not_allow_send_nothing(
    hub: HubStandIn, folder: Path, name: str
) -> None:
    with pytest.raises(NanochatError, match=f"^the hub allows no such name as '{name}': ") as told:
        upload_folder(folder, name)
    assert "\n" not in str(told.value)
    assert hub.requests == []


def test_a_mid_checkpoint_with_another_tokenizer_is_not_sent(
    hub: HubStandIn, folder: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    mid = shutil.copytree(folder, tmp_path / "mid")
    ranks = {**tokenizer.ranks, b"a": tokenizer.ranks[b"b"], b"b": tokenizer.ranks[b"a"]}
    write_published_tokenizer(
        Tokenizer(tokenizer.pattern, ranks, tokenizer.special), mid / "tokenizer"
    )
    with pytest.raises(NanochatError, match=r"tokenizer of .*mid is not that of .*model: one"):
        upload_folder(folder, "some/model", mid=mid)
    assert hub.requests == []
    upload_folder(mid, "some/model", mid=mid)  # it is a whole model by itself
    assert len(hub.commits) == 1


def test_without_a_token_nothing_is_sent(
    hub: HubStandIn, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(NanochatError, match=r"no token .*`hf auth login`, set HF_TOKEN, or give"):
        upload_folder(folder, "some/model")
    assert hub.requests == []
    with pytest.raises(NanochatError, match=r"some/model: the hub refused: .*`hf auth login`"):
        upload_folder(folder, "some/model", token="hf_wrong")
    upload_folder(folder, "some/model", token="hf_stand_in")
    assert len(hub.commits) == 1


def test_a_public_repository_does_not_become_a_private_one(hub: HubStandIn, folder: Path) -> None:
    hub.repos[REPO] = {}
    with pytest.raises(NanochatError, match="exists and is public: nothing was sent"):
        upload_folder(folder, "some/model", private=True)
    assert hub.commits == []
    assert hub.repos[REPO] == {}
