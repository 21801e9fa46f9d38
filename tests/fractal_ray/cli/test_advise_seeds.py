"""`advise --seeds`: runs, resumption, reading, and what is refused."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fractal_ray
from fractal_ray.analysis.advice import advise as advising
from fractal_ray.analysis.advice.law_results import PowerLaw
from fractal_ray.analysis.advice.results import BestPoint, Cliff, Refusal
from fractal_ray.analysis.advice.seed_results import SeedCheck
from fractal_ray.analysis.advice.seed_runs import SeedRows, SeedRun, data_of_seed
from fractal_ray.cli.main import main
from fractal_ray.dataset.baseline_file import write_baseline
from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError
from fractal_ray.figures.advice import advice_figure
from fractal_ray.plane.axes import Point
from fractal_ray.plane.baseline import Baseline
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.sweep import Sweep
from fractal_ray.tracking.summary import advice_values
from fractal_ray.workloads.mlp.workload import MlpRunner
from nanochat.errors import Note

ROOT = Path(__file__).parents[3]
DATASETS = ROOT / "tests/golden/datasets"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command: exit code, standard output and error."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["fractal-ray", *words])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    """Return a copy of a refined sweep of small networks with the draw 3."""
    return Path(shutil.copytree(DATASETS / "mlp", tmp_path / "mlp"))


@pytest.fixture(scope="module")
def _ran_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ran") / "mlp"
    shutil.copytree(DATASETS / "mlp", folder)
    sweep = fractal_ray.load(folder)
    for _ in range(2):  # the seeds move the cliff once
        sweep.run_seeds(3, engine="local")
    return folder


@pytest.fixture
def ran(tmp_path: Path, _ran_once: Path) -> Path:
    """Return a copy of that sweep with the runs of the seeds 4 and 5."""
    return Path(shutil.copytree(_ran_once, tmp_path / "mlp"))


def _rows(folder: Path) -> dict[str, list[str]]:
    """Return the point ids of each seed."""
    return {
        place.name: sorted(Store(str(place)).read(["point_id"]).column("point_id").to_pylist())
        for place in sorted((folder / "seeds").iterdir())
    }


def _check(folder: Path) -> SeedCheck:
    return fractal_ray.load(folder).advice().seeds


def test_the_line_before_names_the_runs_that_the_command_makes(mlp: Path, command: Run) -> None:
    before, points = _check(mlp), fractal_ray.load(mlp).points
    nodes = len(before.nodes)
    assert before.command == f"fractal-ray advise {mlp} --seeds 3"
    assert (before.shared, before.seeds, before.checked) == (True, (), 1)
    assert before.lacking == 2 * nodes
    line = fractal_ray.load(mlp).advice().lines()[3]
    assert line.startswith(f"seeds   not checked: {before.command}   ({before.lacking} runs, about")
    code, out, error = command("advise", str(mlp), "--seeds", "3", "--engine", "local", "--json")
    data = json.loads(out)["seeds"]
    assert (code, error) == (0, f"seed 4: {nodes} points\nseed 5: {nodes} points\n")
    rows = _rows(mlp)
    assert {name: len(ids) for name, ids in rows.items()} == {"seed-4": nodes, "seed-5": nodes}
    assert (data["checked"], data["seeds"]) == (3, [3, 4, 5])
    ran = [node for node in data["nodes"] if node["seeds"]]
    assert len(ran) == nodes and all(node["seeds"] == [3, 4, 5] for node in ran)
    # Seeds moved the cliff here: the new side has a single run so far.
    assert data["moved"] and data["lacking"] == 2 * (len(data["nodes"]) - nodes)
    # The rows of the sweep itself are as they were.
    assert fractal_ray.load(mlp).points.equals(points)
    assert not {point for ids in rows.values() for point in ids} & {*points["point_id"]}


def test_only_what_is_lacking_runs(ran: Path, command: Run) -> None:
    words = ("advise", str(ran), "--engine", "local", "--quiet", "--seeds")
    first, state = _rows(ran), Store(str(ran / "seeds/seed-4")).state()
    assert _check(ran).lacking == 0
    command(*words, "4")
    rows = _rows(ran)
    assert list(rows) == ["seed-4", "seed-5", "seed-6"]
    assert [rows[name] for name in first] == list(first.values())
    assert Store(str(ran / "seeds/seed-4")).state() == state
    shutil.rmtree(ran / "seeds/seed-5/points")
    check = _check(ran)
    assert (check.goal, check.lacking >= len(first["seed-4"])) == (4, True)
    assert f"lacking: {check.lacking} runs" in fractal_ray.load(ran).advice().lines()[3]
    command(*words, "4")
    assert {*first["seed-5"]} <= {*_rows(ran)["seed-5"]}


def test_the_budget_counts_the_runs_of_all_seeds(mlp: Path, command: Run) -> None:
    nodes = len(_check(mlp).nodes)
    words = ("advise", str(mlp), "--seeds", "3", "--engine", "local", "--quiet", "--budget-points")
    code, _, error = command(*words, str(nodes + 2))
    assert (code, "stopped at the budget of" in error) == (0, True)
    assert list(map(len, _rows(mlp).values())) == [nodes, 2]
    command(*words, str(nodes + 4))
    assert sum(map(len, _rows(mlp).values())) == nodes + 4


@pytest.mark.parametrize("number", ["0", "1", "-1", "three"])
def test_fewer_than_two_seeds_are_refused(mlp: Path, command: Run, number: str) -> None:
    code, out, error = command("advise", str(mlp), "--seeds", number)
    assert (code, out) == (2, "")
    assert "Invalid value" in error
    assert not (mlp / "seeds").exists()


def test_options_of_runs_go_with_seeds(mlp: Path, command: Run) -> None:
    code, _, error = command("advise", str(mlp), "--budget-points", "5", "--address", "auto")
    assert code == 2
    assert "--address, --budget-points: advise runs points only with --seeds" in error


def test_without_advice_or_randomness_nothing_runs(mlp: Path, tmp_path: Path, command: Run) -> None:
    shutil.copytree(DATASETS / "map", tmp_path / "map")
    code, out, _ = command("advise", str(tmp_path / "map"), "--seeds", "3")
    assert (code, out.splitlines()[0].startswith("best    none")) == (3, True)
    sweep = fractal_ray.load(mlp, "workload.draw=paper", "workload.width=16")
    assert sweep.seeding is None
    code, out, _ = command("advise", str(mlp), "--seeds", "3", "--set", "workload.draw=paper")
    assert code == 0
    assert "seeds   runs are deterministic, the data order is fixed" in out.splitlines()
    assert not (mlp / "seeds").exists()
    with pytest.raises(SweepError, match="no seeds to run: runs are deterministic"):
        sweep.run_seeds(engine="local")


def test_an_unfinished_frame_is_refused(mlp: Path, command: Run) -> None:
    shutil.rmtree(mlp / "points/frame=0/level=2")
    code, _, error = command("advise", str(mlp), "--seeds", "2", "--engine", "local")
    assert code == 2
    assert f"is not finished; run it first: fractal-ray run {mlp}" in error
    assert not (mlp / "seeds").exists()


def test_runs_of_another_model_are_refused_and_not_counted(ran: Path, command: Run) -> None:
    header = json.loads((ran / "sweep.json").read_text())
    (ran / "seeds/seed-4/sweep.json").write_text(
        json.dumps({**_header(ran, 4), "sweep_fingerprint": "of another model"})
    )
    advice = fractal_ray.load(ran).advice()
    assert advice.seeds.seeds == (3, 5)
    (note,) = [line for line in advice.lines() if "of another model" in line]
    assert "seed-4 holds runs of other settings or of another model: they are not counted" in note
    code, _, error = command("advise", str(ran), "--seeds", "2", "--engine", "local")
    assert code == 2
    assert "seeds/seed-4 holds runs of other settings or of another model; delete it" in error
    shutil.rmtree(ran / "seeds")
    shutil.rmtree(ran / "points")
    table = Store(str(DATASETS / "mlp")).read()
    facts = {name: header[name] for name in ("axes", "recipe")} | {"fingerprint": "0" * 32}
    (ran / "sweep.json").write_text(json.dumps({**header, "fingerprint": "0" * 32}))
    Store(str(ran)).append_table(table, frame=0, level=0, facts=facts)
    code, _, error = command("advise", str(ran), "--seeds", "2", "--engine", "local")
    assert (code, "cannot be compared with runs of now" in error) == (2, True)
    assert not (ran / "seeds").exists()


def _header(folder: Path, seed: int) -> dict[str, Any]:
    return json.loads((folder / f"seeds/seed-{seed}/sweep.json").read_text())


def test_a_damaged_part_is_named_and_left_out_on_demand(ran: Path, command: Run) -> None:
    part = next((ran / "seeds/seed-4").glob("points/**/*.parquet"))
    part.write_bytes(part.read_bytes()[:-9] + b"x" * 9)
    code, _, error = command("advise", str(ran))
    assert (code, part.name in error) == (2, True)
    code, out, _ = command("advise", str(ran), "--skip-corrupt")
    assert code == 0
    assert any("1 damaged part is left out" in line for line in out.splitlines())
    sweep = Sweep.open(ran, skip_corrupt=True)
    with pytest.warns(Note, match="1 damaged part set aside"):
        sweep.run_seeds(3, engine="local")
    sweep.run_seeds(3, engine="local")
    assert _check(ran).lacking == 0


def test_a_later_baseline_is_that_of_all_seeds_without_one(
    ran: Path, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = []

    def evaluate(spec: SweepSpec, location: str, *_: Any) -> None:
        places.append((location, spec.workload.model_dump()["draw"]))

    monkeypatch.setattr("fractal_ray.engine.baseline.evaluate_untouched", evaluate)
    write_baseline(Store(str(ran / "seeds/seed-4")), Baseline())
    assert command("advise", str(ran), "--baseline")[0] == 0
    assert places == [(str(ran), 3), (str(ran / "seeds/seed-5"), 5)]


def test_ensemble_takes_the_datasets_of_seeds(ran: Path, command: Run) -> None:
    places = [str(ran / "seeds" / name) for name in ("seed-4", "seed-5")]
    code, out, _ = command("ensemble", *places, "--json")
    assert code == 0
    assert json.loads(out)["known"] == len(_rows(ran)["seed-4"])


def test_runs_that_fail_are_counted_and_tried_again(
    mlp: Path, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = _check(mlp).nodes[0]

    def train(runner: MlpRunner, points: Sequence[Point]) -> NDArray[np.float64]:
        if any((point.x, point.y) == (lost.x, lost.y) for point in points):
            raise OSError("no route to host")
        return trained(runner, points)

    trained = MlpRunner._train
    words = ("advise", str(mlp), "--seeds", "2", "--engine", "local", "--quiet")
    with monkeypatch.context() as patch:
        patch.setattr(MlpRunner, "_train", train)
        code, out, error = command(*words)
    assert (code, f"status --errors {mlp}/seeds/seed-4" in error) == (1, True)
    check = _check(mlp)
    assert (check.failed, check.nodes[0].seeds) == (1, ())
    assert re.search(r"lacking: \d+ runs?, about .*, 1 of them failed: ", out)
    assert command(*words)[0] == 0
    check = _check(mlp)
    assert (check.failed, check.nodes[0].seeds) == (0, (3, 4))


def test_fine_tunes_get_shuffled_data_and_a_baseline_of_their_own(tmp_path: Path) -> None:
    settings = ("stages=[{grid: {points: 4}}]", "label.window=2", "axes.y.max=1")
    sweep = Sweep.open(
        ROOT / "sweeps/quickstart.yaml",
        (
            f"storage={tmp_path}",
            "workload.recipe.num_tokens=1200",
            "workload.data.limit=300",
            *settings,
        ),
    )
    sweep.run("local")
    before = sweep.advice().seeds
    sweep.run_seeds(2, engine="local")
    advice = sweep.advice()
    assert (before.shared, advice.seeds.seeds) == (False, (999, 1000))
    assert advice.seeds.best is not None and advice.seeds.best.seeds == 2
    assert "2 seeds with shuffled data" in advice.lines()[3]
    curves = [sweep.rule.baseline.curve(0, 0)]
    ids = {*sweep.points["point_id"]}
    for seed in (999, 1000):
        data, header = data_of_seed(sweep, seed), _header(Path(sweep.location), seed)
        assert data.rule.source == "untouched model"
        curves.append(data.rule.baseline.curve(0, 0))
        own = sweep.header() or {}
        assert header["fingerprint"] == header["sweep_fingerprint"] == own["fingerprint"]
        assert (header["recipe"]["shuffle"], own["recipe"]["shuffle"]) == (True, False)
        rows = data.table()
        assert set(rows.column("seed").to_pylist()) == {seed}
        assert not ids & {*rows.column("point_id").to_pylist()}
        ids |= {*rows.column("point_id").to_pylist()}
    orders = [curve.tolist() for curve in curves if curve is not None]
    assert len(orders) == 3 and orders[0] != orders[1] != orders[2]
    shuffled = Sweep.open(sweep.location, ("workload.recipe.shuffle=true",))
    assert shuffled.with_seed(999) is shuffled.spec
    assert shuffled.with_seed(1000).workload == sweep.with_seed(1000).workload
    assert (
        Sweep.open(
            sweep.location, ("axes.x={param: seed, min: 1, max: 9}", "workload.recipe.shuffle=true")
        ).seeding
        is None
    )


def test_seeds_give_the_noise_of_critical_values(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = fractal_ray.load(ROOT / "notebooks/data/lr-tokens")
    single = sweep.advice()
    assert single.law is not None and isinstance(single.law.fit, PowerLaw)
    assert single.law.fit.seed_noise is None
    surface, runs = single.surface, {}
    for node in single.seeds.nodes:
        label = int(surface.broken[node.node])
        # With seed 2 each column breaks one step earlier.
        early = 0 if "unbroken side" in node.roles else label
        runs[node.node] = {1: SeedRun(label, 1.0, True), 2: SeedRun(early, 1.0, True)}
        runs[node.node][3] = runs[node.node][1]
    monkeypatch.setattr(advising, "read_seeds", lambda *_: SeedRows(runs, frozenset()))
    advice = sweep.advice()
    law, columns = advice.law, single.law.columns
    assert law is not None and isinstance(law.fit, Refusal)
    brackets = [
        [(c.last_unbroken, c.first_broken) for c in each] for each in (law.columns, columns)
    ]
    assert brackets[0] == brackets[1]
    assert law.fit.code == "beyond_noise"
    steps = [
        np.log10(each.first_broken / each.last_unbroken)
        for each in columns
        if each.first_broken and each.last_unbroken
    ]
    expected = np.sqrt(np.mean(np.square(steps)) / 3)
    assert advice.seeds.critical_noise == pytest.approx(expected)
    assert f"beyond the noise of seeds (a factor {10**expected:.3g})" in law.fit.reason
    line = next(line for line in advice.lines() if line.startswith("seeds"))
    assert re.search(
        r"3 seeds with shuffled data; \d+ of \d+ sides of the cliff keep the label", line
    )


def _with_seeds(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, labels: dict[str, int], failed: int = 0
) -> Any:
    """Return the advice with seeds 4 and 5 that have these labels at nodes of a role."""
    single = sweep.advice()
    runs = {}
    for node in single.seeds.nodes:
        label = max((labels.get(role, -2) for role in node.roles), default=-2)
        own = int(single.surface.broken[node.node])
        label = own if label == -2 else label
        loss = float(single.surface.loss[node.node])
        runs[node.node] = {
            seed: SeedRun(label, loss + shift, trained=label == 1)
            for seed, shift in ((3, 0.0), (4, 0.01), (5, 0.03))
        }
    some = frozenset((node.node, 6) for node in single.seeds.nodes[:failed])
    monkeypatch.setattr(advising, "read_seeds", lambda *_: SeedRows(runs, some))
    return single, sweep.advice()


def test_seeds_that_agree_leave_the_cliff_where_it_is(
    mlp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single, advice = _with_seeds(fractal_ray.load(mlp), monkeypatch, {})
    assert advice.cliff == single.cliff
    assert advice.lines()[2] == single.lines()[2]
    assert isinstance(advice.best, BestPoint) and advice.best.noise is not None
    assert advice.best.node == single.best.node
    assert advice.best.noise.source == "seeds"
    again = advice.seeds.best
    assert again.loss.value == pytest.approx(single.best.loss + 0.02)
    assert (again.seeds, again.chosen_loss) == (2, single.best.loss)
    line = advice.lines()[3]
    assert line.startswith("seeds   3 seeds with weights and examples of their own: loss of the")
    assert "from the 2 seeds that did not choose it" in line
    assert "broke with 3 of 3 seeds (44 to 100 %)" in line
    values = advice_values(advice)
    assert (values["advice/seeds"], values["advice/seeds_loss"]) == (3, again.loss.value)
    assert values["advice/seeds_loss_low"] < again.loss.value < values["advice/seeds_loss_high"]
    figure = advice_figure(advice, title="title")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "3/3" in texts and "0/3" not in texts


@pytest.mark.parametrize(("role", "label"), [("unbroken side", 0), ("broken side", 1)])
def test_seeds_that_move_the_cliff_change_its_line(
    mlp: Path, monkeypatch: pytest.MonkeyPatch, role: str, label: int
) -> None:
    sweep = fractal_ray.load(mlp)
    single, advice = _with_seeds(sweep, monkeypatch, {role: label})
    assert isinstance(single.cliff, Cliff) and isinstance(advice.cliff, Cliff)
    moved = advice.seeds.moved[0]
    before = next(m for m in single.cliff.margins if m.direction == moved.direction)
    after = next(m for m in advice.cliff.margins if m.direction == moved.direction)
    assert moved == before
    if label == 0:
        assert after.first_broken == before.last_unbroken
    else:
        assert after.first_broken != before.first_broken
    assert "(by the seeds; by single runs it breaks between" in advice.lines()[2]
    # The new sides have single runs, and the same command goes on with them.
    assert advice.seeds.lacking > 0
    assert "lacking: " in advice.lines()[3]


def test_the_risk_decides_from_which_share_a_node_is_broken(
    mlp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = fractal_ray.load(mlp)
    single = sweep.advice()
    side = next(n for n in single.seeds.nodes if "unbroken side" in n.roles)
    runs = {side.node: {s: SeedRun(int(s > 3), 1.0, trained=s > 3) for s in (3, 4, 5)}}
    monkeypatch.setattr(advising, "read_seeds", lambda *_: SeedRows(runs, frozenset()))
    (node,) = [n for n in sweep.advice().seeds.nodes if n.seeds]
    assert (node.label.broken, node.label.label) == (1, 1)
    bold = fractal_ray.load(mlp, "label.risk=0.3").advice()
    (node,) = [n for n in bold.seeds.nodes if n.node == side.node]
    assert (node.label.broken, node.label.label) == (1, 0)
    assert bold.seeds.moved


def test_a_best_that_breaks_and_failures_are_said(
    mlp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"best": 0, "neighbour": 0}
    _, advice = _with_seeds(fractal_ray.load(mlp), monkeypatch, labels, failed=2)
    line = advice.lines()[3]
    assert "the best broke with 3 of 3 seeds" in line
    assert any("the best point breaks with 3 of 3 seeds" in note for note in advice.notes)
    assert re.search(r"neighbours that break: (\d) of \1", line)
    assert advice.seeds.noise is None


@pytest.mark.slow
def test_a_killed_command_goes_on_with_what_is_lacking(mlp: Path, command: Run) -> None:
    whole = Path(shutil.copytree(mlp, mlp.parent / "whole"))
    words = ["--seeds", "12", "--engine", "local", "--quiet"]
    assert command("advise", str(whole), *words)[0] == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "fractal_ray", "advise", str(mlp), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 60
    while not any((mlp / "seeds").glob("seed-*/points/**/part-*")) and time.monotonic() < end:
        time.sleep(0.002)
    process.kill()
    process.wait()
    killed, rows = _rows(mlp), _rows(whole)
    assert 0 < sum(map(len, killed.values())) < sum(map(len, rows.values()))
    assert command("advise", str(mlp), *words)[0] == 0
    assert _rows(mlp) == rows
    (one, other) = (replace(_check(folder), command="") for folder in (mlp, whole))
    assert str(one) == str(other)  # NaN is equal to itself in a text
