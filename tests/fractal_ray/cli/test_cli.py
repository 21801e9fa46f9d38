"""The command line as a user meets it: real fine-tunes, real processes, real kills."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch

from fractal_ray.cli.main import main
from fractal_ray.dataset.store import Store
from fractal_ray.sweep import Sweep
from tests.fractal_ray.engine.test_engines import contents

SPEC = "sweeps/quickstart.yaml"
SMALL = ("--set", "workload.recipe.num_tokens=10000", "--set", "stages.0.grid.points=6")
# Two slots would be through before the rows are written a second time.
ONE_SLOT = ("--set", "resources.slots=1", "--quiet")

Done = subprocess.CompletedProcess[str]
Command = Callable[..., Done]


def own_process(*arguments: str) -> Done:
    """Run the program in a process of its own, in this repository."""
    program = [sys.executable, "-m", "fractal_ray", *arguments]
    return subprocess.run(program, capture_output=True, text=True, timeout=120)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return ``command("run", ...)``, which runs the program in this process, without imports."""

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["fractal-ray", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return subprocess.CompletedProcess(arguments, code or 0, printed.out, printed.err)

    return call


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return str(tmp_path / "my results")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """Run the small sweep by the local engine without a break; return folder and contents."""
    folder = str(tmp_path_factory.mktemp("unbroken"))
    overrides = (*SMALL[1::2], f"storage={json.dumps(folder)}")
    sweep = Sweep.open(SPEC, overrides)
    sweep.run("local")
    return sweep.location, contents(sweep.table())


def one_message(done: Done) -> str:
    """Return a user error's message; check exit code 2, no traceback, nothing on stdout."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.mark.timeout(360)  # two clusters, one after the other
def test_a_sweep_killed_on_ray_goes_on_to_what_local_gives(
    storage: str, unbroken: tuple[str, list[dict[str, Any]]]
) -> None:
    arguments = ["run", SPEC, *SMALL, "--storage", storage]
    folder = f"{storage}/quickstart"
    killed = kill_on_ray(arguments, folder)

    done = own_process(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    summary = json.loads(done.stdout)
    assert summary["points"] == summary["done"] == 36
    assert summary["reused"] == killed
    assert summary["dataset"] == folder
    assert Path(summary["figure"]).stat().st_size > 10_000
    sweep = Sweep.open(folder)
    assert contents(sweep.table()) == unbroken[1]
    assert sweep.run("ray").reused == 36


@pytest.mark.slow
@pytest.mark.timeout(360)  # three clusters, one after the other
def test_a_sweep_killed_and_stopped_on_ray_goes_on_to_what_local_gives(
    storage: str, unbroken: tuple[str, list[dict[str, Any]]]
) -> None:
    arguments = ["run", SPEC, *SMALL, "--storage", storage]
    folder = f"{storage}/quickstart"
    killed = kill_on_ray(arguments, folder)
    stopped = stop([*arguments, *ONE_SLOT], signal.SIGTERM, folder, killed + 1)

    done = own_process(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["reused"] == stopped
    assert contents(Sweep.open(folder).table()) == unbroken[1]


@pytest.mark.slow
def test_a_sweep_killed_without_ray_goes_on_to_the_same_dataset(
    storage: str, unbroken: tuple[str, list[dict[str, Any]]]
) -> None:
    arguments = ["run", SPEC, *SMALL, "--storage", storage, "--engine", "local"]
    with started(*arguments, "--quiet") as process:
        wait_for_points(f"{storage}/quickstart", 5)
        process.kill()
        process.wait(timeout=30)
    kept = Store(f"{storage}/quickstart").read(["point_id"]).num_rows
    assert 5 <= kept < 36
    done = own_process(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["reused"] >= kept
    assert contents(Sweep.open(f"{storage}/quickstart").table()) == unbroken[1]


@pytest.mark.parametrize("engine", [pytest.param("ray", marks=pytest.mark.slow), "local"])
def test_ctrl_c_says_how_to_go_on(storage: str, engine: str) -> None:
    arguments = ["run", SPEC, *SMALL, "--storage", storage, "--engine", engine, "--quiet"]
    stop(arguments, signal.SIGINT, f"{storage}/quickstart", 3)


def kill_on_ray(arguments: list[str], folder: str) -> int:
    """Kill a run when its dataset holds 5 points; return the number of points that it holds."""
    with started(*arguments, *ONE_SLOT) as process:
        wait_for_points(folder, 5)
        process.kill()
        process.wait(timeout=30)
    killed = Store(folder).read(["point_id"]).num_rows
    assert 5 <= killed < 36
    return killed


def stop(arguments: list[str], how: signal.Signals, folder: str, count: int) -> int:
    """Send a signal to a run when its dataset holds `count` points, and check its last words.

    Returns
    -------
    Number of points that the dataset holds then.
    """
    with started(*arguments) as process:
        wait_for_points(folder, count)
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    (again,) = re.findall(r"To go on: fractal-ray (.*)", errors)
    assert shlex.split(again) == arguments
    (said,) = re.findall(r"(\d+) points are in", errors)
    assert Store(folder).read(["point_id"]).num_rows == int(said) >= count
    return int(said)


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a background run.

    At the end it and its Ray, found by a mark in their environment, are ended by id.
    """
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [sys.executable, "-m", "fractal_ray", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TEST_MARK": mark},
    )
    try:
        yield process
    finally:
        for left in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if left.environ().get("TEST_MARK") == mark:
                    left.kill()
        process.wait(timeout=30)


def wait_for_points(folder: str, count: int) -> None:
    """Wait until the dataset holds `count` points."""
    for _ in range(1200):
        if Store(folder).read(["point_id"]).num_rows >= count:
            return
        time.sleep(0.1)
    raise AssertionError(f"{folder} never got {count} points")


def test_help_is_complete_and_quick(command: Command) -> None:
    start = time.perf_counter()
    text = own_process("--help").stdout
    assert time.perf_counter() - start < 3  # measured: benchmarks/startup.py
    for verb in ("plan", "run", "status", "analyze", "plot"):
        assert verb in text
        assert "Options" in command(verb, "--help").stdout


def test_imports_are_light() -> None:
    code = "import sys, fractal_ray, fractal_ray.cli.main, nanochat; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert not {"torch", "ray", "numpy", "pyarrow", "pydantic", "wandb"} & set(modules.split())


def test_plan_needs_no_network_and_no_torch(command: Command) -> None:
    done = command("plan", "sweeps/d20_docvqa_matrix_unembedding.yaml")
    assert "4,096 points" in done.stdout
    assert "1,024,000,000 supervised tokens" in done.stdout
    assert "50.3 GPU-hours" in done.stdout
    half = command("plan", "sweeps/d20_docvqa_matrix_unembedding.yaml", "--json",
                   "--tokens-per-second", "226000")  # fmt: skip
    assert json.loads(half.stdout)["gpu_hours"] == pytest.approx(50.34 / 2, abs=0.01)
    code = (
        "import sys; from fractal_ray.spec.yaml_file import load_spec;"
        "load_spec('sweeps/quickstart.yaml');"
        "assert not {'torch', 'ray', 'datasets'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


class TestMistakes:
    """Mistakes of the user: one message and exit code 2 (test_spec.py has those of specs)."""

    def test_unknown_key(self) -> None:
        message = one_message(own_process("run", SPEC, "--set", "axes.x.maximum=1"))
        assert "axes.x.maximum: unknown key; did you mean 'max'?" in message

    def test_a_missing_model_folder(self, command: Command, storage: str) -> None:
        message = one_message(
            command(
                "run", SPEC, "--set", "workload.model=/no/such/model", "--storage", storage, "-q"
            )
        )
        assert "/no/such/model" in message
        assert "a model is a folder, preset:NAME, hf:owner/name" in message
        assert not Path(storage).exists()

    def test_a_row_without_messages(self, command: Command, storage: str, tmp_path: Path) -> None:
        data = tmp_path / "bad.jsonl"
        good = {
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
        }
        data.write_text(json.dumps(good) + '\n{"text": "no messages"}\n')
        message = one_message(
            command(
                "run", SPEC, "--set", f"workload.data.source={data}", "--storage", storage, "-q"
            )
        )
        assert str(data) in message
        assert "2" in message
        assert "messages" in message

    def test_another_sweeps_folder(
        self, command: Command, unbroken: tuple[str, list[dict[str, Any]]]
    ) -> None:
        folder = str(Path(unbroken[0]).parent)
        message = one_message(
            command("run", SPEC, *SMALL, "--storage", folder, "--set", "axes.x.max=5.0", "-q")
        )
        assert unbroken[0] in message
        assert "axes.x.max is 1.0 there, 5.0 here" in message

    def test_a_corrupt_part(
        self, command: Command, storage: str, unbroken: tuple[str, list[dict[str, Any]]]
    ) -> None:
        shutil.copytree(Path(unbroken[0]).parent, storage)
        (part,) = Path(storage).rglob("part-*.parquet")
        part.write_bytes(part.read_bytes()[:200])
        for verb in ("run", "status", "analyze", "plot"):
            extra = ("-q", "--engine", "local") if verb == "run" else ()
            message = one_message(command(verb, SPEC, *SMALL, "--storage", storage, *extra))
            assert str(part) in message
            assert "--skip-corrupt" in message
        found = command("status", SPEC, *SMALL, "--storage", storage, "--skip-corrupt", "--json")
        assert json.loads(found.stdout)["points"] == 0
        assert part.exists()

    def test_no_cluster_at_the_address(
        self, command: Command, storage: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ray, "is_initialized", lambda: False)  # not by another test's fixture
        message = one_message(
            command("run", SPEC, *SMALL, "--storage", storage, "--address", "127.0.0.1:1", "-q")
        )
        assert "no Ray cluster to join at '127.0.0.1:1'" in message

    def test_not_a_folder_of_a_sweep(self, command: Command, tmp_path: Path) -> None:
        assert "holds no sweep" in one_message(command("status", str(tmp_path)))

    def test_a_gpu_that_is_not_there(self, command: Command, storage: str) -> None:
        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
        gpu = ("--set", "resources.gpu=1", "--engine", "local")
        message = one_message(command("run", SPEC, *SMALL, *gpu, "--storage", storage, "-q"))
        assert "resources.gpu: 0" in message

    def test_ray_client_is_not_supported(
        self, command: Command, storage: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        address = ("--address", "ray://here:10001")
        message = one_message(command("run", SPEC, *SMALL, "--storage", storage, *address, "-q"))
        assert "ray job submit" in message

    @pytest.mark.parametrize("speed", ["0", "nan", "inf", "-1"])
    def test_a_speed_that_is_none(self, command: Command, speed: str) -> None:
        assert "must be above 0" in one_message(command("plan", SPEC, "--tokens-per-second", speed))

    def test_a_figure_of_an_unknown_kind(
        self, command: Command, unbroken: tuple[str, list[dict[str, Any]]], tmp_path: Path
    ) -> None:
        message = one_message(command("plot", unbroken[0], "--out", str(tmp_path / "map.gif")))
        assert ".png" in message
        (tmp_path / "file").write_text("")
        out = str(tmp_path / "file" / "map.png")
        assert "cannot write" in one_message(command("plot", unbroken[0], "--out", out))


def test_status_analyze_and_plot_read_the_folder(
    command: Command, unbroken: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder = unbroken[0]
    assert "36 of 36 points" in command("status", folder).stdout
    assert json.loads(command("status", folder, "--json").stdout)["points"] == 36
    assert "boundary cells" in command("analyze", folder).stdout
    for figure in ("panels", "outcomes"):
        out = tmp_path / f"{figure}.svg"
        assert command("plot", folder, "--figure", figure, "--out", str(out)).stdout.strip() == str(
            out
        )
        assert "<svg" in out.read_text()[:600]


def test_lines_when_the_output_is_no_terminal(storage: str) -> None:
    done = own_process("run", SPEC, *SMALL, "--set", "stages.0.grid.points=2", "--storage", storage,
                      "--engine", "local")  # fmt: skip
    assert "4/4 points" in done.stderr.splitlines()[-1]
    assert f"dataset: {storage}/quickstart" in done.stdout
