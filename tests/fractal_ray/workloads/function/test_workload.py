"""The workload `function`: what a function gets, what it may return, and what its rows hold."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import fractal_ray
from fractal_ray.engine.rerun import rerun
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import Outcome
from tests.fractal_ray.workloads.function.conftest import (
    TRAIN,
    MakeSweep,
    load,
    points_of,
    runner_of,
    write,
)

LIST = "return [2.0, 1.0, 0.5]"
FORMS = {
    "list": LIST,
    "tuple": "return (2, 1, 0.5)",
    "array": "import numpy; return numpy.array([2.0, 1.0, 0.5])",
    "tensor": "import torch; return torch.tensor([2.0, 1.0, 0.5])",
    "tensors": "import torch; return [torch.tensor(loss) for loss in (2.0, 1.0, 0.5)]",
    "generator": "yield 2.0; yield 1.0; yield 0.5",
    "iterator": "return iter([2.0, 1.0, 0.5])",
    "mapping": "return {'losses': [2.0, 1.0, 0.5]}",
    "reference": "return {'losses': [1.0, 0.5], 'reference': 2.0}",
    "record": "import fractal_ray\n    for loss in (2.0, 1.0, 0.5): fractal_ray.record(loss)",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_losses(make_sweep: MakeSweep, form: str) -> None:
    sweep = make_sweep(f"def train(params):\n    {FORMS[form]}\n")
    (record,) = runner_of(sweep).evaluate(points_of(sweep)[:1])
    assert record.losses.tolist() == [2.0, 1.0, 0.5]
    assert record.losses.dtype == np.float32
    assert record.steps == 3
    assert record.first_loss == 2.0
    assert record.final_loss == record.best_loss == 0.5


BAD = {
    "nothing": ("pass", "train.py:train returned nothing: a function returns a list of losses"),
    "scalar": ("return 0.3", "train.py:train returned one number, 0.3: a function returns"),
    "zero-d": ("import torch; return torch.tensor(0.3)", "train.py:train returned one number"),
    "text": ("return 'done'", "train.py:train returned the text 'done'"),
    "empty": ("return []", "train.py:train returned no losses, an empty list"),
    "matrix": ("import numpy; return numpy.ones((2, 3))", "an array of shape .2, 3."),
    "set": ("return {1.0, 2.0}", "train.py:train returned {1.0, 2.0}"),
    "none inside": ("return [1.0, None]", "loss 1 of train.py:train is None, not a number"),
    "text inside": ("yield 'a'", "loss 0 is 'a', not a number"),
    "unknown key": ("return {'loss': [1.0]}", "returned the key 'loss'; allowed: losses, metrics"),
    "no losses": ("return {'metrics': {}}", "without losses"),
    "undeclared": ("return {'losses': [1.0], 'metrics': {'acc': 1}}", "workload.metrics does not"),
    "both": ("import fractal_ray; fractal_ray.record(1.0); yield 1.0", "take one of both"),
    "twice": ("import fractal_ray; fractal_ray.record(1.0); return [1.0]", "returns .1.0. too"),
    "exits": ("import sys; sys.exit(3)", "train.py:train called sys.exit.3."),
    "raises": ("raise KeyError('data')", "'data'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_wrong_result_is_a_failure_that_names_the_function(
    make_sweep: MakeSweep, kind: str
) -> None:
    body, message = BAD[kind]
    sweep = make_sweep(f"def train(params):\n    {body}\n")
    with pytest.raises((TypeError, RuntimeError, KeyError), match=message):
        list(runner_of(sweep).evaluate(points_of(sweep)[:1]))


def test_a_failure_keeps_the_traceback_of_the_function(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("def train(params):\n    raise KeyError('data')\n")
    with pytest.raises(fractal_ray.SweepStoppedError) as caught:
        sweep.run("local")
    assert 'train.py", line 2, in train' in str(caught.value)
    assert "raise KeyError('data')" in str(caught.value)


DIVERGING = {
    "only nan": ("return [float('nan')] * 5", 0, [], "non-finite loss at step 0"),
    "list": ("return [2.0, 3.0, float('inf'), 1.0]", 2, [2.0, 3.0], "non-finite loss at step 2"),
    "generator": ("yield 2.0; yield float('nan'); raise KeyError", 1, [2.0], "non-finite loss"),
    "record": (
        "import fractal_ray\n    for loss in (2.0, float('nan'), 1.0): fractal_ray.record(loss)",
        1,
        [2.0],
        "non-finite",
    ),
    "record in try": (
        "import fractal_ray as f\n    try: f.record(float('nan'))\n    except Exception: pass",
        0,
        [],
        "non-finite",
    ),
    "Diverged": (
        "import fractal_ray; raise fractal_ray.Diverged(7, 'norm of 1e9')",
        7,
        [],
        "norm of 1e9",
    ),
    "Diverged after losses": (
        "import fractal_ray; yield 2.0; yield 1.0; raise fractal_ray.Diverged()",
        2,
        [2.0, 1.0],
        "raised Diverged",
    ),
    "FloatingPointError": (
        "yield 2.0; raise FloatingPointError('overflow')",
        1,
        [2.0],
        "FloatingPointError: overflow",
    ),
    "diverges_on": (
        "raise ValueError('Floating-point under-/overflow occurred')",
        0,
        [],
        "ValueError: Floating-point",
    ),
    "a subclass": (
        "class Blown(OverflowError): pass\n    raise Blown('big')",
        0,
        [],
        "Blown: big",
    ),
}


@pytest.mark.parametrize("kind", DIVERGING)
def test_divergence_is_a_row(make_sweep: MakeSweep, kind: str) -> None:
    body, step, losses, reason = DIVERGING[kind]
    rules = [{"ValueError": "Floating-point"}, "OverflowError"]
    sweep = make_sweep(f"def train(params):\n    {body}\n", diverges_on=rules)
    (record,) = runner_of(sweep).evaluate(points_of(sweep)[:1])
    assert record.outcome is Outcome.DIVERGED
    assert record.diverged_step == step
    assert record.losses.tolist() == losses
    assert reason in record.reason


def test_another_message_or_want_of_memory_is_a_failure(make_sweep: MakeSweep) -> None:
    rules = [{"ValueError": "Floating-point"}, {"RuntimeError": "memory"}]
    body = "def train(params):\n    raise ValueError('a bug')\n"
    sweep = make_sweep(body, diverges_on=rules)
    with pytest.raises(ValueError, match="a bug"):
        list(runner_of(sweep).evaluate(points_of(sweep)[:1]))
    body = "class OutOfMemoryError(RuntimeError): pass\n"
    body += "def train(params):\n    raise OutOfMemoryError('out of memory')\n"
    sweep = make_sweep(body, diverges_on=rules)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(runner_of(sweep).evaluate(points_of(sweep)[:1]))


def test_a_divergence_ends_a_generator_at_once(make_sweep: MakeSweep, tmp_path: Path) -> None:
    log = tmp_path / "log"
    sweep = make_sweep(
        f"""
        from pathlib import Path
        def train(params):
            try:
                for step in range(100):
                    with Path({str(log)!r}).open("a") as file: file.write(f"{{step}} ")
                    yield 1.0 if step < 3 else float("inf")
            finally:
                with Path({str(log)!r}).open("a") as file: file.write("closed")
        """
    )
    list(runner_of(sweep).evaluate(points_of(sweep)[:1]))
    assert log.read_text() == "0 1 2 3 closed"


def test_a_function_gets_what_it_declares_by_name(make_sweep: MakeSweep, tmp_path: Path) -> None:
    out = tmp_path / "arguments"
    sweep = make_sweep(
        f"""
        from pathlib import Path
        def prepare(params, seed):
            return {{"name": params["name"], "seed": seed}}
        def train(out_dir, *, shared, device, seed, params, extra=1, **more):
            (out_dir / "file").write_text("x")
            Path({str(out)!r}).write_text(repr((shared, device, seed, params, extra, more)))
            params["layers"].append(9)
            return [1.0]
        """,
        settings={"name": "a", "layers": [1, 2]},
        seed=5,
        axes={
            "x": {"param": "width", "scale": "log", "min": 4, "max": 64, "type": "int"},
            "y": {"param": "lr", "scale": "linear", "min": 0.0, "max": 1.0},
        },
    )
    runner = runner_of(sweep)
    for point in (Point(0, 0, 0, 0, 8.0, 0.5), Point(0, 0, 1, 0, 8.0, 0.5)):
        list(runner.evaluate([point]))
        params = {"name": "a", "layers": [1, 2], "width": 8, "lr": 0.5}
        assert out.read_text() == repr(({"name": "a", "seed": 5}, "cpu", 5, params, 1, {}))
    assert type(params["width"]) is int


def test_shared_arrays_are_read_only_and_may_be_of_own_classes(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(
        """
        import numpy
        class Data:
            def __init__(self): self.x = numpy.ones(3)
        def prepare():
            return Data()
        def train(shared):
            assert type(shared) is Data
            shared.x += 1
            return [1.0]
        """
    )
    with pytest.raises(ValueError, match="read-only"):
        list(runner_of(sweep).evaluate(points_of(sweep)[:1]))


RANDOM = """
import random, numpy, torch
def train(params, seed):
    return [random.random() + numpy.random.rand() + float(torch.rand(())) + seed]
"""


def test_runs_are_seeded_alike_and_leave_no_trace(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(RANDOM)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    losses = [record.first_loss for record in runner_of(sweep).evaluate(points_of(sweep))]
    now = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    assert len({*losses}) == 1
    assert now == before
    other = runner_of(make_sweep(RANDOM, seed=3))
    (record,) = other.evaluate(points_of(sweep)[:1])
    assert record.first_loss != losses[0] + 3


def test_a_seed_per_point_differs_and_repeats(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(RANDOM, seed_per_point=True)
    losses = [record.first_loss for record in runner_of(sweep).evaluate(points_of(sweep))]
    backwards = list(runner_of(sweep).evaluate(points_of(sweep)[::-1]))[::-1]
    assert len({*losses}) == 9
    assert [record.first_loss for record in backwards] == losses
    assert sweep.workload().recipe["seed_per_point"] is True
    notes = sweep.spec.workload.plan_notes()
    assert any("neighbours differ by chance" in note for note in notes)


def test_a_seed_may_be_an_axis(make_sweep: MakeSweep) -> None:
    axes = {
        "x": {"param": "lr", "scale": "linear", "min": 0.0, "max": 1.0},
        "y": {"param": "seed", "scale": "linear", "min": 0, "max": 2},
    }
    sweep = make_sweep("def train(params, seed):\n    return [seed + len(params)]\n", axes=axes)
    sweep.run("local")
    points = sweep.points
    assert sorted(points["first_loss"]) == [1.0] * 3 + [2.0] * 3 + [3.0] * 3
    assert list(points["seed"]) == list(points["y"])


LEAKS = """
import numpy
def train(params):
    import torch
    loss = float(torch.ones(1, requires_grad=True).sum().requires_grad)
    loss += torch.get_default_dtype().itemsize + torch.get_num_threads() / 100
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    torch.set_default_device("meta")
    numpy.seterr(all="raise")
    return [loss]
"""


def test_settings_of_torch_and_numpy_are_put_back(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(LEAKS)
    before = torch.get_num_threads(), np.geterr()
    losses = [record.first_loss for record in runner_of(sweep).evaluate(points_of(sweep))]
    assert losses == [pytest.approx(5.01)] * 9
    assert (torch.get_num_threads(), np.geterr()) == before
    assert torch.get_default_dtype() is torch.float32
    assert torch.is_grad_enabled()
    assert torch.get_default_device() == torch.device("cpu")


def test_metrics_are_columns_that_join_survives(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(
        """
        def train(params):
            if params["lr"] > 0.01: return [float("nan")]
            return {"losses": [1.0, 0.5], "metrics": {"acc": params["lr"], "val_loss": 0.25}}
        """,
        metrics={"acc": "max", "val_loss": "min"},
    )
    sweep.run("local")
    points = sweep.points
    trained = points[points["outcome"] != "diverged"]
    assert list(trained["metric_acc"]) == list(trained["x"])
    assert set(trained["val_loss"]) == {0.25}
    assert points[points["outcome"] == "diverged"]["metric_acc"].isna().all()
    table = load(Path(sweep.spec.storage).parent).table()
    assert "metric_acc" in table.column_names


def test_a_missing_metric_is_a_failure(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(TRAIN, metrics={"acc": "max"})
    with pytest.raises(TypeError, match="gives no metric acc, which workload"):
        list(runner_of(sweep).evaluate(points_of(sweep)[:1]))


def test_printed_text_does_not_reach_the_standard_output(
    make_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make_sweep("def train(params):\n    print('hello')\n    return [1.0]\n")
    list(runner_of(sweep).evaluate(points_of(sweep)[:1]))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "hello\n"


def test_a_copy_made_by_fork_ends_there(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep = make_sweep(
        """
        import os
        def train(params):
            child = os.fork()
            if child: os.waitpid(child, 0)
            return [1.0, 0.5]
        """
    )
    sweep.run("local")
    assert len(sweep.points) == 9


def test_a_batch_runs_many_points_and_alone_where_one_diverges(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(
        """
        import fractal_ray
        calls = []
        def train(params): ...
        def batch(params, seed):
            calls.append(len(params))
            if any(each["lr"] > 0.01 for each in params): raise fractal_ray.Diverged(2)
            return [[1.0 + each["lr"], 0.5] for each in params]
        train.batch = batch
        """
    )
    runner = runner_of(sweep)
    points = points_of(sweep)
    records = list(runner.evaluate(points))
    alone = [next(iter(runner.evaluate([point]))) for point in points]
    assert [record.outcome for record in records] == [record.outcome for record in alone]
    assert [r.losses.tolist() for r in records] == [r.losses.tolist() for r in alone]
    assert sum(record.outcome is Outcome.DIVERGED for record in records) == 3
    low = [point for point in points if point.x <= 0]
    assert len(list(runner.evaluate(low))) == 6


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [1.0]", "train.py:train.batch returned 1 results for 9 points"),
        ("return None", "train.py:train.batch returned None for 9 points"),
    ],
)
def test_a_batch_gives_a_result_for_each_point(
    make_sweep: MakeSweep, body: str, message: str
) -> None:
    text = f"def train(params): ...\ndef batch(params):\n    {body}\ntrain.batch = batch\n"
    sweep = make_sweep(text)
    with pytest.raises(TypeError, match=message):
        list(runner_of(sweep).evaluate(points_of(sweep)))


CALLS = {
    "no function": ("train = 3", "train.py:train is 3, not a function"),
    "a class": ("class train: pass", "train.py:train is a class, not a function"),
    "async": ("async def train(params): ...", "train.py:train is a coroutine"),
    "an argument": (
        "def train(lr): ...",
        "train.py:train needs the argument 'lr'; allowed: params",
    ),
    "positional": ("def train(params, /): ...", "needs the argument 'params'"),
    "missing": ("def other(params): ...", "train.py has no 'train'; its functions: other"),
    "misspelt": ("def trian(params): ...", "has no 'train'; did you mean 'trian'?"),
    "syntax": ("def train(params:\n", "train.py is not valid Python"),
    "an import": ("import no_such_module\ndef train(): ...", "No module named 'no_such_module'"),
    "raises": ("1 / 0\ndef train(): ...", "ZeroDivisionError: division by zero .train.py, line 1"),
    "exits": ("raise SystemExit(2)", "train.py cannot be imported: SystemExit: 2"),
    "no prepare": ("def train(shared): ...", "has no function prepare"),
    "bad prepare": ("def prepare(x): ...\ndef train(shared): ...", "needs the argument 'x'"),
    "prepare fails": ("def prepare(): 1 / 0\ndef train(shared): ...", "prepare failed: Zero"),
    "not sent": (
        "def prepare(): return open('/dev/null')\ndef train(shared): ...",
        "the value of prepare.. for train.py:train cannot be sent to workers",
    ),
}


@pytest.mark.parametrize("kind", CALLS)
def test_a_wrong_call_is_refused_before_anything_runs(make_sweep: MakeSweep, kind: str) -> None:
    text, message = CALLS[kind]
    sweep = make_sweep(text)
    with pytest.raises(SweepError, match=message):
        sweep.run("local")
    assert not Path(sweep.location).exists()


def test_a_missing_file_is_named(make_sweep: MakeSweep, tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"there is no file .*/gone\.py; the path is relative to"):
        make_sweep(call="gone.py:train").run("local")
    with pytest.raises(SweepError, match=r"workload\.files\.0: there is no file .*/data\.csv"):
        make_sweep(files=["data.csv"]).run("local")
    with pytest.raises(SweepError, match="there is no module 'no_such'"):
        make_sweep(call="no_such:train").run("local")


def test_record_does_nothing_outside_of_a_sweep() -> None:
    for name in ("report", "sweep", "dataset.store", "workloads.function.workload"):
        __import__(f"fractal_ray.{name}")
    assert fractal_ray.record(float("nan"), val_loss=1.0) is None
    assert "fractal_ray.record" not in sys.modules


def test_modules_of_this_process_are_left_alone(make_sweep: MakeSweep, tmp_path: Path) -> None:
    write(tmp_path, helper="def scale(): return 2.0\n")
    sweep = make_sweep("import helper\ndef train(params):\n    return [helper.scale(), 1.0]\n")
    sentinel = sys.modules["helper"] = type(sys)("helper")
    path, folder = list(sys.path), Path.cwd()
    try:
        (record,) = runner_of(sweep).evaluate(points_of(sweep)[:1])
        assert record.first_loss == 2.0
        assert sys.modules["helper"] is sentinel
    finally:
        del sys.modules["helper"]
    assert "train" not in sys.modules
    assert sys.path == path
    assert Path.cwd() == folder


def test_modules_that_answer_every_attribute_do_no_harm(make_sweep: MakeSweep) -> None:
    """`torch.classes` is such a module."""
    sweep = make_sweep(
        """
        import sys, types
        class Odd(types.ModuleType):
            def __getattr__(self, name): return self
        sys.modules["odd_module"] = Odd("odd_module")
        def train(params): return [1.0, 0.5]
        """
    )
    try:
        assert len(list(runner_of(sweep).evaluate(points_of(sweep)))) == 9
    finally:
        del sys.modules["odd_module"]


def test_verify_names_losses_of_another_length(make_sweep: MakeSweep, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    text = f"""
    from pathlib import Path
    def train(params):
        more = Path({str(marker)!r}).exists()
        return [1.0, 1.0 + 30 * params["lr"]] * (15 + more)
    """
    sweep = make_sweep(text)
    sweep.run("local")
    marker.touch()
    lines = sweep.verify(points=20, engine="local").lines()
    assert any("6 runs gave another number of losses than before" in line for line in lines), lines
    kept = (Path(sweep.location) / "verify/frame-0/sheet-broken.json").read_text()
    assert kept.count('"other_lengths": 6') == kept.count("other_lengths") == 1


def test_rerun_keeps_what_the_function_writes(make_sweep: MakeSweep, tmp_path: Path) -> None:
    text = """
    def train(params, out_dir):
        (out_dir / "model.txt").write_text(str(params["lr"]))
        return [1.0, 0.5 + params["lr"]] * 20
    """
    sweep = make_sweep(text)
    sweep.run("local")
    lines: list[str] = []
    best = rerun(sweep, "-0.02,0.5", tmp_path / "models", lines.append)
    assert best.deviation == 0
    assert best.exit_code == 0
    assert best.model is not None
    assert (best.model / "model.txt").read_text() == "-0.02"
    assert best.result == tmp_path / "models/lr=-0.02-decay=0.5/result.json"
    again = rerun(sweep, "-0.02,0.5", tmp_path / "models", lines.append)
    assert again.result == tmp_path / "models/lr=-0.02-decay=0.5-2/result.json"
    write(tmp_path, train="def train(params): return [1.0, 0.5]\n")
    with pytest.raises(SweepError, match=r"train\.py:train or its files have changed since"):
        rerun(sweep, "-0.02,0.5", tmp_path / "models", lines.append)


def test_advice_on_a_function_names_no_baseline_command(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(TRAIN)
    sweep.run("local")
    text = "\n".join(sweep.advice().lines())
    assert "the first loss of each run stands in for that of the untouched model" in text
    assert "--baseline" not in text


def test_a_zoom_of_a_function_runs_the_same_function(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(TRAIN)
    sweep.run("local")
    closer = sweep.zoom((0.0, 0.015), (0.5, 0.7), points=3, engine="local")
    assert len(closer.table()) > len(sweep.table())
