"""Surroundings of all tests: caches of the test session, and no cluster of the user."""

import os
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


@pytest.fixture(scope="session", autouse=True)
def own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep caches and temporary files in folders of the session; do not follow RAY_ADDRESS."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # one for all workers
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NANOCHAT_BASE_DIR", str(base / "nanochat"))
        # Or torch makes a folder in the system's temporary files, and leaves it there.
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(base / "torchinductor"))
        # Killed processes cannot remove their temporary files. Ray keeps its folder: the paths of
        # its sockets must be short.
        patch.setenv("RAY_TMPDIR", os.environ.get("RAY_TMPDIR", tempfile.gettempdir()))
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("temporary")))
        patch.setattr(tempfile, "tempdir", None)
        for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
            patch.delenv(name, raising=False)
        # Or each of the processes that tests start compiles all of our modules for itself.
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        # Tests run several processes beside each other on few cores.
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
