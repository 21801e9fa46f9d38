"""Files of a run on a Ray of our own: other users can neither read nor write them."""

import contextlib
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import ray

from fractal_ray.cli.main import app
from fractal_ray.sweep import Sweep
from tests.fractal_ray.sample_workloads import Disc

Maker = Callable[..., Sweep]
NOBODY = 65534
CODE = (Path(__file__).resolve().parents[3], Path(sys.prefix))


def is_private(folder: Path) -> bool:
    facts = folder.lstat()
    mode = stat.S_IMODE(facts.st_mode)
    return stat.S_ISDIR(facts.st_mode) and (mode, facts.st_uid) == (0o700, os.geteuid())


def temporary_folders() -> list[Path]:
    """List the folders that all users of this machine may write to."""
    folders = {Path(name).resolve() for name in ("/tmp", "/var/tmp", "/dev/shm", "/run/lock")}
    return [folder for folder in folders if folder.is_dir() and folder.stat().st_mode & 0o002]


def files_in_use() -> Iterator[Path]:
    """Yield files and sockets that this process and those that it has started have open."""
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            yield from (Path(file.path) for file in process.open_files())
            sockets = process.net_connections("unix")
            yield from (Path(socket.laddr) for socket in sockets if socket.laddr.startswith("/"))


def exposed(path: Path) -> bool:
    """Return True for an existing path in a shared folder without a private folder in between."""
    code = any(folder in path.parents for folder in CODE)
    if code or not path.exists():  # Ray's object store has no name after its start
        return False
    shared = [folder for folder in temporary_folders() if folder in path.parents]
    inside = (parent for parent in path.parents for folder in shared if folder in parent.parents)
    return bool(shared) and not any(is_private(parent) for parent in inside)


@pytest.fixture
def session(ray_session: None) -> Path:
    return Path(ray._private.worker._global_node.get_session_dir_path())


@pytest.mark.skipif(sys.platform != "linux", reason="psutil lists open files of Linux")
def test_all_that_a_run_has_open_lies_below_private_folders(
    session: Path, make_sweep: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-of-aws")
    # Other tests of this process, and whoever redirects its output, have files open as well.
    foreign = {path for path in files_in_use() if session not in path.parents}
    used: set[Path] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            used.update(files_in_use())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        make_sweep(Disc(seconds=0.02)).run("ray")
    finally:
        over.set()
        looking.join()
    assert any(session in path.parents and "sockets" in path.parts for path in used)
    assert any(session in path.parents and "logs" in path.parts for path in used)
    assert [path for path in used - foreign if exposed(path)] == []
    assert is_private(session.parents[1])
    owners = {path.lstat().st_uid for path in session.rglob("*")}
    assert owners == {os.geteuid()}
    files = [path for path in session.rglob("*") if path.is_file()]
    assert not [path for path in files if b"canary-of-aws" in path.read_bytes()]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root becomes nobody")
def test_another_user_neither_lists_nor_changes_the_session(session: Path) -> None:
    top = session.parents[1]
    log = next(path for path in (session / "logs").iterdir() if path.is_file())
    commands = [
        *(f"ls {top}", f"ls {session}", f"ls {session}/logs", f"cat {log}"),
        *(f"touch {session}/new", f"touch {session}/logs/new", f"touch {top}/new"),
        *(f"mv {log} {log}.moved", f"ln -sf /etc/passwd {log}", f"rm -rf {session}/logs"),
        *(f"mv {session}/sockets {session}/gone", f"mv {top} {top}.moved"),
    ]
    before = sorted(session.rglob("*.log"))

    def code(command: str) -> int:
        program = ["/bin/sh", "-c", command]
        other = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        return subprocess.run(program, cwd="/", capture_output=True, **other).returncode

    if code(f"ls {top.parent}") != 0:
        pytest.skip(f"other users cannot enter {top.parent} at all")
    assert [command for command in commands if code(command) == 0] == []
    assert set(before) <= set(session.rglob("*.log"))


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_all_beside_a_dataset_has_the_umask(
    make_sweep: Maker, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(umask)
    try:
        sweep = make_sweep()
        sweep.run("local")
        for command in ("report", "plot"):
            monkeypatch.setattr(sys, "argv", ["fractal-ray", command, sweep.location])
            with pytest.raises(SystemExit) as ended:
                app()
            assert not ended.value.code
    finally:
        os.umask(before)
    below = [Path(sweep.location), *Path(sweep.location).rglob("*")]
    assert {path.suffix for path in below} >= {".json", ".parquet", ".png", ".html"}
    for path in below:
        expected = (0o777 if path.is_dir() else 0o666) & ~umask
        assert stat.S_IMODE(path.stat().st_mode) == expected, path
