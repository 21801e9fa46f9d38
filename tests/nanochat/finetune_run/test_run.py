"""A single fine-tune as its user sees it: lines, result file, record, model."""

import contextlib
import errno
import json
import math
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import nanochat.finetune_run.run
from nanochat.data.conversations import load_conversations
from nanochat.errors import NanochatError
from nanochat.finetune_run.inputs import load_run_inputs
from nanochat.finetune_run.rows import load_rows
from nanochat.finetune_run.run import run_finetune
from nanochat.finetune_run.settings import parse_settings
from nanochat.finetune_run.tracking import Tracker
from nanochat.model.checkpoint import load_checkpoint
from nanochat.sources.load import load_model
from nanochat.tokenizer.tokenizer import Tokenizer

QUICK = {"data": "stdlib_qa", "limit": 400, "max_seq_len": 128, "dtype": "float32"}


@pytest.fixture
def given(golden_folder: Path) -> dict[str, Any]:
    return {**QUICK, "model": str(golden_folder), "num_tokens": 4000, "eval_every": 0}


def _run(given: dict[str, Any], out: Path) -> Any:
    lines = []
    settings, recipe = parse_settings(given)
    inputs = load_run_inputs(settings, recipe, lines.append)
    return run_finetune(settings, recipe, inputs, out, lines.append), lines


def _strict(path: Path) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.mark.parametrize("number", [2, 9])
def test_it_is_the_published_fine_tune_and_says_so(
    curves: list[dict[str, Any]], number: int, given: dict[str, Any], tmp_path: Path
) -> None:
    row = curves[number]
    done, lines = _run({**given, **row["settings"]}, tmp_path)
    result = _strict(done.path)["result"]
    assert result["losses"] == pytest.approx(row["losses"], rel=1e-3)
    for name in ("steps", "tokens_seen", "stable", "converged", "error"):
        assert result[name] == row[name], name
    for name in ("final_loss", "avg_loss", "trainable_ratio"):
        assert result[name] == pytest.approx(row[name], rel=1e-3), name
    steps = [line for line in lines if line.startswith("step ")]
    assert len(steps) == row["steps"]
    assert re.fullmatch(
        r"step 1/\d+ loss 2\.8\d+ lr embedding 0 matrix \S+ .* tokens \d+", steps[0]
    )
    assert lines[-1] == (
        f"Final: loss={result['final_loss']:.6f} tokens_seen={row['tokens_seen']} stable=True "
        f"converged={row['converged']} trainable_ratio={result['trainable_ratio']:.6f}"
    )


def test_result_has_the_fields_of_the_source_and_the_real_rates(
    given: dict[str, Any], tmp_path: Path
) -> None:
    done, lines = _run({**given, "learning_rate": 1, "grid_i": 3, "grid-j": "4"}, tmp_path)
    assert re.fullmatch(r"finetune_single_dummy_\d{8}_\d{6}\.json", done.path.name)
    content = _strict(done.path)
    assert set(content) == {"config", "result", "repro"}
    result = content["result"]
    expected = """run_name learning_rate num_tokens_target tokens_seen avg_loss final_loss
        trainable_loss0 trainable_mean_last_k trainable_ratio stable converged steps runtime_s
        seed world_size device_type error grid_i grid_j"""
    assert set(expected.split()) <= set(result)
    assert (result["grid_i"], result["grid_j"]) == (3, 4)
    # Width 64: what AdamW gets is 768/64 under the root times what is asked for.
    assert result["unembedding_lr"] == pytest.approx(0.2)
    assert result["unembedding_lr_effective"] == pytest.approx(0.2 * math.sqrt(12))
    assert (result["matrix_lr"], result["embedding_lr_effective"]) == (1.0, 0.0)
    shown = next(line for line in lines if line.startswith("parameters: "))
    rates = r"frozen, matrix [\d,]+ at 1, unembedding [\d,]+ at 0\.2 \(effective 0\.693\)"
    assert re.search(rates, shown)
    assert content["config"]["data"] == "stdlib_qa"
    repro = content["repro"]
    assert (repro["seed"], repro["deterministic"], repro["threads"]) == (999, True, 1)
    assert repro["torch"] == torch.__version__
    assert len(repro["fingerprints"]["model"]) == 64


def test_two_runs_have_files_of_their_own_and_the_same_curve(
    given: dict[str, Any], tmp_path: Path
) -> None:
    first, second = (_run(given, tmp_path)[0] for _ in range(2))
    assert first.path != second.path
    assert first.fields["losses"] == second.fields["losses"]
    one, other = (_strict(done.path)["repro"] for done in (first, second))
    assert one == other


@pytest.mark.parametrize(("window", "notes"), [(2, 0), (3, 1), (20, 1)])
def test_a_long_label_window_is_noted(
    given: dict[str, Any], tmp_path: Path, window: int, notes: int
) -> None:
    _, lines = _run({**given, "num_iterations": 4, "trainable_window_steps": window}, tmp_path)
    labels = [line for line in lines if line.startswith("label: the mean of the last ")]
    assert len(labels) == notes
    assert all(f"{min(window, 4)} losses is that of more than half" in line for line in labels)


def test_divergence_is_a_result_in_plain_json(given: dict[str, Any], tmp_path: Path) -> None:
    wild = {"unembedding_lr": 1e30, "matrix_lr": 1e30, "num_iterations": 20}
    done, lines = _run({**given, **wild, "save_artifacts": True}, tmp_path)
    result = _strict(done.path)["result"]
    assert (result["stable"], result["converged"], result["final_loss"]) == (False, False, None)
    assert result["error"].startswith("non-finite loss detected")
    assert len(result["losses"]) == result["diverged_step"] == result["steps"]
    assert "the model is not saved: its losses are not finite" in lines
    assert re.match(r"Final: loss=(nan|inf) tokens_seen=\d+ stable=False conv", lines[-1])
    assert done.model_folder is None


def test_a_first_loss_that_is_not_finite_is_no_divergence(
    given: dict[str, Any], tmp_path: Path
) -> None:
    settings, recipe = parse_settings(given)
    inputs = load_run_inputs(settings, recipe, [].append)
    with torch.no_grad():
        inputs.model.lm_head.weight.mul_(torch.inf)
    with pytest.raises(NanochatError, match="the loss of the first batch is nan in float32"):
        run_finetune(settings, recipe, inputs, tmp_path, [].append)
    (path,) = tmp_path.glob("*.json")
    assert _strict(path)["result"]["error"].startswith("NanochatError: model ")


def test_a_model_that_the_last_update_broke_is_not_saved(
    given: dict[str, Any], tmp_path: Path
) -> None:
    """Overflow in the last update, which no loss follows: the weights would be unreadable."""
    wild = {"matrix_lr": 1e38, "init_lr_frac": 1.0, "final_lr_frac": 1.0, "num_iterations": 1}
    wild |= {"unembedding_lr": 1e38, "weight_decay": 1e38}
    done, lines = _run({**given, **wild, "save_artifacts": True}, tmp_path)
    assert done.fields["stable"]
    assert done.model_folder is None
    assert any(
        re.match(r"the model is not saved: \S+ has [\d,]+ of [\d,]+ values that are not", line)
        for line in lines
    )


def test_model_is_saved_as_it_is_after_the_last_step(
    given: dict[str, Any], tmp_path: Path, golden_folder: Path
) -> None:
    done, _ = _run({**given, "save_artifacts": True, "num_iterations": 3}, tmp_path)
    folder = done.model_folder
    assert folder is not None
    saved, tokenizer = load_model(str(folder))
    original = load_checkpoint(golden_folder / "checkpoints")
    assert saved.step == 3
    assert tokenizer.fingerprint == Tokenizer.load(golden_folder / "tokenizer").fingerprint
    trained = {key for key in saved.state if not torch.equal(saved.state[key], original.state[key])}
    assert "lm_head.weight" in trained
    assert "transformer.wte.weight" not in trained
    for name in ("final_loss", "tokens_seen", "converged", "stable", "trainable_ratio"):
        assert saved.meta[name] == done.fields[name]
    assert saved.meta["unembedding_lr"] == pytest.approx(6e-5)
    # What was saved can be fine-tuned again, from where it ended.
    again, _ = _run({**given, "model": str(folder), "num_iterations": 1}, tmp_path / "again")
    assert again.fields["losses"][0] != done.fields["losses"][0]


def test_watching_changes_nothing(given: dict[str, Any], tmp_path: Path) -> None:
    given |= {"num_iterations": 4, "learning_rate": 0.03}
    plain, _ = _run(given, tmp_path / "plain")
    watched = {"eval_every": 2, "eval_batches": 2, "visualize": True, "log_every": 3}
    done, lines = _run(given | watched, tmp_path / "watched")
    assert done.fields["losses"] == plain.fields["losses"]
    assert [line.split(" loss")[0] for line in lines if line.startswith("step ")] == [
        "step 2/4 validation",
        "step 3/4",
        "step 4/4",
        "step 4/4 validation",
    ]
    assert done.answers is not None
    assert len(done.answers.before) == len(done.answers.after) == len(done.answers.samples) == 5
    assert done.answers.before != done.answers.after


def test_checkpointing_gradients_changes_nothing(given: dict[str, Any], tmp_path: Path) -> None:
    plain, _ = _run({**given, "num_iterations": 3}, tmp_path / "plain")
    done, _ = _run({**given, "num_iterations": 3, "gradient_checkpointing": True}, tmp_path / "c")
    assert done.fields["losses"] == plain.fields["losses"]


def test_without_a_validation_split_training_goes_on(given: dict[str, Any], tmp_path: Path) -> None:
    file, other = tmp_path / "train.jsonl", tmp_path / "other.jsonl"
    for path in (file, other):
        path.write_text(_talks("How many?", *range(9)))
    steps = {**given, "num_iterations": 2, "eval_every": 1, "visualize": True}
    for data in (tmp_path / "train.jsonl", tmp_path):
        done, lines = _run({**steps, "data": str(data)}, tmp_path / "out")
        (origin,) = (line for line in lines if line.startswith("validation"))
        reason = "has no validation split: other, train" if data == tmp_path else "has one split"
        assert origin.startswith(f"validation: none ({data} {reason}); --val-data FILE or --val-sh")
        assert not any("validation loss" in line for line in lines)
        assert done.answers is None
        _, lines = _run({**steps, "data": str(data), "val_data": str(other)}, tmp_path / "out")
        assert f"validation: {other}" in lines
        assert sum("validation loss" in line for line in lines) == 2
        with pytest.raises(NanochatError, match=r"train\.jsonl is the training data, so its loss"):
            _run({**steps, "data": str(data), "val_data": str(file)}, tmp_path / "out")
    with pytest.raises(NanochatError, match="nowhere"):
        _run({**steps, "data": str(file), "val_data": "nowhere.jsonl"}, tmp_path / "out")


def test_a_tracker_gets_no_validation_of_one_file(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    class Recorder(Tracker):
        def log(self, values: Any, step: int) -> None:
            sent.extend(values)

        def samples(self, rows: Any, step: int, last: bool) -> None:
            sent.append("samples")

        def summary(self, values: Any) -> None:
            sent.extend(values)

    @contextlib.contextmanager
    def record(*_: Any) -> Iterator[Tracker]:
        yield Recorder()

    monkeypatch.setattr(nanochat.finetune_run.run, "tracked", record)
    file = tmp_path / "train.jsonl"
    file.write_text(_talks("How many?", *range(9)))
    logged = {**given, "data": str(file), "num_iterations": 1, "eval_every": 1, "run": "night"}
    done, _ = _run({**logged, "save_artifacts": True}, tmp_path / "out")
    assert done.model_folder is not None
    meta = load_model(str(done.model_folder))[0].meta
    named = [*sent, *meta, *_strict(done.path)["result"]]
    assert "train/loss" in sent
    assert not [name for name in named if name.startswith(("val", "samples"))]
    sent.clear()
    _run({**logged, "val_share": 0.5}, tmp_path / "out")
    assert {"val/loss", "samples"} <= set(sent)


def _talks(question: str, *answers: object) -> str:
    talks = (
        [{"role": "user", "content": question}, {"role": "assistant", "content": f"{answer}."}]
        for answer in answers
    )
    return "".join(json.dumps({"messages": talk}) + "\n" for talk in talks)


def test_the_split_that_is_trained_on_is_no_validation(
    given: dict[str, Any], tmp_path: Path
) -> None:
    settings, recipe = parse_settings({**given, "split": "valid", "eval_every": 1})
    lines: list[str] = []
    inputs = load_run_inputs(settings, recipe, lines.append)
    assert inputs.validation is None
    assert lines[-1].startswith("validation: none (the validation split of stdlib_qa is trained on")


def test_a_bad_validation_split_is_an_error(given: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(_talks("How many?", *range(9)))
    (tmp_path / "val.jsonl").write_text("3\n")
    with pytest.raises(NanochatError, match=r"val\.jsonl, row 1: messages must be a list"):
        _run({**given, "data": str(tmp_path), "eval_every": 1}, tmp_path / "out")


def test_a_share_of_the_rows_is_held_out(given: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "talks.jsonl"
    file.write_text(_talks("How many?", *range(40)))
    held = {**given, "data": str(file), "val_share": "0.25", "num_iterations": 1}
    fingerprints = []
    for eval_every in (1, 0):
        done, lines = _run({**held, "eval_every": eval_every}, tmp_path / "out")
        record = _strict(done.path)["repro"]
        fingerprints.append(record["fingerprints"]["data"])
        count = record["examples"]
        assert 24 <= count <= 36
        said = f"validation: {40 - count} of 40 conversations of {file}, held out by hash"
        assert (said in lines) == (eval_every == 1)
        assert sum("validation loss" in line for line in lines) == eval_every
    assert fingerprints[0] == fingerprints[1]  # it trains on the same rows, watched or not
    with pytest.raises(NanochatError, match=r"leaves none of 40 conversations to hold out; a larg"):
        _run({**held, "val_share": 1e-9}, tmp_path / "out")


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("step", "error", "code", "line"),
    [
        ("log.RunLog.after", KeyboardInterrupt(), 130, "answer the samples: stopped by Ctrl-C"),
        ("log.RunLog.after", KeyError("x"), 0, "answer the samples: KeyError: 'x'"),
        ("log.mean_loss", KeyboardInterrupt(), 130, "measure the last validation loss: stopped"),
        ("log.mean_loss", ValueError("no"), 0, "measure the last validation loss: ValueError: no"),
        ("tracking.Tracker.summary", KeyboardInterrupt(), 130, "send the summary to W&B: stopped"),
        ("tracking.Tracker.model", KeyboardInterrupt(), 130, "send the model to W&B: stopped"),
    ],
)
def test_a_training_is_kept_whatever_comes_after_it(
    given: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: BaseException,
    code: int,
    line: str,
) -> None:
    _fail(monkeypatch, step, error)
    given |= {"num_iterations": 2, "save_artifacts": True, "eval_every": 2, "eval_batches": 1}
    done, lines = _run(given, tmp_path)
    assert done.later.exit_code == code
    failures = [each for each in lines if each.startswith("could not ")]
    assert len(failures) == 1
    assert failures[0].startswith(f"could not {line}")
    assert sum(each.startswith("Final: loss=") for each in lines) == 1
    (path,) = tmp_path.glob("*.json")
    assert path == done.path
    assert _strict(path)["result"]["steps"] == 2
    assert load_model(str(path.with_suffix("")))[0].step == 2


@pytest.mark.parametrize(
    ("step", "line"),
    [
        ("run.write_result", "could not save the result: OSError: [Errno 28] No space left"),
        ("run.save_model_folder", "could not save the model: OSError: [Errno 28] No space left"),
    ],
)
def test_a_full_disk_loses_no_more_than_what_has_no_room(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, line: str
) -> None:
    _fail(monkeypatch, step, FULL)
    done, lines = _run({**given, "num_iterations": 2, "save_artifacts": True}, tmp_path)
    assert done.later.exit_code == 1
    assert (done.path is None) == (step == "run.write_result")
    assert (done.model_folder is None) == (step == "run.save_model_folder")
    (number,) = [index for index, each in enumerate(lines) if each.startswith(line)]
    assert lines[number + 1].startswith("Final: loss=")


def test_what_ends_a_training_is_raised_though_the_disk_is_full(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fail(monkeypatch, "run.write_result", FULL)
    _fail(monkeypatch, "run.finetune", torch.OutOfMemoryError("no more"))
    with pytest.raises(torch.OutOfMemoryError):
        _run(given, tmp_path)


def _fail(monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException) -> None:
    """Let a function of nanochat.finetune_run raise an error; before training it works."""
    name = f"nanochat.finetune_run.{step}"
    original = pkgutil.resolve_name(name)

    def fail(*arguments: Any) -> Any:
        if step == "tracking.Tracker.summary" and "diagnostic/initial_loss" in arguments[1]:
            return original(*arguments)
        raise error

    monkeypatch.setattr(name, fail)


def test_the_last_line_of_a_training_comes_before_samples_and_uploads(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    class Recorder(Tracker):
        def samples(self, rows: Any, step: int, last: bool) -> None:
            events.append(f"samples {step}")

        def summary(self, values: Any) -> None:
            events.extend({"converged", "diagnostic/initial_loss"} & set(values))

        def model(self, folder: Path, meta: Any) -> None:
            assert load_model(str(folder))[0].step == 1
            events.append("model")

    @contextlib.contextmanager
    def record(*_: Any) -> Iterator[Tracker]:
        yield Recorder()
        events.append("end")

    monkeypatch.setattr(nanochat.finetune_run.run, "tracked", record)
    settings, recipe = parse_settings(
        {**given, "num_iterations": 1, "run": "night", "save_artifacts": True}
    )
    inputs = load_run_inputs(settings, recipe, lambda line: None)
    run_finetune(settings, recipe, inputs, tmp_path, lambda line: events.append(line[:6]))
    assert [event for event in events if event not in ("parame", "label:", "first ", "step 1")] == [
        "diagnostic/initial_loss",
        "samples 0",
        "Final:",
        "samples 1",
        "converged",
        "model",
        "end",
    ]


def test_validation_takes_as_many_batches_as_it_should(
    given: dict[str, Any], tmp_path: Path
) -> None:
    wide = {"device_batch_size": 100, "eval_every": 1, "eval_batches": 2, "num_iterations": 1}
    _, lines = _run(given | wide, tmp_path)
    assert any("(2 batches)" in line for line in lines)


def test_what_ends_a_run_is_in_its_file(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setattr(nanochat.finetune_run.run, "finetune", fail)
    with pytest.raises(torch.OutOfMemoryError):
        _run(given, tmp_path)
    (path,) = tmp_path.glob("*.json")
    result = _strict(path)["result"]
    assert result["error"] == "OutOfMemoryError: no more"
    assert (result["stable"], result["converged"], result["steps"]) == (False, False, 0)
    assert result["avg_loss"] is None


def test_rates_of_the_parts_of_matrix_are_told(given: dict[str, Any], tmp_path: Path) -> None:
    done, lines = _run({**given, "num_iterations": 1, "matrix_lr": 0.01, "mlp_lr": 0.5}, tmp_path)
    told = next(line for line in lines if line.startswith("parameters: "))
    assert re.search(r"attention [\d,]+ at 0\.01, mlp [\d,]+ at 0\.5$", told)
    assert " matrix " not in told
    result = _strict(done.path)["result"]
    for part, rate in {"attention": 0.01, "mlp": 0.5}.items():
        assert result[f"{part}_lr"] == result[f"{part}_lr_effective"] == rate


def test_bad_rows_are_left_out_of_the_training_and_kept_in_the_record(
    given: dict[str, Any], tmp_path: Path
) -> None:
    rows = [json.dumps({"messages": each}) for each in load_conversations("stdlib_qa", limit=40)]
    clean, spoilt = tmp_path / "clean.jsonl", tmp_path / "spoilt.jsonl"
    clean.write_text("\n".join(rows))
    spoilt.write_text("\n".join([*rows[:5], "{broken", *rows[5:20], "[]", *rows[20:]]))
    given = {**given, "val_share": 0.2, "eval_every": 9, "num_tokens": 300}
    settings, recipe = parse_settings({**given, "data": str(clean)})
    expected = load_rows(settings, recipe, None)
    settings, recipe = parse_settings({**given, "data": str(spoilt), "skip-bad-rows": "2"})
    loaded = load_rows(settings, recipe, None)
    assert (loaded.training, loaded.validation) == (expected.training, expected.validation)
    done, lines = _run({**given, "data": str(spoilt), "skip_bad_rows": 2}, tmp_path)
    start = lines.index("training: 2 bad rows left out")
    assert lines[start + 1].startswith(f"training: {spoilt}, row 6: not JSON")
    assert lines[start + 2] == f"training: {spoilt}, row 22: there are no messages"
    (record,) = _strict(done.path)["repro"]["skipped_rows"].items()
    first = [line.removeprefix("training: ") for line in lines[start + 1 : start + 3]]
    assert record == ("training", {"count": 2, "first": first})
    with pytest.raises(NanochatError, match=r"row 22: .* \(bad row number 2; skip_bad_rows is 1\)"):
        _run({**given, "data": str(spoilt), "skip_bad_rows": 1}, tmp_path)


def test_bad_rows_of_the_validation_split_are_counted_apart(
    given: dict[str, Any], tmp_path: Path
) -> None:
    row = json.dumps(load_conversations("stdlib_qa", limit=1)[0])
    for name in ("train", "validation"):
        (tmp_path / f"{name}.jsonl").write_text(f"[]\n{row}\n{row}")
    (tmp_path / "other.jsonl").write_text(f"[]\n{row}")
    given = {**given, "data": str(tmp_path), "eval_every": 9, "skip_bad_rows": 1}
    for val_data, count in (("", 2), (str(tmp_path / "other.jsonl"), 1)):
        loaded = load_rows(*parse_settings({**given, "val_data": val_data}), None)
        assert (len(loaded.training), len(loaded.validation)) == (2, count)
        assert {part: each.count for part, each in loaded.skipped.items()} == {
            "training": 1,
            "validation": 1,
        }
