"""Models on the hub, against a stand-in: what is asked for, by how many, and without a network."""

import hashlib
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stamina

from nanochat.errors import NanochatError
from nanochat.files.hub import split_revision
from nanochat.model.checkpoint import Checkpoint
from nanochat.sources.load import load_model, resolve_model, resolve_tokenizer
from nanochat.tokenizer.tokenizer import Tokenizer
from tests.hub_answers import Reply
from tests.hub_stand_in import HubStandIn, use

REPOSITORY = "models/owner/name"
SOURCE = "hf:owner/name"
RESOLVE = """
import hashlib, sys
from nanochat.sources.load import resolve_model
found = resolve_model(sys.argv[1])
model = (found.checkpoint_dir / f"model_{found.step:06d}.pt").read_bytes()
assert (found.checkpoint_dir / f"meta_{found.step:06d}.json").stat().st_size
assert (found.tokenizer_dir / "tokenizer.pkl").stat().st_size
print(hashlib.sha256(model).hexdigest())
"""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubStandIn]:
    # Four attempts as always, without the waits between them.
    with HubStandIn() as stand_in, stamina.set_testing(True, attempts=4):
        use(monkeypatch, stand_in, tmp_path)
        yield stand_in


@pytest.fixture
def files(golden_folder: Path) -> dict[str, bytes]:
    """A flat repository, as the published ones are."""
    content = {
        path.name: path.read_bytes()
        for path in golden_folder.glob("checkpoints/*")
        if path.is_file()
    }
    for path in golden_folder.glob("tokenizer/*"):
        content[f"tokenizer/{path.name}"] = path.read_bytes()
    return content


@pytest.fixture
def repository(hub: HubStandIn, files: dict[str, bytes]) -> HubStandIn:
    hub.repos[REPOSITORY] = dict(files)
    return hub


def fetched(hub: HubStandIn) -> list[Any]:
    """Names of the files that were sent, each as often as it was."""
    return sorted(path.split("/", 5)[-1] for method, path in hub.requests if _is_get(method, path))


def _is_get(method: str, path: str) -> bool:
    return method == "GET" and "/resolve/" in path


NEEDED = sorted(
    ["meta_000400.json", "model_000400.pt", "tokenizer/token_bytes.pt", "tokenizer/tokenizer.pkl"]
)


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_only_what_is_needed_is_fetched_and_only_once(
    repository: HubStandIn, checkpoint: Checkpoint, tokenizer: Tokenizer
) -> None:
    files = repository.repos[REPOSITORY]
    for name in ("optim_000400.pt", "optim_000400_rank0.pt", "README.md", "model_000900.pt"):
        files[name] = b"large"
    files["mid_model_000813.pt"] = files["mid_meta_000813.json"] = b"of another stage"
    files["model_000300.pt"] = files["meta_000300.json"] = b"an older step"
    with pytest.warns(UserWarning) as told:
        loaded, its_tokenizer = load_model(SOURCE)
    assert loaded.fingerprint == checkpoint.fingerprint
    assert its_tokenizer.fingerprint == tokenizer.fingerprint
    assert [str(warning.message) for warning in told] == [
        "model 'hf:owner/name': what is of no stage is used; also there: stage mid",
        "model 'hf:owner/name': step 400, the newest, is used; also there: 300",
    ]
    assert told[0].filename == __file__
    assert fetched(repository) == NEEDED
    assert resolve_model(SOURCE, step=400, stage="sft").step == 400
    assert fetched(repository) == NEEDED


def test_the_nested_layout(
    hub: HubStandIn, files: dict[str, bytes], checkpoint: Checkpoint
) -> None:
    hub.repos[REPOSITORY] = {
        f"base_checkpoints/d{depth}/{name}": content
        for depth in (2, 10)
        for name, content in files.items()
        if "tokenizer" not in name
    }
    hub.repos[REPOSITORY]["extra/tok/tokenizer.pkl"] = files["tokenizer/tokenizer.pkl"]
    with pytest.warns(UserWarning, match="base_checkpoints/d10 is used; also there: base_checkpoi"):
        assert load_model(SOURCE)[0].fingerprint == checkpoint.fingerprint
    assert fetched(hub) == [
        "base_checkpoints/d10/meta_000400.json",
        "base_checkpoints/d10/model_000400.pt",
        "extra/tok/tokenizer.pkl",
    ]
    assert resolve_model(SOURCE, tag="d2", stage="base").checkpoint_dir.name == "d2"


def test_a_stage_in_the_name_of_the_files(
    hub: HubStandIn,
    files: dict[str, bytes],
    checkpoint: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path / "base"))
    hub.repos[REPOSITORY] = {
        (f"mid_{name}" if "tokenizer" not in name else name): content
        for name, content in files.items()
    }
    hub.repos[REPOSITORY] |= {"model_000700.pt": b"fine-tuned", "meta_000700.json": b"{}"}
    assert load_model(SOURCE, stage="mid")[0].fingerprint == checkpoint.fingerprint
    assert load_model(SOURCE, stage="mid")[0].step == 400  # again, over the links of the first
    assert "model_000700.pt" not in fetched(hub)


def test_a_tokenizer_alone_costs_no_weights(repository: HubStandIn) -> None:
    folder = resolve_tokenizer(SOURCE)
    assert (folder / "tokenizer.pkl").is_file()
    assert fetched(repository) == ["tokenizer/token_bytes.pt", "tokenizer/tokenizer.pkl"]
    repository.repos[REPOSITORY] = {"README.md": b""}
    with pytest.raises(
        NanochatError, match=r"'hf:owner/name': no tokenizer.json or tokenizer.pkl$"
    ):
        resolve_tokenizer(SOURCE)


def test_revisions(repository: HubStandIn, files: dict[str, bytes]) -> None:
    repository.revisions[REPOSITORY] = {"v1": {**files, "model_000400.pt": b"first"}}
    new, old = resolve_model(SOURCE), resolve_model(f"{SOURCE}@v1")
    assert (old.checkpoint_dir / "model_000400.pt").read_bytes() == b"first"
    commit = new.checkpoint_dir.name
    assert resolve_model(f"{SOURCE}@{commit}") == new
    with pytest.raises(NanochatError, match=r"owner/name has no branch, tag or commit v2$"):
        resolve_model(f"{SOURCE}@v2")


def test_all_files_are_of_one_commit(repository: HubStandIn, files: dict[str, bytes]) -> None:
    """A commit between the listing and the last file does not mix two models."""
    real = repository.answer

    def answer(method: str, target: str, token: Any, body: Any) -> Any:
        reply = real(method, target, token, body)
        if method == "GET" and "/resolve/" in target:
            repository.repos[REPOSITORY] = dict.fromkeys(files, b"newer")
        return reply

    repository.answer = answer
    found = resolve_model(SOURCE)
    assert (found.checkpoint_dir / "model_000400.pt").read_bytes() == files["model_000400.pt"]
    assert (found.checkpoint_dir / "meta_000400.json").read_bytes() == files["meta_000400.json"]


def test_offline_mode_uses_the_cache(
    repository: HubStandIn, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.revisions[REPOSITORY] = {"v1": files}
    sources = (SOURCE, f"{SOURCE}@v1")
    online = [resolve_model(source) for source in sources]
    go_offline(monkeypatch)
    repository.requests.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it was asked for
        assert [resolve_model(source) for source in sources] == online
    assert repository.requests == []
    for source in ("hf:owner/other", f"{SOURCE}@v2"):
        with pytest.raises(
            NanochatError,
            match=r"is not in the cache .*HF_HUB_OFFLINE is set: .*`HF_HUB_OFFLINE=0 hf downl",
        ):
            resolve_model(source)
    with pytest.raises(NanochatError, match=r"step 7; steps there: 400; HF_HUB_OFFLINE is set"):
        resolve_model(SOURCE, step=7)


def test_without_a_network_the_cache_is_used_with_a_warning(repository: HubStandIn) -> None:
    online = resolve_model(SOURCE)
    repository.fail = [("/api/models", 0, 99)]  # the connection is cut
    with pytest.warns(UserWarning, match=r"the hub cannot be reached .*; the cache is used"):
        assert resolve_model(SOURCE) == online
    assert 99 - repository.fail[0][2] >= 4
    with pytest.raises(NanochatError, match=r"not in the cache .* cannot be reached .*try again"):
        resolve_model("hf:owner/other")


def test_faults_of_the_network_are_tried_again(repository: HubStandIn) -> None:
    repository.fail = [("GET /api/models", 503, 2), ("GET /owner/name/resolve", 0, 1)]
    assert resolve_model(SOURCE).step == 400
    assert [times for _, _, times in repository.fail] == [0, 0]


def test_a_download_that_fails_for_long_is_told_and_goes_on(repository: HubStandIn) -> None:
    repository.fail = [("GET /owner/name/resolve", 500, 99)]
    with pytest.raises(
        NanochatError, match=r"tokenizer/\S+ was not fetched .*run it again: wh"
    ) as caught:
        resolve_model(SOURCE)
    assert "\n" not in str(caught.value)
    repository.fail = []
    assert resolve_model(SOURCE).step == 400


def refuse(hub: HubStandIn, status: Any, code: Any) -> None:
    def answer(method: str, target: str, token: Any, body: Any) -> Any:
        hub.requests.append((method, target))
        return Reply(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "No."})

    hub.answer = answer


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (404, "RepoNotFound", r"no model owner/name, or it is private: then `hf auth login`, or s"),
        (403, "GatedRepo", r"owner/name is gated: accept its terms .* `hf auth login`, or set HF"),
        (403, "", r"the hub refuses it \("),
    ],
)
def test_refusals_are_one_line_and_final(
    hub: HubStandIn, status: int, code: str, message: str
) -> None:
    refuse(hub, status, code)
    with pytest.raises(NanochatError, match=message) as caught:
        resolve_model(SOURCE)
    assert str(caught.value).startswith("model 'hf:owner/name': ")
    assert "\n" not in str(caught.value)
    assert len(hub.requests) == 1


def test_a_name_that_the_hub_cannot_have(hub: HubStandIn) -> None:
    with pytest.raises(NanochatError, match=r"the hub refuses it \("):
        resolve_model("hf:owner/a..b")
    assert hub.requests == []


def test_a_repository_without_a_model(hub: HubStandIn) -> None:
    hub.repos[REPOSITORY] = {"model.safetensors": b"", "config.json": b"{}"}
    with pytest.raises(NanochatError, match=r"no model_\*.pt .*found: config.json, model.safetens"):
        resolve_model(SOURCE)
    assert fetched(hub) == []


def start() -> Any:
    command = [sys.executable, "-W", "error", "-c", RESOLVE, SOURCE]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_four_processes_fetch_each_file_once(
    repository: HubStandIn, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.slow["GET /owner/name/resolve"] = 0.02
    workers = [start() for _ in range(4)]
    said = [worker.communicate(timeout=60)[0].strip() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4
    assert set(said) == {hashlib.sha256(files["model_000400.pt"]).hexdigest()}
    assert fetched(repository) == NEEDED
    repository.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert start().communicate(timeout=60)[0].strip() == said[0]
    assert repository.requests == []


def test_a_process_killed_in_the_middle_leaves_nothing_half(
    repository: HubStandIn, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.slow["model_000400.pt"] = 0.1
    worker = start()
    try:
        deadline = time.monotonic() + 60
        while "model_000400.pt" not in fetched(repository):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.communicate(timeout=60)
    repository.slow.clear()
    with monkeypatch.context() as patch:
        go_offline(patch)
        with pytest.raises(NanochatError, match=r"found: meta_000400.json; HF_HUB_OFFLINE is set"):
            resolve_model(SOURCE)
    found = resolve_model(SOURCE)
    assert (found.checkpoint_dir / "model_000400.pt").read_bytes() == files["model_000400.pt"]


def test_split_revision() -> None:
    assert split_revision("hf:karpathy/nanochat-d34@refs/pr/1") == (
        "karpathy/nanochat-d34",
        "refs/pr/1",
    )
    assert split_revision("hf:gpt2") == ("gpt2", None)


def test_names_that_lead_out_of_the_folder_are_refused(
    repository: HubStandIn, files: dict[str, bytes]
) -> None:
    repository.repos[REPOSITORY] = {**files, "../../tokenizer.json": b"{}"}
    with pytest.raises(NanochatError, match=r"it names the file '\.\./\.\./tokenizer\.json'"):
        resolve_model(SOURCE)
    assert fetched(repository) == []
