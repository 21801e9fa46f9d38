"""Artifacts of W&B: fetched once, whole or not at all, and used without a network."""

import hashlib
import inspect
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import stamina
import wandb

from nanochat.errors import NanochatError
from nanochat.files.artifacts import split_artifact
from nanochat.files.base_dir import base_dir
from nanochat.model.checkpoint import Checkpoint
from nanochat.sources.load import check_source, load_model, resolve_model, resolve_tokenizer
from nanochat.tokenizer.tokenizer import Tokenizer
from tests.nanochat.fake_wandb import Artifact, make_api
from tests.nanochat.wandb_stand_in import WandbStandIn

SOURCE = "wandb:team/proj/d20-run:v7"
RESOLVE = """
import hashlib, sys
from tests.nanochat.fake_wandb import install
install()
from nanochat.sources.load import resolve_model
found = resolve_model(sys.argv[1])
model = (found.checkpoint_dir / f"model_{found.step:06d}.pt").read_bytes()
assert (found.checkpoint_dir / f"meta_{found.step:06d}.json").stat().st_size
assert (found.tokenizer_dir / "tokenizer.pkl").stat().st_size
print(hashlib.sha256(model).hexdigest())
"""
NEEDED = [
    "v7/checkpoints/meta_000400.json",
    "v7/checkpoints/model_000400.pt",
    "v7/tokenizer/token_bytes.pt",
    "v7/tokenizer/tokenizer.pkl",
]


@pytest.fixture
def store(tmp_path: Path, golden_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An artifact as a fine-tune's, behind an API that is not asked for a key."""
    store = tmp_path / "store"
    for part in ("checkpoints", "tokenizer"):
        shutil.copytree(golden_folder / part, store / "team/proj/d20-run/v7" / part)
    (store / "team/proj/d20-run/v7/report.md").write_text("large")
    (store / "team/proj/d20-run/latest").write_text("v7")
    (store / "sent").touch()
    monkeypatch.setattr(wandb, "Api", make_api(store))
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path / "base"))
    monkeypatch.setenv("FAKE_WANDB_STORE", str(store))
    monkeypatch.setenv("FAKE_WANDB_PAUSE", "0")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with stamina.set_testing(True, attempts=4):
        yield store


@pytest.fixture
def version(store: Path) -> Path:
    return store / "team/proj/d20-run/v7"


def sent(store: Path) -> list[Any]:
    return sorted((store / "sent").read_text().split())


def test_what_is_needed_is_fetched_once(
    store: Path, version: Path, checkpoint: Checkpoint, tokenizer: Tokenizer
) -> None:
    for name in ("model_000300.pt", "meta_000300.json", "optim_000400.pt"):
        (version / "checkpoints" / name).write_text("other")
    with pytest.warns(UserWarning, match=r"'wandb:team/proj/d20-run:v7': step 400, the newest, is"):
        loaded, its_tokenizer = load_model(SOURCE)
    assert loaded.fingerprint == checkpoint.fingerprint
    assert its_tokenizer.fingerprint == tokenizer.fingerprint
    assert sent(store) == NEEDED
    found = resolve_model(SOURCE, step=400)
    assert found.checkpoint_dir == base_dir() / "artifacts/team/proj/d20-run/v7/checkpoints"
    assert sent(store) == NEEDED
    assert resolve_model(SOURCE, step=300).step == 300  # beside the other one
    assert sorted(path.name for path in found.checkpoint_dir.iterdir()) == [
        "meta_000300.json",
        "meta_000400.json",
        "model_000300.pt",
        "model_000400.pt",
    ]
    kept = base_dir() / "artifacts/team/proj/d20-run"
    assert not list(kept.glob("*.tmp")) + list(kept.glob(".*.tmp"))


def test_the_flat_layout(store: Path, golden_folder: Path, checkpoint: Checkpoint) -> None:
    for part in ("checkpoints", "tokenizer"):
        shutil.copytree(golden_folder / part, store / "team/proj/flat/v0", dirs_exist_ok=True)
    assert load_model("wandb:team/proj/flat:v0")[0].fingerprint == checkpoint.fingerprint


@pytest.mark.parametrize("lost", ["checkpoints/meta_000400.json", "checkpoints/model_000400.pt"])
def test_a_cache_with_half_a_checkpoint_is_redone(store: Path, version: Path, lost: str) -> None:
    kept = base_dir() / "artifacts/team/proj/d20-run/v7"
    shutil.copytree(version, kept)
    (kept / "checkpoints/model_000400.pt").write_bytes(b"cut short")
    (kept / lost).unlink()
    found = resolve_model(SOURCE)
    assert sent(store) == NEEDED
    for name in ("model_000400.pt", "meta_000400.json"):
        expected = (version / "checkpoints" / name).read_bytes()
        assert (found.checkpoint_dir / name).read_bytes() == expected


def test_a_cached_file_of_another_length_is_redone(store: Path, version: Path) -> None:
    found = resolve_model(SOURCE)
    model = found.checkpoint_dir / "model_000400.pt"
    model.write_bytes(model.read_bytes()[:-1])
    resolve_model(SOURCE)
    assert model.read_bytes() == (version / "checkpoints/model_000400.pt").read_bytes()


def test_a_tokenizer_alone_costs_no_weights(store: Path) -> None:
    assert (resolve_tokenizer(SOURCE) / "tokenizer.pkl").is_file()
    assert sent(store) == NEEDED[2:]


def test_an_alias_is_the_version_that_it_means_now(
    store: Path, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "wandb:team/proj/d20-run:latest"
    assert resolve_model(source) == resolve_model(SOURCE)
    assert sent(store) == NEEDED
    shutil.copytree(version, version.with_name("v8"))
    (store / "team/proj/d20-run/latest").write_text("v8")
    assert resolve_model(source).checkpoint_dir.parent.name == "v8"
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.warns(UserWarning, match="latest was v8 when W&B was last asked; it is used"):
        assert resolve_model(source).checkpoint_dir.parent.name == "v8"
    with pytest.raises(NanochatError, match=r"never asked; fetched: v7, v8; WANDB_MODE is offline"):
        resolve_model("wandb:team/proj/d20-run:best")


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_offline_modes_use_the_cache(
    store: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    online = resolve_model(SOURCE)
    monkeypatch.setattr(wandb, "Api", None)  # not to be asked
    monkeypatch.setenv("WANDB_MODE", mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it was asked for
        assert resolve_model(SOURCE) == online
    with pytest.raises(NanochatError, match=f"found: nothing; WANDB_MODE is {mode}: unset it once"):
        resolve_model("wandb:team/proj/d20-run:v8")


def unreachable() -> None:
    try:
        raise TimeoutError("no answer")
    except TimeoutError as error:
        raise wandb.errors.AuthenticationError("Failed to verify") from error


def test_without_a_network_the_cache_is_used_with_a_warning(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = resolve_model(SOURCE)
    monkeypatch.setattr(wandb, "Api", unreachable)
    with pytest.warns(
        UserWarning, match=r"W&B cannot be reached \(Failed to verify\); the cache i"
    ):
        assert resolve_model(SOURCE) == online
    with pytest.raises(NanochatError, match=r"found: nothing; W&B cannot be reached .*try again"):
        resolve_model("wandb:team/proj/d20-run:v8")


def test_refusals_are_one_line(store: Path) -> None:
    with pytest.raises(NanochatError, match=r"'wandb:team/proj/none:v1': W&B refuses it \(artifac"):
        resolve_model("wandb:team/proj/none:v1")
    (store / "team/proj/text/v0").mkdir(parents=True)
    (store / "team/proj/text/v0/model_out.tar.gz").touch()
    with pytest.raises(NanochatError, match=r"found: model_out.tar.gz$"):
        resolve_model("wandb:team/proj/text:v0")


def test_faults_of_the_network_are_tried_again(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Artifact.download, []

    def flaky(self: Any, root: str, path_prefix: str, skip_cache: bool) -> Any:
        calls.append(path_prefix)
        if len(calls) < 4:
            raise ConnectionResetError("gone")
        return real(self, root, path_prefix, skip_cache)

    monkeypatch.setattr(Artifact, "download", flaky)
    resolve_model(SOURCE)
    assert calls[:4] == ["tokenizer/token_bytes.pt"] * 4
    assert sent(store) == NEEDED


@pytest.mark.parametrize("error", [ConnectionResetError("gone"), None])
def test_a_download_that_fails_leaves_nothing_to_be_found(
    store: Path, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    def fail(self: Any, root: str, path_prefix: str, skip_cache: bool) -> None:
        if error is not None:
            raise error
        Path(root, path_prefix).parent.mkdir(parents=True, exist_ok=True)
        Path(root, path_prefix).write_bytes(b"cut short")

    with monkeypatch.context() as patch:
        patch.setattr(Artifact, "download", fail)
        with pytest.raises(
            NanochatError, match=r"not fetched \(gone\)|token_bytes.pt came incompl"
        ):
            resolve_model(SOURCE)
    assert not (base_dir() / "artifacts/team/proj/d20-run/v7").exists()
    assert resolve_model(SOURCE).step == 400


def start(pause: Any) -> Any:
    root = Path(__file__).parents[3]
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", RESOLVE, SOURCE],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "FAKE_WANDB_PAUSE": str(pause)},
    )


def test_four_processes_fetch_each_file_once(store: Path, version: Path) -> None:
    workers = [start(pause=0.02) for _ in range(4)]
    said = [worker.communicate(timeout=60)[0].strip() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4
    model = (version / "checkpoints/model_000400.pt").read_bytes()
    assert set(said) == {hashlib.sha256(model).hexdigest()}
    assert sent(store) == NEEDED


def test_a_process_killed_in_the_middle_leaves_nothing_half(
    store: Path, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = start(pause=0.1)
    building = base_dir() / "artifacts/team/proj/d20-run/.v7.tmp/checkpoints/model_000400.pt"
    try:
        deadline = time.monotonic() + 60
        while not (building.exists() and building.stat().st_size):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.communicate(timeout=60)
    assert building.stat().st_size < (version / "checkpoints/model_000400.pt").stat().st_size
    with monkeypatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        with pytest.raises(NanochatError, match="found: nothing"):
            resolve_model(SOURCE)
    found = resolve_model(SOURCE)
    model = (version / "checkpoints/model_000400.pt").read_bytes()
    assert (found.checkpoint_dir / "model_000400.pt").read_bytes() == model
    assert not building.exists()


def test_forms() -> None:
    assert split_artifact(SOURCE) == ("team", "proj", "d20-run", "v7")
    check_source(SOURCE)
    for source in ("a/b:v1", "a/b/c", "a/b/c:", "a/b/c:v1:v2", "../b/c:v1", "a/../c:v1", "a/b/c:."):
        with pytest.raises(NanochatError, match=r"form wandb:entity/project/name:version$"):
            check_source(f"wandb:{source}")


def test_the_stand_in_is_called_as_the_real_one_may_be(tmp_path: Path) -> None:
    """The real library, without a server: names of arguments, and of what a manifest holds."""
    inspect.signature(wandb.Api.artifact).bind(None, "team/proj/name:v1")
    arguments = inspect.signature(Artifact.download).parameters
    assert set(arguments) <= set(inspect.signature(wandb.Artifact.download).parameters)
    assert isinstance(wandb.Artifact.version, property)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/model_000001.pt").write_bytes(b"12345")
    artifact = wandb.Artifact("name", "model")
    artifact.add_dir(str(tmp_path))
    entries = {name: entry.size for name, entry in artifact.manifest.entries.items()}
    assert entries == {"checkpoints/model_000001.pt": 5}


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real library in child processes, with folders of its own and no user."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path / "base"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def resolve_with_the_real_library(source: Any) -> Any:
    code = (
        "import sys, nanochat.sources.load as s\n"
        "try: found = s.resolve_model(sys.argv[1])\n"
        "except s.NanochatError as error: sys.exit(f'error: {error}')\n"
        "print(found.step, *sorted(path.name for path in found.checkpoint_dir.iterdir()))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, source],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def test_the_real_library_and_a_server(
    alone: Any, golden_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        f"{part}/{path.name}": path.read_bytes()
        for part in ("checkpoints", "tokenizer")
        for path in (golden_folder / part).iterdir()
    }
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with WandbStandIn({**files, "checkpoints/optim_000400.pt": b"large"}) as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        done = resolve_with_the_real_library("wandb:team/proj/run:latest")
    assert done.stdout == "400 meta_000400.json model_000400.pt\n", done.stderr
    assert sorted(server.sent) == sorted(files)
    folder = base_dir() / "artifacts/team/proj/run/v7"
    assert all((folder / name).read_bytes() == files[name] for name in files)
    monkeypatch.setenv("WANDB_MODE", "offline")
    again = resolve_with_the_real_library("wandb:team/proj/run:v7")
    assert (again.stdout, again.stderr) == (done.stdout, "")


def test_the_real_library_without_a_user(alone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    done = resolve_with_the_real_library("wandb:team/proj/run:v7")
    assert "knows no user here: `wandb login`, or set WANDB_API_KEY" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: model 'wandb:team/proj/run:v7': ")


def add_entry(monkeypatch: pytest.MonkeyPatch, name: str, content: Path) -> None:
    """Let the manifest name one more file, with the size of `content`."""
    real = Artifact.__init__

    def init(self: Any, *arguments: Any) -> None:
        real(self, *arguments)
        self.manifest.entries[name] = SimpleNamespace(size=content.stat().st_size)

    monkeypatch.setattr(Artifact, "__init__", init)


@pytest.mark.parametrize("kind", ["absolute", "parent", "hidden parent"])
def test_an_entry_that_leads_out_of_the_folder_is_refused(
    store: Path, version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A file of another program has the right length: it was taken for one that was fetched."""
    other = tmp_path / "other/tokenizer.json"
    other.parent.mkdir()
    Tokenizer.train(["some other text"], 265).save(other.parent)
    shutil.rmtree(version / "tokenizer")
    above = "../" * len(base_dir().parts) + str(other).lstrip("/")
    name = {"absolute": str(other), "parent": above, "hidden parent": f"a/{above}"}[kind]
    add_entry(monkeypatch, name, other)
    message = r"'wandb:team/proj/d20-run:v7': it names the file .*, which leads out of its folder"
    for call in (resolve_model, resolve_tokenizer):
        with pytest.raises(NanochatError, match=message):
            call(SOURCE)
    assert sent(store) == []


def test_a_link_in_the_cache_is_refused(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = resolve_model(SOURCE)
    outside = tmp_path / "outside"
    found.tokenizer_dir.rename(outside)
    found.tokenizer_dir.symlink_to(outside)
    message = r"v7/tokenizer/token_bytes\.pt is a link that leads out of .*outside/token_bytes\.pt"
    with pytest.raises(NanochatError, match=message):
        resolve_model(SOURCE)
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(NanochatError, match=message):
        resolve_model(SOURCE)
    shutil.rmtree(found.tokenizer_dir.parent)  # as the message says
    monkeypatch.delenv("WANDB_MODE")
    assert resolve_model(SOURCE).tokenizer_dir.resolve().is_relative_to(base_dir())


def test_a_link_that_was_fetched_is_refused(
    store: Path, version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries may be references, which a client may keep as links."""
    outside = tmp_path / "outside.pkl"
    shutil.copy(version / "tokenizer/tokenizer.pkl", outside)

    def link(self: Any, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(outside if target.name == "tokenizer.pkl" else source)

    monkeypatch.setattr(Artifact, "_copy", link)
    with pytest.raises(NanochatError, match="is a link that leads out of its folder"):
        resolve_model(SOURCE)
    assert not (base_dir() / "artifacts/team/proj/d20-run/v7").exists()


def test_versions_that_are_paths_are_refused(
    store: Path, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "wandb:team/proj/d20-run:latest"
    resolve_model(source)
    alias = base_dir() / "artifacts/team/proj/d20-run/latest.alias"
    shutil.copytree(version, base_dir() / "artifacts/team/proj/elsewhere")
    alias.write_text("../elsewhere")
    with monkeypatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        with pytest.raises(NanochatError, match=r"latest\.alias is damaged: .*'\.\./elsewhere'"):
            resolve_model(source)
    real = Artifact.__init__

    def init(self: Any, *arguments: Any) -> None:
        real(self, *arguments)
        self.version = "../elsewhere"

    monkeypatch.setattr(Artifact, "__init__", init)
    with pytest.raises(NanochatError, match=r"answers with version '\.\./elsewhere', not with vN"):
        resolve_model(source)
