"""Sweeps in W&B, offline: the files that runs leave for `wandb sync` are read back."""

import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest

from fractal_ray.analysis.summary import analyze
from fractal_ray.cli.main import main
from fractal_ray.cli.options import keep_figure
from fractal_ray.engine.progress import Progress
from fractal_ray.figures.maps import outcome_map
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from fractal_ray.tracking import tracked
from fractal_ray.tracking import wandb as tracking_wandb
from tests.fractal_ray.conftest import raw_spec
from tests.fractal_ray.sample_workloads import Disc
from tests.fractal_ray.tracking.wandb_server import SilentServer
from tests.wandb_log import read_records

KEY = "0123456789abcdef" * 2 + "01234567"


@dataclass
class Run:
    """Files of a run, read: its record, its history and summary as values, its artifacts."""

    record: Any = None
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    exit_code: int | None = None

    @property
    def config(self) -> dict[str, Any]:
        return {item.key: json.loads(item.value_json) for item in self.record.config.update}


def values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def read_run(path: Path) -> Run:
    run = Run()
    for record in read_records(path):
        match record.WhichOneof("record_type"):
            case "run":
                run.record = record.run
            case "history":
                run.history.append(values(record.history.item))
            case "summary":
                run.summary |= values(record.summary.update)
            case "artifact":
                run.artifacts.append(record.artifact)
            case "exit":
                run.exit_code = record.exit.exit_code
    return run


def runs_in(folder: Path) -> list[Run]:
    """Read all runs below a folder, oldest first."""
    return [read_run(path) for path in sorted(folder.rglob("run-*.wandb"))]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Keep W&B settings of the user away, and check that no temporary file is left."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("GRID_SWEEP_ID", "RUN_PREFIX", "FINETUNE_WANDB_TAGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield
    assert list(temporary.iterdir()) == []


def disc(storage: Path, workload: Any = None, **wandb: Any) -> Sweep:
    stages = [{"grid": {"points": 5}}, {"refine": {"levels": 2}}]
    raw = raw_spec(stages=stages, storage=str(storage), tracking={"wandb": wandb})
    return Sweep(parse_spec(raw), workload or Disc())


def run_tracked(sweep: Sweep) -> tuple[list[str], list[str]]:
    """Run a sweep as the command does; return its notes and its warnings."""
    notes: list[str] = []
    warnings: list[str] = []
    with tracked(sweep, note=notes.append, warn=warnings.append) as tracker:
        progress = sweep.run("local", view=tracker)
        result, raster = analyze(sweep)
        keep_figure(sweep, outcome_map(raster, title="disc"), "disc.png")
        tracker.end(result, raster, progress, "figures/disc.png")
    return notes, warnings


@dataclass
class Logged:
    """A sweep that was logged, and the runs that it left."""

    sweep: Sweep
    runs: list[Run]
    notes: list[str]
    table: pa.Table

    def of(self, job_type: str) -> list[Run]:
        return [run for run in self.runs if run.record.job_type == job_type]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    storage = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "WANDB_MODE": "offline",
            "WANDB_API_KEY": KEY,
            "WANDB_ERROR_REPORTING": "false",
        }.items():
            patch.setenv(name, value)
        temporary = tmp_path_factory.mktemp("temporary")
        patch.setattr(tempfile, "tempdir", str(temporary))
        sweep = disc(storage, project="maps", entity="team", tags=["night"], points="sample:3")
        notes, warnings = run_tracked(sweep)
    assert warnings == []
    assert list(temporary.iterdir()) == []
    yield Logged(sweep, runs_in(storage), notes, sweep.table())


def test_there_is_a_run_for_each_stage_one_for_the_whole_and_the_points_asked_for(
    logged: Logged,
) -> None:
    kinds = [run.record.job_type for run in logged.runs]
    assert sorted(kinds) == ["grid", "point", "point", "point", "refine", "summary"]
    for run in logged.runs:
        record = run.record
        assert (record.project, record.entity, record.run_group) == ("maps", "team", "disc")
        assert list(record.tags) == ["night", "nanochat", "unembedding_lr", "matrix_lr"]
        assert run.config["spec"]["axes"]["x"]["param"] == "unembedding_lr"
        assert run.exit_code == 0
    assert {run.record.display_name for run in logged.of("refine")} == {"disc 1:refine"}
    assert len({run.record.run_id for run in logged.runs}) == 6
    folder = f"{logged.sweep.location}/wandb"
    assert f"W&B: {folder}" in logged.notes


def test_counts_of_a_stage_are_those_of_the_sweep_when_it_ended(logged: Logged) -> None:
    stages = logged.table.column("stage").to_pylist()
    (grid,), (refine,) = logged.of("grid"), logged.of("refine")
    assert grid.history[-1]["sweep/done"] == stages.count("0:grid") == 25
    last = refine.history[-1]
    assert last["sweep/done"] == last["_step"] == len(stages)
    shown = logged.table.column("outcome").to_pylist()
    for name in ("trained", "not_improved", "diverged"):
        assert last[f"outcomes/{name}"] == shown.count(name)
    steps = [row["_step"] for row in refine.history]
    assert steps == sorted(set(steps))


def test_the_filling_map_is_a_picture(logged: Logged) -> None:
    (refine,) = logged.of("refine")
    assert refine.history[-1]["fractal/map/_type"] == "image-file"
    assert refine.history[-1]["fractal/map/width"] > 400


def test_the_summary_has_the_keys_of_the_source_and_no_dimension_without_a_sheet(
    logged: Logged,
) -> None:
    (run,) = logged.of("summary")
    assert run.summary["fractal/verdict"] == "unverified"
    assert not [name for name in run.summary if "dimension" in name]
    result, _ = analyze(logged.sweep)
    assert run.summary["fractal/boundary_cells"] == result.boundary_cells > 0
    assert run.summary["fractal/converged_ratio"] == pytest.approx(result.yes_ratio)
    assert 0 < run.summary["fractal/converged_ratio"] < run.summary["fractal/stability_ratio"] < 1
    assert run.summary["fractal/boundary_pixels"] > result.boundary_cells
    assert run.summary["sweep/failures"] == 0
    (row,) = run.history
    assert row["fractal/image/_type"] == "image-file"
    assert (row["results_table/nrows"], row["results_table/ncols"]) == (logged.table.num_rows, 11)


def test_the_results_table_is_the_dataset(logged: Logged) -> None:
    (path,) = Path(logged.sweep.location).glob("wandb/*/files/media/table/*.table.json")
    content = json.loads(path.read_text())
    first = content["columns"].index("final_loss")
    names = ["point_id", "grid_i", "grid_j", "unembedding_lr", "matrix_lr", "final_loss"]
    assert content["columns"][: first + 1] == names
    by_id = {row["point_id"]: row for row in logged.table.to_pylist()}
    assert {row[0] for row in content["data"]} == set(by_id)
    for row in content["data"]:
        stored = by_id[row[0]]
        assert row[3:5] == [stored["x"], stored["y"]]
        assert row[content["columns"].index("stable")] == (stored["outcome"] != "diverged")


def test_the_artifact_holds_dataset_and_figures_and_nothing_of_wandb(logged: Logged) -> None:
    (run,) = logged.of("summary")
    (made,) = [artifact for artifact in run.artifacts if artifact.type == "sweep-results"]
    assert made.name == "disc-results"
    names = {entry.path for entry in made.manifest.contents}
    root = Path(logged.sweep.location)
    kept = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert names == {name for name in kept if not name.startswith(("wandb/", ".", "driver."))}
    assert {"sweep.json", "figures/disc.png"} < names


def test_points_have_the_keys_and_the_losses_of_single_fine_tunes(logged: Logged) -> None:
    by_id = {row["point_id"]: row for row in logged.table.to_pylist()}
    points = logged.of("point")
    for run in points:
        row = by_id[run.config["point_id"]]
        assert [each["train/loss"] for each in run.history] == pytest.approx(row["losses"])
        assert [each["_step"] for each in run.history] == list(range(1, row["steps"] + 1))
        assert run.config["matrix_lr"] == row["y"]
        if row["outcome"] != "diverged":
            assert run.history[0]["train/lr_matrix"] == pytest.approx(row["y"])
        assert run.summary["stable"] == (row["outcome"] != "diverged")
        assert run.summary["final_train_loss"] == pytest.approx(row["final_loss"], nan_ok=True)
        for name in ("converged", "trainable_loss0", "trainable_ratio", "tokens_seen"):
            assert name in run.summary
    assert len({run.config["point_id"] for run in points}) == 3


def test_the_key_is_written_nowhere(logged: Logged) -> None:
    files = [path for path in Path(logged.sweep.location).rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_sweep_that_goes_on_goes_on_in_the_same_runs(logged: Logged, tmp_path: Path) -> None:
    sweep = disc(Path(logged.sweep.location).parent, project="maps", entity="team")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_DIR", str(tmp_path))
        assert run_tracked(sweep)[1] == []
    (again,) = runs_in(tmp_path)  # no stage has run, so none is touched
    assert again.record.run_id == logged.of("summary")[0].record.run_id
    fresh = disc(tmp_path / "fresh")
    fresh.run("local")
    assert fresh.table().num_rows == logged.table.num_rows


def test_a_sweep_that_is_stopped_ends_its_runs_as_killed(tmp_path: Path) -> None:
    sweep, seen = disc(tmp_path, Disc(0.02)), []

    def stop(progress: Progress) -> None:
        seen.append(progress)
        if progress.done > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), tracked(sweep) as tracker:
        sweep.run("local", view=lambda progress: (tracker(progress), stop(progress))[0])
    (run,) = runs_in(tmp_path)
    assert (run.record.job_type, run.exit_code) == ("grid", 255)
    assert run.history[0]["sweep/done"] <= seen[-1].done


def outage(tmp_path: Path, **settings: Any) -> tuple[list[str], float]:
    """Run a sweep that an outage must not disturb; return its warnings and its seconds."""
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    start = time.monotonic()
    sweep = disc(tmp_path / "results", **settings)
    warnings = run_tracked(sweep)[1]
    taken = time.monotonic() - start
    assert sweep.table().num_rows > 25
    left = {process.pid for process in psutil.Process().children(recursive=True)} - before
    assert left == set()
    wait_until(lambda: not orphans())
    return warnings, taken


def orphans() -> list[str]:
    """Find service processes of wandb whose owner is gone; they notice that after a while."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words and words[0].endswith("wandb-core"):
            owner = int(words[words.index("--pid") + 1])
            found += [] if psutil.pid_exists(owner) else [" ".join(words)]
    return found


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def nobody_listens() -> Iterator[str]:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{closed.getsockname()[1]}"


@pytest.fixture
def nobody_answers() -> Iterator[str]:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


@pytest.mark.parametrize("server", ["nobody_listens", "nobody_answers"])
def test_a_server_that_is_not_there_is_said_once(
    server: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", request.getfixturevalue(server))
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    (warning,), taken = outage(tmp_path, mode="online")
    assert warning.startswith("W&B: ")
    assert "\n" not in warning
    assert taken < 30
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in written if KEY.encode() in path.read_bytes()] == []


def test_a_server_that_goes_silent_while_a_sweep_runs_costs_its_end_no_more_than_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_wandb, "END_SECONDS", 3.0)
    with SilentServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        (warning,), taken = outage(tmp_path, mode="online", project="maps", group="night")
    assert "not all was sent within 3 s" in warning
    assert taken < 30
    (run, *_) = server.begun
    assert (run["project"], run["groupName"], run["jobType"]) == ("maps", "night", "refine")


FAKE = """
import time
class Image:
    def __init__(self, *a, **k): pass
    def add_file(self, *a, **k): pass
    add_dir = add_file
    def new_file(self, *a, **k): return open(__file__ + ".new", "w")
Table = Artifact = Image
class Run:
    url, step, summary = None, 0, {{}}
    def log(self, *a, **k):
        {log}
    def log_artifact(self, *a, **k):
        pass
    def finish(self, *a, **k):
        {finish}
def init(**k):
    with open(__file__ + ".told", "a") as told:
        told.write(k["name"] + "\\n")
    return Run()
"""


def use_fake(monkeypatch: pytest.MonkeyPatch, folder: Path, log: str, finish: str) -> None:
    (folder / "fake").mkdir()
    (folder / "fake" / "wandb.py").write_text(FAKE.format(log=log, finish=finish))
    monkeypatch.setenv("PYTHONPATH", str(folder / "fake"))


def test_the_command_tracks_what_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    live = "open(__file__ + '.told', 'a').write('live\\n' * ('sweep/rate' in a[0]))"
    use_fake(monkeypatch, tmp_path, live, "pass")
    arguments = ["run", "sweeps/weierstrass.yaml", "--engine", "local", "--tracking", "--json"]
    arguments += ["--set", "stages=[{grid: {points: 9}}]", "--storage", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["fractal-ray", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert (ended.value.code, printed.err) in ((None, ""), (0, ""))
    assert json.loads(printed.out)["points"] == 81
    told = (tmp_path / "fake" / "wandb.py.told").read_text().splitlines()
    assert list(dict.fromkeys(told)) == ["weierstrass 0:grid", "live", "weierstrass summary"]


def test_a_log_that_raises_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_fake(monkeypatch, tmp_path, "raise ValueError('no such chart\\nat all')", "pass")
    (warning,), _ = outage(tmp_path)
    assert "ValueError: no such chart;" in warning


def test_a_process_that_dies_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_fake(monkeypatch, tmp_path, "import os; os._exit(7)", "pass")
    (warning,), _ = outage(tmp_path)
    assert "its process has ended with 7" in warning


@pytest.mark.slow
def test_a_finish_that_never_returns_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_wandb, "END_SECONDS", 1.0)
    use_fake(monkeypatch, tmp_path, "pass", "time.sleep(600)")
    (warning,), taken = outage(tmp_path)
    assert "not all was sent within 1 s; wandb sync " in warning
    assert taken < 30


def test_a_process_that_cannot_start_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    (warning,), _ = outage(tmp_path)
    assert "FileNotFoundError" in warning


def test_a_variable_that_wandb_refuses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_TAGS", "t" * 65)
    _, (warning,) = run_tracked(disc(tmp_path))
    assert warning.startswith(f"W&B: WANDB_TAGS is '{'t' * 65}', which wandb refuses (Tag ")
    assert warning.endswith("; the sweep goes on without it (docs/tracking.md)")
