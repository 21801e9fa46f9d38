"""Paths that users write: refused in words where no path can be one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanochat.data.conversations import is_file, load_conversations, location
from nanochat.errors import NanochatError, user_path
from nanochat.sources.load import check_place, resolve_model

ODD = ["a\0b", "~nobody-of-that-name/x", "n" * 5000]


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize(
    "reader", [user_path, is_file, load_conversations, check_place, resolve_model]
)
def test_a_text_that_no_path_can_be_is_refused_by_every_reader(
    reader: Callable[[str], Any], text: str
) -> None:
    with pytest.raises(NanochatError, match="cannot be used as a path") as refusal:
        reader(text)
    assert len(str(refusal.value)) < 600


def test_the_split_of_an_odd_place_is_refused() -> None:
    with pytest.raises(NanochatError, match="cannot be used as a path"):
        location("a\0b", "train")


def test_a_path_need_not_exist_and_a_file_may_stand_where_a_folder_is_meant(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    for name in ("new", "file", "file/below"):
        assert user_path(tmp_path / name) == tmp_path / name


def test_a_folder_that_may_not_be_looked_into_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("nanochat.errors.os.lstat", refused)
    with pytest.raises(NanochatError, match="as a path: Permission denied"):
        user_path(tmp_path)
