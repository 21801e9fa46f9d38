"""Surroundings of all tests: caches of the test session, and no cluster of the user."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


TEMPORARY = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Give the session a folder for temporary files, before any module of a test is imported.

    Ctrl-C is taken as in a terminal: what a script starts in the background ignores SIGINT, as do
    all processes started from there, and tests that send it would wait in vain.

    Processes that tests kill leave their temporary files, and so does wandb in a process of xdist.
    pytest and Ray keep their own places: Ray's paths must be short, because of its sockets.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # all of this is inherited
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    system = tempfile.gettempdir()
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", system)
    os.environ.setdefault("RAY_TMPDIR", "/tmp" if sys.platform == "darwin" else system)
    config.stash[TEMPORARY] = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="fractal-ray-")
    tempfile.tempdir = None  # read TMPDIR again


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the temporary files of the session."""
    if TEMPORARY in config.stash:
        shutil.rmtree(config.stash[TEMPORARY], ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep presets and compiled code in a folder of the session; do not follow RAY_ADDRESS."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # one for all workers
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NANOCHAT_BASE_DIR", str(base / "nanochat"))
        # Or torch makes a folder in the system's temporary files, and leaves it there.
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(base / "torchinductor"))
        for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
            patch.delenv(name, raising=False)
        # Or each of the processes that tests start compiles all of our modules for itself.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        # Tests run several processes beside each other on few cores.
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
