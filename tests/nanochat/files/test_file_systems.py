"""File systems that refuse to sync folders, or to lock files."""

import errno
import fcntl
import multiprocessing
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import wandb

from nanochat.errors import NanochatError
from nanochat.files import file_systems, hub
from nanochat.files.atomic import write_atomically
from nanochat.files.base_dir import base_dir
from nanochat.files.file_systems import locked
from nanochat.sources.load import resolve_model
from tests.nanochat.fake_wandb import make_api


@pytest.fixture(autouse=True)
def unnoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_systems, "_noted", set())


def refuse_sync(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    real = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)


def refuse_lock(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def flock(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM])
def test_folders_that_cannot_be_synced_cost_one_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    refuse_sync(monkeypatch, code)
    with pytest.warns(UserWarning, match="does not sync folders") as notes:
        write_atomically(tmp_path / "a", lambda file: file.write(b"1"))
        write_atomically(tmp_path / "folder/b", lambda file: file.write(b"2"))
    assert len(notes) == 1
    assert (tmp_path / "a").read_bytes() == b"1"
    assert (tmp_path / "folder/b").read_bytes() == b"2"


def test_a_fault_of_the_disk_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_sync(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        write_atomically(tmp_path / "a", lambda file: file.write(b"1"))


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_the_work_goes_on_with_one_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    refuse_lock(monkeypatch, code)
    with pytest.warns(UserWarning, match="has no file locks .*: two may write") as notes:
        for name in ("a", "b"):
            with locked(tmp_path / name, "two may write") as alone:
                assert not alone
    assert len(notes) == 1


def test_another_fault_of_a_lock_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_lock(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"), locked(tmp_path / "a", ""):
        pass


def _hold(path: Path, held: Any, over: Any) -> None:
    with locked(path, ""):
        held.set()
        over.wait(60)


def test_a_lock_keeps_other_processes_out(tmp_path: Path) -> None:
    from filelock import Timeout

    context = multiprocessing.get_context("spawn")
    held, over = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "a", held, over))
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(Timeout), locked(tmp_path / "a", "", timeout=0.05):
            pass
    finally:
        over.set()
        other.join()
    with locked(tmp_path / "a", "", timeout=0.05) as alone:
        assert alone


def test_an_artifact_is_fetched_aside_where_there_are_no_locks(
    tmp_path: Path, golden_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    for part in ("checkpoints", "tokenizer"):
        shutil.copytree(golden_folder / part, store / "team/proj/run/v7" / part)
    (store / "sent").touch()
    monkeypatch.setattr(wandb, "Api", make_api(store))
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path / "base"))
    monkeypatch.setenv("FAKE_WANDB_STORE", str(store))
    monkeypatch.setenv("FAKE_WANDB_PAUSE", "0")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    refuse_lock(monkeypatch, errno.ENOLCK)
    # Another process is in the middle of the same download.
    other = base_dir() / "artifacts/team/proj/run/.v7.tmp/checkpoints/model_000400.pt"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"half")
    with pytest.warns(UserWarning, match="has no file locks"):
        found = resolve_model("wandb:team/proj/run:v7")
    assert other.read_bytes() == b"half"
    kept = sorted(path.name for path in other.parents[2].iterdir())
    assert kept == [".v7.lock", ".v7.tmp", "v7"]
    model = "checkpoints/model_000400.pt"
    assert (found.checkpoint_dir / "model_000400.pt").read_bytes() == (
        golden_folder / model
    ).read_bytes()


def test_a_cache_of_the_hub_without_locks_is_named() -> None:
    refusal = hub._refusal("hf:owner/name", OSError(errno.ENOLCK, "No locks available"), "x.pt")
    assert isinstance(refusal, NanochatError)
    assert "set HF_HOME to a folder on a local disk" in str(refusal)
