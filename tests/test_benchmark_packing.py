"""benchmarks/packing.py: what can go wrong with processes, and with a program that is not here."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fractal_ray.workloads.base import Footprint

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))  # as for a script that is started there; workers inherit it

import packing  # noqa: E402  # pyright: ignore[reportMissingImports]
import packing_mps  # noqa: E402  # pyright: ignore[reportMissingImports]
import packing_worker  # noqa: E402  # pyright: ignore[reportMissingImports]

TINY = ["--device", "cpu", "--depths", "1", "--vocab-size", "64", "--set", "device_batch_size=1"]
JOB = packing_worker.Job(1, "cpu", 64, 0.1, {}, ())
NOT_NEEDED = ("ray", "pandas", "pyarrow", "pydantic", "yaml", "scipy", "wandb")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "packing.py"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def test_two_workers_beside_one_without_ray_or_arrow(tmp_path: Path) -> None:
    for name in NOT_NEEDED:
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('there is no {name} here')")
    out = tmp_path / "out.json"
    options = ["--workers", "2", "--seconds", "0.4", "--json", str(out)]
    done = run(*TINY, *options, PYTHONPATH=f"{tmp_path}{os.pathsep}{BENCHMARKS.parent}")
    assert done.returncode == 0, done.stderr
    content = json.loads(out.read_text())
    assert set(content["machine"]) == {"device", "python", "torch"}
    assert content["job"]["recipe"]["device_batch_size"] == 1
    one, two = content["rows"]
    assert (one["workers"], two["workers"]) == (1, 2)
    assert one["ratio"] == 1
    assert two["ratio"] == pytest.approx(two["steps"] / one["steps"])
    # 408 tokens to a row in the mean; the first is not predicted.
    assert two["tokens"] / two["steps"] == pytest.approx(408, rel=0.01)
    assert done.stdout.count("| d1 | no |") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "foo=1"], "unknown setting 'foo'"),
        (["--set", "foo"], "KEY=VALUE"),
        (["--workers", "0"], "whole number from 1 on, not '0'"),
        (["--json", "/not/there/file"], "there is no folder /not/there"),
        (["--seconds", "0"], "above 0"),
        (["--patience", "nan"], "above 0"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sys, "argv", ["packing.py", *arguments])
    with pytest.raises(SystemExit) as end:
        packing.main()
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def worker(connection: Connection, job: Any, environment: Mapping[str, str]) -> None:
    """As the environment says: the first of a crew to come takes the part."""
    try:
        Path(environment["taken"]).mkdir()
    except FileExistsError:
        connection.send({"ready": True})
        connection.recv()
        return
    if environment["part"] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if environment["part"] == "hangs":
        time.sleep(120)


@pytest.mark.parametrize(
    ("part", "count", "patience", "words"),
    [("dies", 2, 60.0, "died (signal 9)"), ("hangs", 1, 0.5, "hung, or was too slow")],
)
def test_a_worker_that_dies_or_hangs_is_told_and_none_is_left(
    part: str,
    count: int,
    patience: float,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packing, "GRACE", 0.5)
    started = []
    start = packing._start

    def noting(*arguments: Any) -> Any:
        started.append(start(*arguments))
        return started[-1]

    monkeypatch.setattr(packing, "_start", noting)
    environment = {"part": part, "taken": str(tmp_path / "taken")}
    told = packing.crew(worker, JOB, count, environment, patience)
    faults = [one["fault"] for one in told if "fault" in one]
    assert len(faults) == 1
    assert words in faults[0]
    assert not any(process.is_alive() for process, _ in started)
    row = packing.filled(packing.Row(1, False, count, None), told, 1.0, None)
    assert f"1 of {count} workers" in row.fault
    assert row.steps is None


def test_no_memory_is_an_answer_and_more_workers_are_not_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    told = [{"ready": True}, {"fault": packing_worker.fault(torch.OutOfMemoryError("..."))}]
    good = {"steps": 10.0, "tokens": 4000.0, "peak": 1, "used": 3}
    monkeypatch.setattr(packing, "crew", lambda *a: told if a[2] > 1 else [good])
    measurement = packing.Measurement([JOB], [1, 2, 4], 1.0, None)
    measurement.measure({})
    measurement.measure({}, serves=lambda: True)
    assert [(row.mps, row.workers) for row in measurement.rows] == [
        (mps, count) for mps in (False, True) for count in (1, 2)
    ]
    assert [row.ratio for row in measurement.rows] == [1.0, None, 1.0, None]
    assert measurement.rows[1].fault == "out of memory (1 of 2 workers)"
    assert not measurement.failed
    with pytest.raises(packing_mps.MpsError, match="no server"):
        measurement.measure({}, serves=lambda: False)
    assert len(measurement.rows) == 4


def test_what_gpu_auto_would_start_is_measured_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Footprint(9 << 30, 1 << 29, 80 << 30, 0.3)
    asked = []

    def crew(target: Any, job: Any, count: int, *rest: Any) -> list[dict[str, Any]]:
        asked.append(count)
        if target is packing_worker.probe:
            return [{"footprint": vars(found)}]
        return [{"steps": 1.0, "tokens": 1.0, "peak": 1, "used": 1}] * count

    monkeypatch.setattr(packing, "crew", crew)
    measurement = packing.Measurement([JOB], [2, 8], 1.0, None)
    measurement.choices({})
    measurement.measure({})
    assert asked == [1, 1, 2, 4, 8]
    assert {row.auto for row in measurement.rows} == {4}


def test_rows_have_the_shape_of_docvqa() -> None:
    rows = packing_worker.examples(128, 64)
    assert rows.lengths.mean() == pytest.approx(400, rel=0.03)
    assert rows.lengths.max() == 1024
    assert rows.num_supervised / len(rows.ids) == pytest.approx(0.05, abs=0.001)
    assert rows.ids.max() < 64
    assert rows.fingerprint == packing_worker.examples(128, 64).fingerprint
    assert np.all(rows.mask[rows.offsets[1:] - 1] == 1)


def test_of_the_last_piece_counts_what_lies_within_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter((10.0, 14.0, 18.0, 22.0))
    monkeypatch.setattr(packing_worker.time, "perf_counter", lambda: next(clock))
    assert packing_worker._count(lambda: None, 11.0) == 2.75


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A stand-in for NVIDIA's program; a daemon that keeps its output open, and a log of it all."""
    program = tmp_path / packing_mps.PROGRAM
    program.write_text(
        f"""#!/bin/sh
said=$(cat)
echo "$1$said $CUDA_MPS_PIPE_DIRECTORY" >> {tmp_path}/log
[ -e {tmp_path}/broken ] && {{ echo "no such device"; exit 1; }}
case "$1$said" in
-d) sleep 60 & echo $! > "$CUDA_MPS_PIPE_DIRECTORY/$(basename $0).pid" ;;
get_server_list) cat {tmp_path}/servers ;;
quit)
    [ -e {tmp_path}/stuck ] && exit 1
    kill $(cat "$CUDA_MPS_PIPE_DIRECTORY/$(basename $0).pid") ;;
esac
"""
    )
    program.chmod(0o755)
    (tmp_path / "servers").touch()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    yield tmp_path


@pytest.mark.parametrize("stuck", [False, True])
def test_mps_runs_in_a_folder_of_its_own_and_is_ended(control: Path, stuck: bool) -> None:
    if stuck:
        (control / "stuck").touch()
    with packing_mps.mps() as (environment, serves):
        pipe = Path(environment["CUDA_MPS_PIPE_DIRECTORY"])
        daemon = int((pipe / f"{packing_mps.PROGRAM}.pid").read_text())
        os.kill(daemon, 0)
        assert not serves()
        (control / "servers").write_text("4711\n")
        assert serves()
    log = (control / "log").read_text().splitlines()
    assert log == [f"{word} {pipe}" for word in ("-d", *["get_server_list"] * 2, "quit")]
    assert not pipe.exists()
    state = Path(f"/proc/{daemon}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_without_mps_it_says_why(control: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (control / "broken").touch()
    with pytest.raises(packing_mps.MpsError, match="no such device"), packing_mps.mps():
        pass
    monkeypatch.setenv("PATH", "/not/there")
    with pytest.raises(packing_mps.MpsError, match="not on the PATH"), packing_mps.mps():
        pass
