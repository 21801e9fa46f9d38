"""The nanochat workload: points do not see each other, and nothing shared is written to."""

import hashlib
import json
import pickle
import shutil
import threading
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from fractal_ray.dataset.header import write_header
from fractal_ray.engine import run as engine_run
from fractal_ray.engine.budget import Budget
from fractal_ray.engine.claim import own_header
from fractal_ray.engine.run import RunOptions
from fractal_ray.engine.workload_of import workload_of
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import RunRecord
from fractal_ray.spec.yaml_file import load_spec, parse_spec
from fractal_ray.sweep import Sweep
from fractal_ray.workloads.base import Footprint, Prepared
from fractal_ray.workloads.nanochat.footprint import measure
from fractal_ray.workloads.nanochat.runner import NanochatRunner
from fractal_ray.workloads.nanochat.settings import DataSpec
from fractal_ray.workloads.nanochat.workload import NanochatWorkload
from nanochat.data.conversations import load_conversations
from nanochat.errors import NanochatError
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.train import first_loss
from tests.fractal_ray.conftest import raw_spec

GOLDEN = Path(__file__).parents[2] / "golden" / "nanochat_tiny"


LAST = {"window": 1}
"""A label of runs of few steps."""


def make(model: str = str(GOLDEN), **changes: Any) -> NanochatWorkload:
    raw = raw_spec(**changes)
    raw["workload"]["model"] = model
    raw["workload"]["data"]["limit"] = 200
    workload = workload_of(parse_spec(raw))
    assert isinstance(workload, NanochatWorkload)
    return workload


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return make().prepare()


@pytest.fixture(scope="module")
def runner(prepared: Prepared) -> NanochatRunner:
    return make().open(prepared.shared, "cpu")


def point(x: float, y: float) -> Point:
    return Point(0, 0, 0, 0, x, y)


def bits(record: RunRecord) -> tuple[Any, ...]:
    return record.losses.tobytes(), record.outcome, record.steps, record.tokens_seen


POINTS = [point(1e-3, 1e-3), point(10.0, 10.0), point(0.03, 0.1), point(1e-3, 1e-3)]


def test_a_point_does_not_depend_on_those_before_it(runner: NanochatRunner) -> None:
    forward = [bits(record) for record in runner.evaluate(POINTS)]
    backward = [bits(record) for record in runner.evaluate(POINTS[::-1])][::-1]
    alone = [bits(next(iter(runner.evaluate([one])))) for one in POINTS]
    assert forward == backward == alone
    assert forward[0] == forward[3]
    assert len(set(forward)) == 3


def test_it_is_the_published_fine_tune(runner: NanochatRunner) -> None:
    """Compare with a run of fractal-llm's own loop (tests/golden): the axes reach the recipe."""
    rows = json.loads((GOLDEN / "finetune_curves.json").read_text())["rows"]
    golden = next(row for row in rows if row["settings"].get("matrix_lr") == 0.02)
    workload = make(
        workload={
            "model": "",
            "data": {"source": "stdlib_qa", "max_seq_len": 128},
            "recipe": {"num_tokens": golden["settings"]["num_tokens"], "dtype": "float32"},
        }
    )
    opened = workload.open(workload.prepare().shared, "cpu")
    (record,) = opened.evaluate([point(golden["settings"]["unembedding_lr"], 0.02)])
    np.testing.assert_allclose(record.losses, golden["losses"], rtol=1e-3)
    assert (record.steps, record.tokens_seen) == (golden["steps"], golden["tokens_seen"])
    assert record.ratio == pytest.approx(golden["trainable_ratio"], rel=1e-4)
    assert (record.outcome == "trained") is golden["converged"]


def test_shared_arrays_may_be_read_only_and_stay_as_they_were(prepared: Prepared) -> None:
    shared = pickle.loads(pickle.dumps(prepared.shared))
    arrays = [*shared.weights.values(), shared.examples.ids, shared.examples.mask]
    for array in arrays:
        array.flags.writeable = False
    before = [hashlib.sha256(array.tobytes()).digest() for array in arrays]
    opened = make().open(shared, "cpu")
    list(opened.evaluate([point(10.0, 10.0)]))
    assert before == [hashlib.sha256(array.tobytes()).digest() for array in arrays]


def test_between_points_nothing_is_read_built_or_tokenised(runner: NanochatRunner) -> None:
    list(runner.evaluate(POINTS[:1]))
    forbidden = [
        "nanochat.model.checkpoint.load_checkpoint",
        "nanochat.data.conversations.load_conversations",
        "nanochat.data.examples.tokenize_conversations",
        "nanochat.tokenizer.tokenizer.Tokenizer.load",
        "nanochat.model.gpt.GPT.__init__",
        "nanochat.train.batches.Batches._collate",
        "builtins.open",
    ]
    patches = [mock.patch(name, side_effect=AssertionError(name)) for name in forbidden]
    for patch in patches:
        patch.start()
    try:
        assert len(list(runner.evaluate(POINTS))) == len(POINTS)
    finally:
        mock.patch.stopall()


@pytest.mark.parametrize(
    ("param", "low", "high", "recipe"),
    [
        ("num_tokens", 500, 2000, {}),
        ("device_batch_size", 2, 8, {}),
        ("warmup_frac", 0.0, 0.9, {}),
        ("weight_decay", 0.0, 1.0, {"unembedding_lr": 0.1}),
        ("embedding_lr", 1e-3, 0.3, {"trainable": "all"}),
        ("learning_rate", 1e-3, 0.1, {"matrix_lr": -1}),
        ("seed", 1, 2, {"shuffle": True}),
    ],
)
def test_any_numeric_field_is_an_axis(
    prepared: Prepared, param: str, low: float, high: float, recipe: dict[str, Any]
) -> None:
    y = "final_lr_frac"
    axes = {
        "x": {"param": param, "scale": "linear", "min": low, "max": high},
        "y": {"param": y, "scale": "linear", "min": 0.0, "max": 1.0},
    }
    raw = raw_spec(axes=axes)["workload"]
    raw["recipe"] = {"num_tokens": 1500, "dtype": "float32", "matrix_lr": 0.02, **recipe}
    workload = make(axes=axes, workload=raw)
    opened = workload.open(prepared.shared, "cpu")
    first, second = (bits(one) for one in opened.evaluate([point(low, 0.5), point(high, 0.5)]))
    assert first != second


def test_divergence_is_an_outcome(prepared: Prepared) -> None:
    axes = raw_spec()["axes"]
    raw = raw_spec()["workload"]
    raw["recipe"] = {"num_tokens": 6000, "dtype": "float32", "weight_decay": 1.0}
    workload = make(axes={**axes, "x": {**axes["x"], "max": 1e30}}, workload=raw)
    opened = workload.open(prepared.shared, "cpu")
    (record,) = opened.evaluate([point(1e25, 1e-3)])
    assert record.outcome == "diverged"
    assert record.diverged_step == record.steps == len(record.losses)
    assert not np.isfinite(record.final_loss)
    assert np.isfinite(record.losses).all()


@pytest.fixture(scope="module")
def too_large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the model with finite weights whose products are infinite."""
    folder = tmp_path_factory.mktemp("too_large")
    shutil.copytree(GOLDEN, folder, dirs_exist_ok=True)
    path = folder / "checkpoints" / "model_000400.pt"
    state = torch.load(path, weights_only=True)
    key = "transformer.h.0.mlp.c_fc.weight"
    torch.save({**state, key: state[key] * 1e20}, path)
    return folder


def test_a_first_loss_that_is_not_finite_refuses_the_sweep(too_large: Path, tmp_path: Path) -> None:
    raw = raw_spec(storage=str(tmp_path / "results"), stages=[{"grid": {"points": 2}}], label=LAST)
    raw["workload"]["model"] = str(too_large)
    with pytest.raises(NanochatError, match="the loss of the first batch is nan in float32 before"):
        Sweep(parse_spec(raw)).run(engine="local")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_the_first_loss_is_announced_only_where_it_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    said = threading.Event()
    monkeypatch.setattr(engine_run, "_SILENT_SECONDS", seconds)
    patience = 0.1 if seconds else 10.0
    monkeypatch.setattr(first_loss, "first_loss", lambda *_: 2.0 + said.wait(patience))
    raw = raw_spec(storage=str(tmp_path), stages=[{"grid": {"points": 2}}], label=LAST)
    raw["workload"]["model"] = str(GOLDEN)
    lines: list[str] = []

    def say(text: str) -> None:
        lines.append(text)
        if "first batch" in text:
            said.set()

    spec = parse_spec(raw)
    options = RunOptions(engine="local", say=say, budget=Budget(points=1))
    engine_run.run_sweep(spec, str(tmp_path / "d"), Sweep(spec).workload(), options)
    note = "computing the loss of the first batch on the CPU, to check the model ..."
    assert (note in lines) == (seconds == 0.0)


@pytest.mark.parametrize("on_axis", [False, True])
def test_batches_beyond_the_rows_are_refused_for_new_datasets(
    tmp_path: Path, on_axis: bool
) -> None:
    data = tmp_path / "rows.jsonl"
    turn = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    data.write_text(f"{json.dumps({'messages': turn})}\n" * 5)
    raw = raw_spec(storage=str(tmp_path), stages=[{"grid": {"points": 2}}], label=LAST)
    raw["workload"]["model"] = str(GOLDEN)
    raw["workload"]["data"] |= {"source": str(data), "limit": 7}
    raw["workload"]["recipe"] |= {"num_iterations": 2}
    size = {"param": "device_batch_size", "scale": "linear", "min": 4, "max": 6}
    start = "axes.y: device_batch_size goes up to 6"
    if on_axis:
        raw["axes"]["y"] = size
    else:
        raw["workload"]["recipe"]["device_batch_size"] = 6
        start = "workload.recipe.device_batch_size is 6"
    sweep = Sweep(parse_spec(raw))
    with pytest.raises(SweepError, match=rf"^{start}, and .*rows.jsonl has 5 rows"):
        sweep.run("local")
    assert not Path(sweep.location).exists() or sweep.header() is None
    workload = sweep.workload()
    fingerprint = workload.prepare().fingerprint
    header = own_header(sweep.spec, sweep.store(), fingerprint, workload.recipe)
    write_header(sweep.store(), header)
    with pytest.warns(UserWarning, match="the dataset goes on") as notes:
        assert sweep.run("local").done == 4
    assert len(notes) == 1
    larger = Sweep(parse_spec(raw, ["workload.data.limit=5"]))
    with pytest.raises(SweepError, match=r"workload\.data\.limit leaves 5 rows"):
        larger.run("local")


@pytest.mark.parametrize(
    ("param", "shuffle", "fails"),
    [
        ("unembedding_lr", False, True),
        ("unembedding_lr", True, True),
        ("device_batch_size", False, False),
        ("target_examples_per_step", False, False),
        ("seed", True, False),
    ],
)
def test_a_first_loss_that_is_not_finite_is_an_outcome_only_where_an_axis_changes_it(
    too_large: Path, param: str, shuffle: bool, fails: bool
) -> None:
    x = {"param": param, "scale": "linear", "min": 8, "max": 16}
    raw = raw_spec(axes={"x": x, "y": raw_spec()["axes"]["y"]}, stages=[{"grid": {"points": 2}}])
    raw["workload"]["recipe"] |= {"shuffle": shuffle}
    workload = make(str(too_large), **raw)
    runs = workload.open(workload.prepare().shared, "cpu").evaluate([point(8, 1e-3)])
    if fails:
        with pytest.raises(RuntimeError, match="first batch is nan before any update"):
            next(runs)
    else:
        record = next(runs)
        assert (record.outcome, record.diverged_step) == ("diverged", 0)


def test_fingerprints_name_model_data_and_length(prepared: Prepared) -> None:
    assert make().prepare().fingerprint == prepared.fingerprint
    shorter = raw_spec()["workload"]
    shorter["data"]["max_seq_len"] = 64
    assert make(workload=shorter).prepare().fingerprint != prepared.fingerprint
    assert make(model="preset:tiny").prepare().fingerprint != prepared.fingerprint
    assert make().recipe["trainable_param_groups"] == "matrix,unembedding"


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "checkpoints", tmp_path / "checkpoints")
    Tokenizer.train(["some other text"] * 9, 270).save(tmp_path / "tokenizer")
    with pytest.raises(NanochatError, match=r"270 tokens.*512.*do not belong together"):
        make(model=str(tmp_path)).prepare()


def test_a_gpu_that_is_not_there(prepared: Prepared) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(NanochatError, match=r"resources\.gpu: 0"):
        make().open(prepared.shared, "cuda")


def test_attention_against_feed_forward(tmp_path: Path) -> None:
    """Run sweeps/torkamandi.yaml on a few tokens: either axis changes a run."""
    changes = (
        f"storage={tmp_path}",
        f"workload.model={GOLDEN}",
        "workload.data.limit=40",
        "workload.recipe.num_iterations=2",
        "label.window=1",
        "workload.recipe.device_batch_size=4",
        "stages=[{grid: {points: 3}}]",
    )
    sweep = Sweep.open("sweeps/torkamandi.yaml", changes)
    assert sweep.run(engine="local").finished
    last = {(row["x"], row["y"]): row["final_loss"] for row in sweep.table().to_pylist()}
    assert len(last) == len(set(last.values())) == 9


@pytest.mark.parametrize(
    ("x", "y", "points"),
    [
        ((0.1020022, 0.102002225), (0.02500022, 0.025000229), [251, 91]),
        ((0.1020022, 0.1020022015), (0.02500022, 0.02500022153), [151, 154]),
    ],
)
def test_published_windows_below_float32_are_refused(
    x: tuple[float, float], y: tuple[float, float], points: list[int]
) -> None:
    """Refuse steps of 1e-10 and 1e-11, as arXiv 2501.04286 and its code have them."""
    changes = [f"stages=[{{grid: {{points: {points}}}}}]"]
    for side, (low, high) in (("x", x), ("y", y)):
        changes += [f"axes.{side}.min={low!r}", f"axes.{side}.max={high!r}"]
    with pytest.raises(SweepError, match=r"mlp_lr: \d+ nodes are [1-9] different float32"):
        load_spec("sweeps/torkamandi.yaml", changes)


def test_a_probe_takes_the_largest_batch_and_the_longest_rows(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nanochat.train.batches

    seen = []

    def noting(examples: Any, *rest: Any) -> Any:
        seen.append(examples)
        return make_batches(examples, *rest)

    make_batches = nanochat.train.batches.make_batches
    monkeypatch.setattr(nanochat.train.batches, "make_batches", noting)
    workload = make()
    result = workload.two_largest_steps(prepared.shared, "cpu")
    assert result.steps == 2
    rows = np.sort(prepared.shared.examples.lengths)[::-1]
    assert list(seen[0].lengths) == list(rows[: 2 * workload._largest_batch])
    assert len(seen[0].ids) == len(seen[0].mask) == seen[0].offsets[-1]


def test_what_a_run_takes_of_a_card_is_told_apart_from_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = {
        "synchronize": lambda: None,
        "mem_get_info": lambda: (60, 100),
        "memory_reserved": lambda: 30,
        "max_memory_reserved": lambda: 35,
    }
    for name, answer in facts.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    ran = []
    assert measure(lambda: ran.append(1)) == Footprint(peak=35, context=10, total=100)
    assert ran == [1]


GRID = [point(x, y) for x in (1e-3, 0.05, 1e29) for y in (1e-3, 0.3, 8.0)]


@pytest.mark.parametrize("together", [2, 4, 9, 32])
def test_points_side_by_side_are_the_points_one_by_one(prepared: Prepared, together: int) -> None:
    one_by_one = make(resources={"points_per_trial": 1}).open(prepared.shared, "cpu")
    opened = make(resources={"points_per_trial": together}).open(prepared.shared, "cpu")
    expected, found = (list(some.evaluate(GRID)) for some in (one_by_one, opened))
    assert [bits(record) for record in found] == [bits(record) for record in expected]
    assert {record.side_by_side for record in expected} == {1}
    last = len(GRID) % together or together
    assert [record.side_by_side for record in found[-last:]] == [last] * last
    assert found[0].side_by_side == min(together, len(GRID))
    assert all(record.deterministic for record in found)


def test_auto_finds_a_number_while_it_works(prepared: Prepared) -> None:
    opened = make().open(prepared.shared, "cpu")
    assert opened.side_by_side == 1
    records = list(opened.evaluate([GRID[1]] * 40))
    assert len({bits(record) for record in records}) == 1
    sizes = [record.side_by_side for record in records]
    assert sizes[:5] == [1, 1, 1, 2, 2]
    assert max(sizes) <= 32


def test_points_of_other_lengths_do_not_go_together(prepared: Prepared) -> None:
    axes = {
        "x": {"param": "num_iterations", "scale": "linear", "min": 1, "max": 9},
        "y": {"param": "matrix_lr", "scale": "log", "min": 1e-3, "max": 1.0},
    }
    opened = make(axes=axes, resources={"points_per_trial": 4}).open(prepared.shared, "cpu")
    points = [point(x, y) for x, y in ((2, 0.1), (2, 0.2), (5, 0.1), (5, 0.1), (5, 0.3), (1, 0.1))]
    records = list(opened.evaluate(points))
    assert [record.steps for record in records] == [2, 2, 5, 5, 5, 1]
    assert [record.side_by_side for record in records] == [2, 2, 3, 3, 3, 1]


def test_full_logits_are_other_runs_and_say_so(prepared: Prepared) -> None:
    raw = raw_spec()["workload"]
    raw["kernels"] = ["full_logits"]
    as_the_source, plain = make(workload=raw), make()
    assert as_the_source.recipe == {**plain.recipe, "kernels": "full_logits"}
    opened = as_the_source.open(prepared.shared, "cpu")
    assert opened.side_by_side == 1
    (one,), (other,) = (
        some.evaluate([GRID[4]]) for some in (opened, make().open(prepared.shared, "cpu"))
    )
    assert (one.kernels, other.kernels) == ("full_logits", "")
    np.testing.assert_allclose(one.losses, other.losses, rtol=1e-2)
    assert list(opened.evaluate([GRID[4]] * 3))[2].side_by_side == 1


def test_float16_goes_alone(prepared: Prepared) -> None:
    raw = raw_spec()["workload"]
    raw["recipe"] = {**raw.get("recipe", {}), "dtype": "float16", "num_iterations": 2}
    opened = make(workload=raw).open(prepared.shared, "cpu")
    assert [r.side_by_side for r in opened.evaluate([GRID[1]] * 5)] == [1] * 5


def test_rows_of_a_sweep_say_how_they_were_computed(tmp_path: Path) -> None:
    changes = (
        f"storage={tmp_path}",
        f"workload.model={GOLDEN}",
        "workload.data.limit=40",
        "workload.recipe.num_iterations=2",
        "label.window=1",
        "workload.recipe.deterministic=false",
        "resources.points_per_trial=4",
        "points_per_tile=4",
        "stages=[{grid: {points: 3}}]",
    )
    sweep = Sweep.open("sweeps/quickstart.yaml", changes)
    assert sweep.run(engine="local").finished
    rows = sweep.table().to_pylist()
    assert {row["deterministic"] for row in rows} == {False}
    assert sorted(row["side_by_side"] for row in rows) == [1] + [4] * 8
    assert {row["kernels"] for row in rows} == {""}


def test_what_fills_a_stack_is_paid_by_its_points(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fill stacks as on a GPU, where they are always full."""
    monkeypatch.setattr(NanochatRunner, "_same_shapes", True)
    opened = make(resources={"points_per_trial": 6}).open(prepared.shared, "cpu")
    start = time.perf_counter()
    (record,) = opened.evaluate(GRID[1:2])
    wall = time.perf_counter() - start
    assert 0.5 * wall < record.seconds <= wall
    assert record.side_by_side == 1
    (alone,) = (
        make(resources={"points_per_trial": 1}).open(prepared.shared, "cpu").evaluate(GRID[1:2])
    )
    assert bits(record) == bits(alone)


def test_too_many_side_by_side_for_the_memory_are_told(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("no memory left")

    opened = make(resources={"points_per_trial": 3}).open(prepared.shared, "cpu")
    monkeypatch.setattr("nanochat.train.stepper.Stepper.accumulate", full)
    with pytest.raises(torch.OutOfMemoryError, match=r"3 points side by side.*points_per_trial"):
        list(opened.evaluate(GRID))
    monkeypatch.undo()
    assert len(list(opened.evaluate(GRID))) == len(GRID)


def test_bad_rows_are_left_out_and_kept_in_the_header(tmp_path: Path) -> None:
    rows = [json.dumps(each) for each in load_conversations("stdlib_qa", limit=40)]
    clean, spoilt = tmp_path / "clean.jsonl", tmp_path / "spoilt.jsonl"
    clean.write_text("\n".join(rows))
    spoilt.write_text("\n".join([*rows[:5], "[]", *rows[5:]]))
    section = raw_spec()["workload"]

    def prepared(path: Path, **data: Any) -> Prepared:
        return make(workload={**section, "data": {"source": str(path), **data}}).prepare()

    with pytest.raises(NanochatError, match="row 6: there are no messages"):
        prepared(spoilt)
    with pytest.warns(UserWarning, match="1 bad row left out; .*row 6: there are no messages$"):
        skipped = prepared(spoilt, skip_bad_rows=1)
    assert skipped.fingerprint == prepared(clean).fingerprint
    record = {"count": 1, "first": [f"{spoilt}, row 6: there are no messages"]}
    assert skipped.data_facts == {"skipped_rows": record}
    assert prepared(clean, skip_bad_rows=1).data_facts == {}


def test_a_spec_without_the_option_is_stored_as_before() -> None:
    data = DataSpec(source="talks.jsonl")
    assert data.model_dump() == {
        "source": "talks.jsonl",
        "split": "train",
        "max_seq_len": 1024,
        "limit": None,
    }
    assert DataSpec(source="talks.jsonl", skip_bad_rows=3).model_dump()["skip_bad_rows"] == 3


def test_a_window_of_more_than_half_of_the_steps_is_refused_once_the_data_are_read(
    prepared: Prepared,
) -> None:
    recipe = {"num_tokens": 1500, "dtype": "float32"}
    raw = {**raw_spec()["workload"], "recipe": recipe}
    (record,) = make(workload=raw).open(prepared.shared, "cpu").evaluate([point(0.1, 0.1)])
    half = record.steps // 2
    make(workload=raw, label={"window": half}).check_start(prepared.shared, new=True)
    longer = make(workload=raw, label={"window": half + 1})
    line = (
        rf"label\.window is {half + 1}, more than half of the {record.steps} steps of a run; set"
        rf" label\.window: {half} or less, or workload\.recipe\.num_tokens, for {2 * half + 2}"
    )
    with pytest.raises(SweepError, match=f"^{line} steps or more; nothing was run$"):
        longer.check_start(prepared.shared, new=True)
    with pytest.warns(UserWarning, match=f"the dataset goes on, .*: {line}"):
        longer.check_start(prepared.shared, new=False)


def test_points_whose_window_is_too_long_are_counted(prepared: Prepared) -> None:
    axes = {
        "x": {"param": "num_tokens", "scale": "linear", "min": 100, "max": 2500},
        "y": {"param": "device_batch_size", "scale": "linear", "min": 4, "max": 8},
    }
    workload = make(axes=axes, stages=[{"grid": {"points": [4, 2]}}], label={"window": 2})
    points = [point(x, y) for y in (4, 8) for x in (100, 900, 1700, 2500)]
    steps = [r.steps for r in workload.open(prepared.shared, "cpu").evaluate(points)]
    assert workload.window_fit(prepared.shared).steps.ravel().tolist() == steps
    count = sum(each < 4 for each in steps)
    assert 1 < steps.count(1) < count < 8
    line = (
        rf"label\.window 2 is more than half of the steps of {count} of the 8 points of the grid"
        rf" \(num_tokens and device_batch_size change the steps\); {steps.count(1)} have one step"
    )
    with pytest.warns(UserWarning, match=line) as notes:
        workload.check_start(prepared.shared, new=True)
    assert len(notes) == 1
    exclusive = make(
        axes={
            "x": {"param": "target_examples_per_step", "scale": "linear", "min": 24, "max": 40},
            "y": {"param": "device_batch_size", "scale": "linear", "min": 6, "max": 8},
        },
        stages=[{"grid": {"points": [2, 2]}}],
        label={"window": 1},
    )
    with pytest.warns(UserWarning):
        exclusive.check_start(prepared.shared, new=True)
    # 40 examples in a step are no multiple of a batch of 6: this point fails in its run.
    assert (exclusive.window_fit(prepared.shared).steps == 0).tolist() == [[0, 1], [0, 0]]
