"""Clusters of several real raylets on this machine, with pretend GPUs for placement."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray._private import ray_constants
from ray._raylet import Config
from ray.cluster_utils import Cluster

from fractal_ray.engine.cluster import start as ray_cluster
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from tests.fractal_ray.conftest import raw_spec
from tests.fractal_ray.sample_workloads import Disc

STAGES = [{"grid": {"points": 9}}, {"refine": {"levels": 1}}]


@pytest.fixture
def make_sweep(tmp_path: Path) -> Callable[..., Sweep]:
    """Return ``make_sweep(workload, **changes)``: grid and refinement in a folder of its own."""

    def make(workload: Any = None, **changes: Any) -> Sweep:
        changes = {"stages": STAGES, "storage": str(tmp_path / "results"), **changes}
        return Sweep(parse_spec(raw_spec(**changes)), workload or Disc())

    return make


@pytest.fixture
def expected(make_sweep: Callable[..., Sweep]) -> list[dict[str, Any]]:
    """Run a sweep without a break and return its points."""
    sweep = make_sweep(name="expected")
    sweep.run("local")
    return contents(sweep)


def contents(sweep: Sweep) -> list[dict[str, Any]]:
    """Read places, outcomes and curves, sorted: they must not depend on how a sweep ran."""
    wanted = ["point_id", "ix", "iy", "level", "x", "y", "outcome", "losses"]
    rows = sweep.table().select(wanted).to_pylist()
    return sorted(rows, key=lambda row: row["point_id"])


class Nodes:
    """A head without room for slots, and nodes that come and go."""

    def __init__(self) -> None:
        self._cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        self.address = self._cluster.address

    def add(self, **arguments: Any) -> Any:
        """Add a node; without arguments it has two CPUs and one pretend GPU."""
        return self._cluster.add_node(**{"num_cpus": 2, "num_gpus": 1, **arguments})

    def kill(self, node: Any) -> None:
        """End all of a node's processes at once, as a lost machine does."""
        self._cluster.remove_node(node, allow_graceful=False)

    def shutdown(self) -> None:
        """End everything, nodes and head."""
        ray.shutdown()
        self._cluster.shutdown()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """Start a cluster on loopback and connect this process to it."""
    with pytest.MonkeyPatch.context() as patch:
        surroundings = ray_cluster._QUIET | ray_cluster._LOOPBACK_ONLY | ray_cluster._token()
        for name, value in surroundings.items():
            patch.setenv(name, value)
        # Both were read from the environment when ray was imported.
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
        # Nodes are added from threads as well, where signals cannot be handled.
        patch.setattr(ray._private.utils, "set_sigterm_handler", lambda handler: None)
        Config.initialize("")
        made = Nodes()
        ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
        try:
            yield made
        finally:
            made.shutdown()
            _end_what_is_left()


def workers() -> list[psutil.Process]:
    """Find the processes of slots by the name that Tune gives its trainables."""
    return [p for p in psutil.Process().children(recursive=True) if "Trainable" in p.name()]


def _end_what_is_left() -> None:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "ray" in " ".join(process.cmdline()):
                os.kill(process.pid, signal.SIGKILL)
