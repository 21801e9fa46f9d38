"""The folder for compiled code: private, and none of another user."""

import os
import stat
import tempfile
from pathlib import Path

import pytest
import torch
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from nanochat.errors import NanochatError
from nanochat.model.compile import compiled


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return torch's default folder, below a temporary folder of this test."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: function)
    return Path(default_cache_dir())


def mode(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


def test_the_folder_for_compiled_code_is_private(cache: Path) -> None:
    compiled(lambda x: x)
    assert mode(cache) == 0o700
    cache.chmod(0o777)
    compiled(lambda x: x)
    assert mode(cache) == 0o700


def test_a_folder_of_another_user_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir(mode=0o777)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(NanochatError, match="TORCHINDUCTOR_CACHE_DIR to a folder of your own"):
        compiled(lambda x: x)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache.parent / "own"))
    compiled(lambda x: x)


def test_a_link_is_refused(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    cache.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NanochatError, match="TORCHINDUCTOR_CACHE_DIR"):
        compiled(lambda x: x)
