"""NVIDIA's Multi-Process Service for the time of a measurement, with folders of its own.

Source: https://docs.nvidia.com/deploy/mps/index.html. Without it processes on a card take turns;
with it their kernels run at the same time.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAM = "nvidia-cuda-mps-control"
PATIENCE = 30.0  # seconds for each of its answers


class MpsError(Exception):
    """An error: MPS did not start or did not serve."""


@contextmanager
def no_mps() -> Iterator[Mapping[str, str]]:
    """Yield the environment of a process that must not use an MPS of the machine."""
    with tempfile.TemporaryDirectory(prefix="no-mps-") as empty:
        yield {"CUDA_MPS_PIPE_DIRECTORY": empty}


@contextmanager
def mps() -> Iterator[tuple[Mapping[str, str], Callable[[], bool]]]:
    """Yield the environment of MPS clients, and a call that tells whether their server is up.

    Raises
    ------
    MpsError
        Where the program is not there or does not start.
    """
    if shutil.which(PROGRAM) is None:
        raise MpsError(f"{PROGRAM} is not on the PATH")
    with tempfile.TemporaryDirectory(prefix="mps-") as folder:
        pipe = Path(folder, "pipe")
        clients = {
            "CUDA_MPS_PIPE_DIRECTORY": str(pipe),
            "CUDA_MPS_LOG_DIRECTORY": str(Path(folder, "log")),
        }
        for path in clients.values():
            Path(path).mkdir()
        _control(clients, "-d")
        try:
            yield clients, lambda: bool(_control(clients, said="get_server_list").split())
        finally:
            try:
                _control(clients, said="quit")
            except MpsError as error:
                # Without its folder nobody can reach the daemon any more.
                with suppress(OSError, ValueError):
                    os.kill(int((pipe / f"{PROGRAM}.pid").read_text()), signal.SIGKILL)
                print(f"MPS had to be killed: {error}")


def _control(environment: Mapping[str, str], *arguments: str, said: str = "") -> str:
    """Run the control program and return its answer."""
    command = [PROGRAM, *arguments]
    name = " ".join([*command, said]).strip()
    # Output goes to a file: a daemon may keep its output open, and a pipe would never end.
    with tempfile.TemporaryFile("w+") as output:
        try:
            done = subprocess.run(
                command,
                input=said + "\n",
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MpsError(f"{name}: {error}") from error
        output.seek(0)
        answer = output.read().strip()
    if done.returncode:
        raise MpsError(f"{name} ended with {done.returncode}: {answer or 'without a word'}")
    return answer
