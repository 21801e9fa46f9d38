"""SIGTERM and SIGINT while a command loads its libraries and starts Ray: nothing is left."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

_STAGES = "stages=[{grid: {points: 257}}]"  # longer than the last moment


@pytest.fixture
def short() -> Iterator[Path]:
    """Make a folder with a short path for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp") as folder:
        yield Path(folder)


def session(leader: int) -> list[psutil.Process]:
    """List the processes of a session."""
    members = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
        except (psutil.Error, OSError):
            continue
    return members


def wait_for_handlers(process: subprocess.Popen[bytes]) -> None:
    """Wait until a command has loaded Python and handles SIGTERM; before, the signal ends it."""
    bit = 1 << (signal.SIGTERM - 1)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        status = Path(f"/proc/{process.pid}/status").read_text()
        (caught,) = (line.split()[1] for line in status.splitlines() if "SigCgt" in line)
        if int(caught, 16) & bit:
            return
        time.sleep(0.005)
    raise AssertionError("the command handles no SIGTERM")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("moment", [0.0, 0.1, 0.4, 1.0, 1.8, 3.0, 5.0, 8.0])
def test_a_signal_during_the_start_leaves_nothing(short: Path, number: int, moment: float) -> None:
    temporary, errors = short / "t", short / "errors"
    temporary.mkdir()
    command = [sys.executable, "-m", "fractal_ray", "run", "sweeps/weierstrass.yaml"]
    command += ["--set", _STAGES, "--set", "points_per_tile=2", "--num-cpus", "2"]
    names = {"RAY_TMPDIR": str(temporary), "TMPDIR": str(temporary)}
    with errors.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--storage", str(short)],
            env={**os.environ, **names},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    wait_for_handlers(process)
    time.sleep(moment)
    assert process.poll() is None, "the sweep is over before the signal"
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    code = process.wait(timeout=90)
    deadline = time.monotonic() + 10
    while (left := [*session(process.pid), *psutil.wait_procs(below, 0)[1]]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.2)
    for each in left:
        each.kill()
    assert left == []
    assert list(temporary.iterdir()) == []
    text = errors.read_text()
    assert code == 130, text
    assert "Traceback" not in text
