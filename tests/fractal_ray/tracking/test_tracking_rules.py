"""Where runs go, what they are called, when they are opened, and what they say: without wandb."""

import itertools
import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fractal_ray.analysis.summary import analyze
from fractal_ray.cli.main import main
from fractal_ray.dataset.header import write_header
from fractal_ray.dataset.secrets import cleaned, without_secrets
from fractal_ray.dataset.store import Store
from fractal_ray.dimension.result import Estimate
from fractal_ray.engine.progress import Progress
from fractal_ray.errors import SweepError
from fractal_ray.plane.boundary import OUTCOME_CODES
from fractal_ray.plane.outcome import SPLIT, Outcome
from fractal_ray.plane.palette import OUTCOME_COLORS
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from fractal_ray.tracking import runs as tracking_runs
from fractal_ray.tracking import sender
from fractal_ray.tracking.artifact import add_dataset
from fractal_ray.tracking.filling_map import map_picture
from fractal_ray.tracking.points import point_runs
from fractal_ray.tracking.summary import (
    MOST_ROWS,
    dataset_id,
    drawn,
    results_table,
    run_id,
    summary_values,
)
from fractal_ray.tracking.target import find_target
from tests.fractal_ray.conftest import raw_spec

KEYS = "s3://KEY:SECRET@bucket/sweeps"

MakeSweep = Callable[..., Sweep]


def spec_with(**wandb: Any) -> Any:
    return parse_spec(raw_spec(tracking={"wandb": wandb}))


@pytest.mark.parametrize(
    ("key", "variables", "default"),
    [
        ("project", ["WANDB_PROJECT"], "fractal-ray"),
        ("entity", ["WANDB_ENTITY"], None),
        ("group", ["WANDB_RUN_GROUP", "GRID_SWEEP_ID"], "disc"),
    ],
)
def test_the_spec_beats_the_environment_which_beats_the_default(
    key: str, variables: list[str], default: str | None
) -> None:
    environment = {name: name.lower() for name in variables}
    every = [
        find_target(spec_with(**{key: "given"}), None, environment),
        *(
            find_target(spec_with(), None, {k: environment[k] for k in variables[i:]})
            for i in range(len(variables))
        ),
        find_target(spec_with(), None, {}),
    ]
    found = [getattr(target, key) for target in every]
    assert found == ["given", *(name.lower() for name in variables), default]


def test_tags_and_names_come_from_where_fractal_llm_takes_them() -> None:
    swept = ("nanochat", "unembedding_lr", "matrix_lr")
    environment = {"FINETUNE_WANDB_TAGS": "a, b", "RUN_PREFIX": "grid-7"}
    target = find_target(spec_with(), None, environment)
    assert target is not None
    assert (target.tags, target.prefix) == (("a", "b", *swept), "grid-7")
    environment |= {"WANDB_TAGS": "c", "WANDB_RUN_PREFIX": "grid-8"}
    target = find_target(spec_with(), None, environment)
    assert target is not None
    assert (target.tags, target.prefix) == (("c", *swept), "grid-8")
    target = find_target(spec_with(tags=[]), None, environment)
    assert target is not None
    assert target.tags == swept


@pytest.mark.parametrize(
    ("tracking", "asked", "mode", "expected"),
    [
        (None, None, "", None),
        ({}, None, "", None),
        (None, True, "", "online"),
        ({"wandb": {}}, None, "", "online"),
        ({"wandb": {}}, None, "dryrun", "offline"),
        ({"wandb": {}}, False, "", None),
        ({"wandb": {"mode": "online"}}, None, "offline", "online"),
        ({"wandb": {"mode": "online"}}, None, "disabled", None),
        ({"wandb": {"mode": "disabled"}}, None, "online", None),
        ({"wandb": {"mode": "disabled"}}, True, "", None),
    ],
)
def test_what_decides_whether_a_sweep_is_tracked(
    tracking: Any, asked: bool | None, mode: str, expected: str | None
) -> None:
    spec = parse_spec(raw_spec(tracking=tracking))
    target = find_target(spec, asked, {"WANDB_MODE": mode})
    assert (target and target.mode) == expected


def test_a_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SweepError, match=r"WANDB_MODE is 'of'; allowed: disabled, dryrun"):
        find_target(spec_with(), None, {"WANDB_MODE": "of"})


@pytest.mark.parametrize(
    ("variable", "longest", "form"),
    [
        ("WANDB_PROJECT", 128, ""),
        ("WANDB_ENTITY", 128, ""),
        ("GRID_SWEEP_ID", 128, ""),
        ("WANDB_RUN_GROUP", 128, ""),
        ("RUN_PREFIX", 109, "NAME point 000000000000"),
        ("WANDB_RUN_PREFIX", 109, "NAME point 000000000000"),
    ],
)
def test_names_too_long_for_wandb_are_refused(variable: str, longest: int, form: str) -> None:
    spec = spec_with(points="sample:3")
    assert find_target(spec, None, {variable: "n" * longest}) is not None
    given = {variable: "n" * (longest + 1)}
    with pytest.raises(SweepError) as refused:
        find_target(spec, None, given)
    message = str(refused.value)
    assert message.startswith(f"{variable} 'nnn")
    assert f" has {longest + 1} characters; W&B takes {longest} at most" in message
    assert message.endswith("; shorten it; --no-tracking runs without W&B")
    assert form in message
    assert find_target(spec, False, given) is None
    assert find_target(spec, None, {**given, "WANDB_MODE": "disabled"}) is None


def test_a_run_prefix_leaves_room_for_the_longest_stage() -> None:
    stages = [{"grid": {"points": 5}}, {"transects": {"count": 2, "levels": 2}}]
    spec = parse_spec(raw_spec(stages=stages, tracking={"wandb": {}}))
    with pytest.raises(SweepError, match="takes 116 at most, for it gets NAME 1:transects;"):
        find_target(spec, None, {"RUN_PREFIX": "n" * 117})


def test_a_project_of_the_environment_obeys_the_rules_of_wandb() -> None:
    with pytest.raises(SweepError, match=r"WANDB_PROJECT 'a#b' has '#'; W&B takes none of / "):
        find_target(spec_with(), None, {"WANDB_PROJECT": "a#b"})
    assert find_target(spec_with(project="maps"), None, {"WANDB_PROJECT": "a#b"}) is not None


def test_an_axis_with_a_name_too_long_for_a_tag_is_refused() -> None:
    spec = spec_with()
    axis = spec.axes.x.model_copy(update={"param": "p" * 65})
    axes = spec.axes.model_copy(update={"x": axis})
    fault = r"the tag axes.x.param 'p{65}' has 65 .* takes 64 at most"
    with pytest.raises(SweepError, match=fault):
        find_target(spec.model_copy(update={"axes": axes}), None, {})


@pytest.mark.parametrize("given", ["", "Offline", "dryrun"])
def test_the_process_of_wandb_gets_a_mode_that_wandb_takes(
    given: str, make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = find_target(spec_with(), None, {"WANDB_MODE": given})
    assert target is not None
    monkeypatch.setattr(os, "environ", {**os.environ, "WANDB_MODE": given})
    modes = []

    def runs(*_: Any) -> Any:
        modes.append(os.environ["WANDB_MODE"])
        return SimpleNamespace(close=lambda code: None)

    monkeypatch.setattr(tracking_runs, "Runs", runs)
    monkeypatch.setattr(sender, "_give_up_after", lambda *_: None)
    sender.serve({"location": str(tmp_path), "target": asdict(target)}, [], print)
    assert modes == ["offline" if given else "online"]


@pytest.mark.parametrize(
    ("wandb", "message"),
    [
        ({"points": "sample:0"}, "none or sample:N with N from 1 to 1000; given 'sample:0'"),
        ({"points": "all"}, "given 'all'"),
        ({"points": 50}, "none or sample:N with N from 1 to 1000; given 50"),
        ({"tags": "night"}, "tracking.wandb.tags: takes a list, [night, d20]; given 'night'"),
        ({"tags": [""]}, "tracking.wandb.tags.0: string should have at least 1 character"),
        ({"project": "a/b"}, "in a project; given 'a/b'"),
        ({"api_key": "secret"}, "tracking.wandb.api_key: unknown key"),
        ({"mode": "shared"}, "'online', 'offline' or 'disabled'"),
    ],
)
def test_a_mistake_in_the_spec_is_named(wandb: dict[str, Any], message: str) -> None:
    with pytest.raises(SweepError) as refused:
        spec_with(**wandb)
    assert message in str(refused.value)
    assert "secret" not in str(refused.value)


def test_points_of_a_map_have_no_curves() -> None:
    axes = {side: {"param": side, "scale": "linear", "min": 0, "max": 1} for side in "xy"}
    raw = raw_spec(workload={"kind": "map", "set": "disc"}, axes=axes)
    with pytest.raises(SweepError, match="points of a map have no loss curve"):
        parse_spec({**raw, "tracking": {"wandb": {"points": "sample:3"}}})


def test_tracking_is_no_part_of_what_a_dataset_is_of(make_sweep: MakeSweep) -> None:
    make_sweep().run("local")
    assert make_sweep(tracking={"wandb": {"project": "other"}}).run("local").reused == 81


def test_runs_have_the_name_of_the_dataset_and_not_of_the_moment(make_sweep: MakeSweep) -> None:
    header = {
        "created_at": "2026-01-01T00:00:00+00:00",
        "fingerprint": "f",
        "recipe": {"seed": 1},
        "axes": {},
        "spec": {"name": "disc", "stages": []},
    }
    grown = {**header, "spec": {"name": "disc", "stages": ["more"]}}
    assert dataset_id(grown) == dataset_id(header)
    others = [
        {**header, "created_at": "2026-01-01T00:00:01+00:00"},
        {**header, "recipe": {"seed": 2}},
        {**header, "spec": {"name": "other"}},
    ]
    names = {dataset_id(each) for each in [header, *others]}
    assert len(names) == 4
    assert run_id("a", "0:grid") != run_id("a", "1:refine") != run_id("b", "1:refine")


def test_points_are_drawn_whatever_their_order(make_sweep: MakeSweep) -> None:
    sweep = make_sweep()
    sweep.run("local")
    table = sweep.table()
    order = list(range(table.num_rows))
    random.Random(0).shuffle(order)
    names = [
        set(drawn(each, 7).column("point_id").to_pylist())
        for each in (table, table.take(pa.array(order)))
    ]
    assert names[0] == names[1]
    assert len(names[0]) == 7
    assert names[0] < set(drawn(table, 8).column("point_id").to_pylist())
    assert drawn(table, 1000).num_rows == 81


def test_a_table_has_no_more_rows_than_a_chart_shows(
    make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep()
    sweep.run("local")
    assert MOST_ROWS == 10_000
    monkeypatch.setattr("fractal_ray.tracking.summary.MOST_ROWS", 5)
    assert len(results_table(sweep.spec, sweep.rule, sweep.table())["data"]) == 5


def test_ratio_and_outcome_are_those_of_the_label_in_force(make_sweep: MakeSweep) -> None:
    sweep = make_sweep()
    sweep.run("local")
    strict = make_sweep(label={"threshold": 0.7, "window": 5})
    given, other = (
        [dict(zip(t["columns"], row, strict=True)) for row in t["data"]]
        for t in (results_table(s.spec, s.rule, sweep.table()) for s in (sweep, strict))
    )
    assert sum(row["converged"] for row in other) < sum(row["converged"] for row in given)
    assert all(row["converged"] == (row["trainable_ratio"] < 0.7) for row in other if row["stable"])


def test_validation_losses_are_sent_where_runs_have_them(make_sweep: MakeSweep) -> None:
    sweep = make_sweep()
    sweep.run("local")
    table = sweep.table()
    plain = results_table(sweep.spec, sweep.rule, table)
    assert "val_loss" not in plain["columns"]
    summaries = [each for _, _, each in point_runs(sweep.spec, sweep.rule, table, 9)]
    assert not any("val/loss" in each for each in summaries)
    values = [None if row["outcome"] == "diverged" else 1.5 for row in table.to_pylist()]
    place = table.column_names.index("val_loss")
    measured = table.set_column(place, table.schema.field(place), pa.array(values, pa.float64()))
    sent = results_table(sweep.spec, sweep.rule, measured)
    rows = [dict(zip(sent["columns"], row, strict=True)) for row in sent["data"]]
    assert {row["val_loss"] for row in rows if row["stable"]} == {1.5}
    assert {row["val_loss"] for row in rows if not row["stable"]} == {None}
    for _, _, summary in point_runs(sweep.spec, sweep.rule, measured, 81):
        assert summary.get("val/loss") == (1.5 if summary["stable"] else None)


def test_losses_of_rows_that_keep_only_some_have_their_steps(make_sweep: MakeSweep) -> None:
    sweep = make_sweep()
    sweep.run("local")
    rows = sweep.table().to_pylist()
    for row in rows:
        if row["outcome"] != "diverged":
            row["losses"] = row["losses"][:1] + row["losses"][-4:]
    table = pa.Table.from_pylist(rows, schema=sweep.table().schema)
    for config, history, _ in point_runs(sweep.spec, sweep.rule, table, 81):
        steps = [step for step, _ in history]
        (row,) = [row for row in rows if row["point_id"] == config["point_id"]]
        last = [27, 28, 29, 30]
        assert steps == (list(range(1, 18)) if row["outcome"] == "diverged" else [1, *last])


def test_a_dimension_is_sent_with_its_interval_when_a_sheet_gives_one(
    make_sweep: MakeSweep,
) -> None:
    sweep = make_sweep()
    progress = sweep.run("local")
    result, raster = analyze(sweep)
    forced = replace(result, dimension=1.4)
    assert "fractal/dimension" not in summary_values(forced, raster, progress)
    estimate = Estimate("any", 1.4, (1.3, 1.5), "cells", (), (), (2.0, 1.0), (), 5, ())
    given = replace(
        result,
        verified=True,
        verdict="fractal",
        reasons=("it is",),
        dimension=1.4,
        recommended="box",
        estimates={"box": estimate},
    )
    values = summary_values(given, raster, progress)
    found = [values[f"fractal/dimension{end}"] for end in ("", "_low", "_high")]
    assert found == [1.4, 1.3, 1.5]
    assert (values["fractal/verdict"], values["fractal/reasons"]) == ("fractal", "it is")


def test_ratios_are_shares_of_the_nodes_whose_label_is_known(make_sweep: MakeSweep) -> None:
    sweep = make_sweep()
    progress = sweep.run("local")
    result, raster = analyze(sweep)
    # Four trained, two not improved, one diverged, two of which only one label is known.
    codes = np.array([[0, 0, 0], [0, 1, 1], [2, 3, 4]], dtype=np.int8)
    small = replace(
        raster, outcome=codes, loss=np.ones((3, 3)), x=raster.x[:3], y=raster.y[:3],
        inferred=codes > 2,
    )  # fmt: skip
    values = summary_values(result, small, progress)
    assert values["fractal/converged_ratio"] == 4 / 8
    assert values["fractal/stability_ratio"] == 7 / 8
    assert values["fractal/stability_unknown_nodes"] == 1
    assert "fractal/boundary_pixels" not in values
    whole = summary_values(result, replace(small, outcome=np.minimum(codes, 2)), progress)
    assert whole["fractal/stability_ratio"] == pytest.approx(6 / 9)
    assert whole["fractal/boundary_pixels"] > 0


def test_a_place_is_named_without_its_keys() -> None:
    given = "s3://KEY:SECRET@bucket/sweeps/disc?secret_key=S&endpoint_override=host"
    assert without_secrets(given) == "s3://bucket/sweeps/disc?endpoint_override=host"
    assert without_secrets("s3://b/a?region=eu&scheme=http&x=1") == "s3://b/a?region=eu&scheme=http"
    hidden = "s3://b/a?endpoint_override=http://KEY:SECRET@host&access_key=KEY#SECRET"
    assert without_secrets(hidden) == "s3://b/a"
    assert without_secrets("results/disc?") == "results/disc?"
    assert cleaned({"a": [given, 1, None]}) == {"a": [without_secrets(given), 1, None]}


def test_a_copy_of_a_dataset_does_not_tell_the_keys_of_its_storage(
    make_sweep: MakeSweep, tmp_path: Path
) -> None:
    sweep = make_sweep()
    sweep.run("local")
    header = sweep.header()
    assert header is not None
    header["spec"]["storage"] = KEYS
    write_header(sweep.store(), header)
    added: dict[str, Path] = {}

    class Artifact:
        def new_file(self, name: str) -> IO[str]:
            added[name] = tmp_path / f"new-{name.replace('/', '-')}"
            return added[name].open("w")

        def add_file(self, path: str, name: str, **how: Any) -> None:
            added[name] = Path(path)

    assert add_dataset(Artifact(), sweep.store(), copied=False) == []
    assert len(added) == 2
    assert not [name for name, path in added.items() if b"SECRET" in path.read_bytes()]
    given = json.loads(added["sweep.json"].read_text())
    assert given["spec"].pop("storage") == "s3://bucket/sweeps"
    del header["spec"]["storage"]
    assert given == header
    root = Path(sweep.store().root)
    for place in ("verify/frame-0/repeat", "seeds/seed-8"):
        shutil.copytree(root, root / place, ignore=shutil.ignore_patterns("seeds", "verify"))
        write_header(
            Store(str(root / place)), {**header, "spec": {**header["spec"], "storage": KEYS}}
        )
    assert add_dataset(Artifact(), sweep.store(), copied=False) == []
    assert {"verify/frame-0/repeat/sweep.json", "seeds/seed-8/sweep.json"} < set(added)
    assert not [name for name, path in added.items() if b"SECRET" in path.read_bytes()]
    sent = set(added)
    (tmp_path / "credentials").write_text("SECRET")
    (root / "figures").mkdir()
    (root / "figures" / "map.png").symlink_to(tmp_path / "credentials")
    (root / "figures" / "all").symlink_to(tmp_path)
    (root / "figures" / "same.json").symlink_to(root / "sweep.json")
    left_out = add_dataset(Artifact(), sweep.store(), copied=False)
    assert left_out == ["figures/map.png"]
    assert set(added) == sent | {"figures/same.json"}


def test_of_a_dataset_elsewhere_only_the_place_is_told(tmp_path: Path) -> None:
    told: dict[str, Path] = {}

    def new_file(name: str) -> IO[str]:
        told[name] = tmp_path / name
        return told[name].open("w")

    store = SimpleNamespace(filesystem=object(), location="s3://KEY:SECRET@bucket/disc")
    add_dataset(SimpleNamespace(new_file=new_file), cast(Store, store), copied=True)
    assert {name: path.read_text() for name, path in told.items()} == {
        "location.txt": "s3://bucket/disc\n"
    }


def test_the_map_is_the_right_way_up() -> None:
    picture = map_picture([[0, -1], [2, 1]])
    blue, yellow, vermilion = (0, 114, 178), (240, 228, 66), (213, 94, 0)
    assert picture.shape == (480, 480, 3)
    assert [tuple(picture[y, x]) for y, x in ((400, 0), (0, 0), (0, 400))] == [
        blue,
        vermilion,
        yellow,
    ]


def test_the_map_shows_the_parts_of_not_improved() -> None:
    parts = [Outcome.TRAINED, *SPLIT, Outcome.DIVERGED]
    picture = map_picture([[OUTCOME_CODES[part] for part in parts]])
    colors = ["#%02x%02x%02x" % tuple(picture[0, 96 * k]) for k in range(5)]  # noqa: UP031
    assert colors == [OUTCOME_COLORS[part].lower() for part in parts]


class Recorder:
    """A stand-in for `wandb` that records the calls."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, Any]] = []

    def init(self, **given: Any) -> "Recorder.Run":
        self.told.append(("init", given["name"], given["id"]))
        return Recorder.Run(self, given["name"])

    def Image(self, data: Any, caption: str) -> str:
        return caption

    class Run:
        url, step = None, 0

        def __init__(self, outer: "Recorder", name: str) -> None:
            self._outer, self._name = outer, name

        def log(self, values: dict[str, Any], step: int) -> None:
            self._outer.told.append(("log", self._name, (step, "fractal/map" in values)))

        def finish(self, exit_code: int = 0) -> None:
            self._outer.told.append(("finish", self._name, exit_code))


@pytest.fixture
def recorded(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Recorder, "tracking_runs.Runs"]:
    """Make runs of a sweep with a chain of zooms; each look at the clock takes a second."""
    stages = [
        {"grid": {"points": 5}},
        {"zoom": {"factor": 4, "windows": 1, "depth": 2, "points": 5, "pick": "densest"}},
        {"refine": {"levels": 1}},
    ]
    sweep = make_sweep(stages=stages, tracking={"wandb": {}})
    target = find_target(sweep.spec, None, {})
    assert target is not None
    header = {
        "spec": sweep.spec.model_dump(mode="json"),
        "recipe": {},
        "fingerprint": "f",
        "created_at": "2026-01-01T00:00:00+00:00",
        "axes": {},
    }
    setup = {
        "location": sweep.location,
        "target": asdict(target),
        "header": header,
        "since": "2026-01-01T00:00:00+00:00",
    }
    recorder, ticks = Recorder(), itertools.count()
    monkeypatch.setattr(tracking_runs, "wandb", recorder)
    clock = lambda: float(next(ticks))  # noqa: E731
    return recorder, tracking_runs.Runs(setup, tmp_path, lambda text: None, clock)


def state(stage: str, done: int, finished: bool = False) -> dict[str, Any]:
    counts = {"trained": done, "not_improved": 0, "diverged": 0}
    numbers = dict.fromkeys(("reused", "running", "failures", "gave_up", "slots"), 0)
    progress = Progress(
        stage=stage,
        total=99,
        done=done,
        outcomes=counts,
        seconds=1.0,
        x_param="x",
        y_param="y",
        map=[[0]],
        finished=finished,
        **numbers,
    )
    return {**asdict(progress), "rate": progress.rate, "eta": progress.eta}


def test_stages_that_take_turns_keep_their_runs(
    recorded: tuple[Recorder, "tracking_runs.Runs"],
) -> None:
    recorder, runs = recorded
    order = ["0:grid", "1:zoom", "2:refine", "1:zoom", "2:refine"]
    for done, stage in enumerate(order):
        runs.state(state(stage, done))
    begun = [name for what, name, _ in recorder.told if what == "init"]
    assert begun == ["disc 0:grid", "disc 1:zoom", "disc 2:refine"]
    assert [each for each in recorder.told if each[0] == "finish"] == [("finish", "disc 0:grid", 0)]
    runs.close(255)
    ended = [each[1:] for each in recorder.told if each[0] == "finish"][1:]
    assert sorted(ended) == [("disc 1:zoom", 255), ("disc 2:refine", 255)]


def test_the_map_is_sent_now_and_then_and_at_the_end_of_a_stage(
    recorded: tuple[Recorder, "tracking_runs.Runs"],
) -> None:
    recorder, runs = recorded
    for done in range(1, 200):
        runs.state(state("0:grid", done))
    runs.state(state("1:zoom", 200))
    runs.state(state("1:zoom", 201, finished=True))
    pictured = [
        (name, step)
        for what, name, (step, with_map) in (each for each in recorder.told if each[0] == "log")
        if with_map
    ]
    of_grid = [step for name, step in pictured if name == "disc 0:grid"]
    assert of_grid[0] == 1
    assert of_grid[-1] == 199
    assert 3 <= len(of_grid) <= 6
    assert [step for name, step in pictured if name == "disc 1:zoom"] == [200, 201]


def test_the_command_leaves_wandb_alone_when_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    arguments = ["run", "sweeps/weierstrass.yaml", "--engine", "local", "--quiet", "--no-tracking"]
    arguments += ["--set", "stages=[{grid: {points: 9}}]", "--set", "tracking.wandb.tags=[x]"]
    monkeypatch.setattr(sys, "argv", ["fractal-ray", *arguments, "--storage", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (None, 0)
    assert capsys.readouterr().err == ""
    assert not list(tmp_path.rglob("wandb"))
    (part,) = (tmp_path / "weierstrass" / "points").rglob("*.parquet")
    assert pq.read_table(part).num_rows == 81
