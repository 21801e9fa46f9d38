"""Sweeps on three-node clusters whose parts are really killed: nothing lost, nothing twice."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fractal_ray.dataset.store import Store
from fractal_ray.sweep import Sweep
from tests.cluster.conftest import Nodes, contents, workers
from tests.cluster.workloads import Hanging
from tests.fractal_ray.sample_workloads import Disc

Maker = Callable[..., Sweep]
HALF_A_CARD = {"cpu": 1, "gpu": 0.5}


@contextmanager
def once(condition: Callable[[], bool], act: Callable[[], object]) -> Iterator[None]:
    """Act from another thread as soon as a condition holds; fail if it never held."""
    acted, over = threading.Event(), threading.Event()

    def watch() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if condition():
                act()
                acted.set()
                over.wait()  # a node ends with the thread that has started it
                return
            time.sleep(0.05)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert acted.is_set(), "it never came to that"


def rows_of(location: str) -> int:
    """Count the rows on disk, 0 before there are any."""
    return Store(location).read(["point_id"]).num_rows if Path(location).exists() else 0


def kinds(sweep: Sweep) -> set[str]:
    return {row["kind"] for row in sweep.store().read_failures().to_pylist()}


def test_a_killed_worker_on_two_nodes_with_packed_cards(
    nodes: Nodes, make_sweep: Maker, expected: list[dict[str, Any]]
) -> None:
    for _ in range(2):
        nodes.add()
    sweep = make_sweep(Disc(seconds=0.1), name="k", points_per_tile=3, resources=HALF_A_CARD)

    def kill() -> None:
        workers()[0].kill()

    with once(lambda: rows_of(sweep.location) >= 10 and bool(workers()), kill):
        progress = sweep.run("ray")
    assert contents(sweep) == expected
    assert progress.gave_up == 0
    assert kinds(sweep) <= {"lost_worker"}


@pytest.mark.slow
@pytest.mark.timeout(400)
class TestSlow:
    """Tests that take a quarter of a minute or more each."""

    def test_a_killed_node_and_one_that_comes(
        self, nodes: Nodes, make_sweep: Maker, expected: list[dict[str, Any]]
    ) -> None:
        nodes.add()
        doomed = nodes.add()
        sweep = make_sweep(Disc(seconds=0.2), name="n", points_per_tile=3, resources=HALF_A_CARD)

        def replace() -> None:
            nodes.kill(doomed)
            nodes.add()

        with once(lambda: rows_of(sweep.location) >= 10, replace):
            progress = sweep.run("ray")
        assert contents(sweep) == expected
        assert progress.gave_up == 0
        assert kinds(sweep) == {"lost_node"}

    def test_slots_beyond_the_room_start_when_a_node_comes(
        self, nodes: Nodes, make_sweep: Maker, expected: list[dict[str, Any]]
    ) -> None:
        sweep = make_sweep(name="later", resources={"cpu": 1, "gpu": 0.5, "slots": 2})
        with once(lambda: Path(sweep.location).exists(), nodes.add):
            sweep.run("ray")
        assert contents(sweep) == expected

    def test_a_hung_worker_is_replaced(
        self, nodes: Nodes, make_sweep: Maker, expected: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        nodes.add()
        patience = {"cpu": 1, "lease_seconds": 8}
        sweep = make_sweep(Hanging(tmp_path), name="h", points_per_tile=3, resources=patience)
        before = time.monotonic()

        def gone(progress: object) -> None:
            raise BrokenPipeError("nobody reads what is shown")

        progress = sweep.run("ray", view=gone)
        assert contents(sweep) == expected
        assert (progress.gave_up, kinds(sweep)) == (0, {"timed_out"})
        assert time.monotonic() - before < 100

    def test_a_killed_driver_and_a_second_one(
        self, nodes: Nodes, make_sweep: Maker, expected: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        nodes.add()
        storage = str(tmp_path / "results")
        location = f"{storage}/driven"
        with _drive(nodes, storage) as driver:
            _wait(lambda: rows_of(location) >= 10, driver)
            with _drive(nodes, storage) as second:
                _, said = second.communicate(timeout=60)
                assert second.returncode == 2
                assert f"is being run by process {driver.pid}" in said
            os.kill(driver.pid, signal.SIGKILL)
            driver.wait(timeout=10)
        found = rows_of(location)
        assert 10 <= found < len(expected)
        with _drive(nodes, storage) as again:
            _, said = again.communicate(timeout=120)
            assert again.returncode == 0, said
        assert contents(Sweep.open(location)) == expected
        parts = Store(location).read_parts(Store(location).parts("points"), _id_schema())
        assert parts.num_rows == len(expected), "no row twice"

    def test_a_lost_head_ends_the_run_and_the_same_command_finishes_it(
        self, nodes: Nodes, make_sweep: Maker, expected: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        nodes.add()
        storage = str(tmp_path / "results")
        location = f"{storage}/driven"
        with _drive(nodes, storage) as driver:
            _wait(lambda: rows_of(location) >= 10, driver)
            nodes.shutdown()
            driver.wait(timeout=120)
            assert driver.returncode != 0
        sweep = make_sweep(name="driven")
        progress = sweep.run("local")
        assert progress.reused >= 10
        assert contents(sweep) == expected

    @pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
    def test_a_full_disk_that_is_emptied(
        self, nodes: Nodes, make_sweep: Maker, expected: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        nodes.add()
        disk = tmp_path / "disk"
        disk.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True
        )
        if mounted.returncode:
            pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode()}")
        try:
            sweep = make_sweep(
                Disc(seconds=0.1), name="full", points_per_tile=2, storage=str(disk / "results")
            )
            ballast = disk / "ballast"
            troubles = []

            def fill() -> None:
                with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                    while file.write(b"0" * 4096):
                        pass

            def empty_later() -> None:
                fill()
                threading.Timer(8, ballast.unlink).start()

            with once(lambda: rows_of(sweep.location) >= 6, empty_later):
                sweep.run("ray", view=lambda progress: troubles.append(progress.trouble))
            assert contents(sweep) == expected
            assert any("No space left" in trouble for trouble in troubles)
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)


def _id_schema() -> Any:
    from fractal_ray.dataset.rows import POINTS_SCHEMA

    return POINTS_SCHEMA


@contextmanager
def _drive(nodes: Nodes, storage: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.cluster.drive", nodes.address, storage]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=10)
        if process.stderr:
            process.stderr.close()


def _wait(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
