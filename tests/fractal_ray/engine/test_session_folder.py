"""The private folder of a Ray of our own: its mode, its place, and what is left behind."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fractal_ray.engine.cluster import session_folder as module
from fractal_ray.engine.cluster.session_folder import note_on_open_folder, session_folder
from fractal_ray.errors import SweepError

_HOLD = """
import os, sys
from fractal_ray.engine.cluster.session_folder import session_folder
with session_folder() as path:
    os.makedirs(path + "/session/logs")
    print(path, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make an empty folder with a short path the only temporary one."""
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


def start_holder() -> tuple[subprocess.Popen[str], Path]:
    """Start a process that holds a session folder; return both."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", _HOLD], **pipes)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def end(process: subprocess.Popen[str], number: int) -> None:
    process.send_signal(number)
    process.communicate(timeout=20)


def test_the_folder_is_private_and_removed_at_the_end(short: Path) -> None:
    with session_folder() as path:
        (folder,) = short.iterdir()
        assert Path(path).parent == folder
        assert folder.stat().st_mode & 0o777 == 0o700
        Path(path).mkdir(mode=0o777)
        (Path(path) / "file").write_text("")
    assert list(short.iterdir()) == []


def test_a_long_temporary_folder_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("n" * 90)
    long.mkdir()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with session_folder() as path:
        assert path.startswith(("/tmp/", "/var/tmp/"))
        assert len(os.fsencode(path + module._BELOW)) <= module._LONGEST_SOCKET
    assert not Path(path).parent.exists()


def test_no_folder_that_fits_is_a_refusal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bases = [tmp_path / ("n" * 90), Path("/proc/none")]
    monkeypatch.setattr(module, "_bases", lambda: bases)
    words = r"bytes too long; /proc/none: .* Set RAY_TMPDIR"
    with pytest.raises(SweepError, match=words), session_folder():
        pass


def test_what_a_killed_process_left_is_removed_at_the_next_start(short: Path) -> None:
    killed, abandoned = start_holder()
    end(killed, signal.SIGKILL)
    assert abandoned.exists()
    with session_folder() as path:
        assert [Path(path).parent] == list(short.iterdir())


def test_the_folder_of_a_living_process_stays(short: Path) -> None:
    process, held = start_holder()
    with session_folder() as path:
        assert {Path(path).parent, held.parent} == set(short.iterdir())
    assert held.exists()
    end(process, signal.SIGKILL)


def test_links_and_files_of_that_name_stay(short: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    (short / f"{module._PREFIX}link").symlink_to(precious)
    (short / f"{module._PREFIX}file").write_text("kept")
    with session_folder():
        pass
    assert (precious / "file").read_text() == "kept"
    assert len(list(short.iterdir())) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make files of another user")
def test_folders_of_other_users_stay(short: Path) -> None:
    other = short / f"{module._PREFIX}other"
    other.mkdir()
    os.chown(other, 65534, 65534)
    with session_folder():
        pass
    assert other.exists()


def test_a_folder_that_others_can_write_to_is_named(short: Path) -> None:
    private = short / "private"
    session = private / "session"
    session.mkdir(parents=True)
    for folder, mode, is_open in [
        (session, 0o755, False),
        (session, 0o777, False),  # nobody else gets into `short`
        (short, 0o755, True),
        (private, 0o700, False),
        (private, 0o711, True),
        (session, 0o1755, False),
    ]:
        folder.chmod(mode)
        warning = note_on_open_folder(session)
        assert bool(warning) == is_open, (folder, oct(mode))
    assert note_on_open_folder(short / "nowhere") is None
    session.chmod(0o777)
    words = f"other users of this machine can write to {session}"
    assert words in (note_on_open_folder(session) or "")
