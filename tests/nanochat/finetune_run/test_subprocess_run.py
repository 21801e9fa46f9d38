"""Fine-tunes in processes of their own, and the two judgements that are built on them."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from nanochat.errors import NanochatError
from nanochat.finetune_run.batch_size_probe import probe_batch_size
from nanochat.finetune_run.repro_check import ReproCheck, repro_check, visible_gpus
from nanochat.finetune_run.subprocess_run import Child, finetune_in_child

QUICK = {"data": "stdlib_qa", "limit": 50, "max_seq_len": 64, "eval_every": 0, "device": "cpu"}


def _ended(final_loss: Any, losses: Any, *, error: Any = None, examples: int = 100) -> Any:
    fields = {"final_loss": final_loss, "losses": losses, "error": error, "stable": error is None}
    return Child(0, {"result": fields, "repro": {"examples": examples}}, "")


KILLED = Child(-9, None, "")


@pytest.mark.parametrize(
    ("children", "missing", "equal", "bits"),
    [
        ([_ended(1.0, [2.0, 1.0])] * 2, [], True, True),
        ([_ended(1.0, [2.0, 1.0]), _ended(1.0, [2.1, 1.0])], [], True, False),
        ([_ended(1.0, [1.0]), _ended(1.0000004, [1.0000004])], [], True, False),
        ([_ended(1.0, [1.0]), _ended(1.000001, [1.000001])], [], False, False),
        ([_ended(None, [2.0], error="nan at 2")] * 2, [], True, True),
        ([_ended(None, [2.0], error="nan at 2"), _ended(1.0, [2.0])], [], False, False),
        ([_ended(1.0, [1.0]), KILLED], [2], False, False),
        ([Child(1, _ended(1.0, [1.0]).content, "out of memory")] * 2, [1, 2], False, False),
    ],
)
def test_what_counts_as_the_same(children: Any, missing: Any, equal: bool, bits: bool) -> None:
    check = ReproCheck(children)
    assert (check.missing, check.equal, check.equal_bits) == (missing, equal, bits)


def test_runs_take_the_gpus_in_turn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = {}

    def child(given: dict[str, Any], out: Path, environment: Any, timeout: Any) -> Any:
        gpu = environment["CUDA_VISIBLE_DEVICES"]
        assert gpu not in busy
        busy.add(gpu)
        time.sleep(0.2 if out.name == "run_1" else 0.02)
        busy.discard(gpu)
        seen.setdefault(gpu, []).append(out.name)
        return KILLED

    busy = set()
    monkeypatch.setattr("nanochat.finetune_run.repro_check.finetune_in_child", child)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-ab")
    repro_check({}, 4, 2, tmp_path, visible_gpus(2), lambda number, child: None)
    assert set(seen) == {"2", "GPU-ab"}
    # The one that is free takes the next run.
    assert sorted(map(len, seen.values())) == [1, 3]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus(2) == ["0", "1"]


@pytest.mark.parametrize(
    ("ends", "tried", "best"),
    [
        ([_ended(1.0, [1.0])] * 3, [8, 16, 24], 24),
        ([_ended(1.0, [1.0]), KILLED], [8, 16], 8),
        ([Child(1, None, "out of GPU memory")], [8], None),
        ([_ended(None, [], error="nan"), _ended(1.0, [1.0]), KILLED], [8, 16, 24], 16),
        ([_ended(1.0, [1.0]), Child(1, None, "error: out of GPU memory")], [8, 16], 8),
    ],
)
def test_probe_stops_where_nothing_larger_can_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ends: Any, tried: Any, best: int | None
) -> None:
    rest = iter(ends)
    attempts = []
    monkeypatch.setattr(
        "nanochat.finetune_run.batch_size_probe.finetune_in_child", lambda *_: next(rest)
    )
    assert probe_batch_size({}, range(8, 25, 8), tmp_path, attempts.append) == best
    assert [attempt.batch_size for attempt in attempts] == tried


@pytest.mark.parametrize(
    ("child", "message"),
    [
        (_ended(1.0, [1.0], examples=7), "the data has only 7 conversations"),
        (Child(1, None, "OSError: disk is full"), "not for lack of memory: OSError: disk is full"),
    ],
)
def test_what_says_nothing_of_memory_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, child: Any, message: str
) -> None:
    monkeypatch.setattr(
        "nanochat.finetune_run.batch_size_probe.finetune_in_child", lambda *_: child
    )
    with pytest.raises(NanochatError, match=message):
        probe_batch_size({}, range(8, 25, 8), tmp_path, lambda attempt: None)


def test_bad_input_of_a_child_is_bad_input_here(tmp_path: Path) -> None:
    with pytest.raises(NanochatError, match="no such folder"):
        finetune_in_child({**QUICK, "model": "nowhere"}, tmp_path, os.environ, 60)
    assert "no such folder" in (tmp_path / "output.log").read_text()


def test_a_child_that_hangs_is_killed(tmp_path: Path, golden_folder: Path) -> None:
    given = {**QUICK, "model": str(golden_folder), "num_iterations": 10**6}
    child = finetune_in_child(given, tmp_path, os.environ, 4)
    assert (child.code, child.finished, child.fields) == (-9, False, {})
    assert child.reason == "killed after 4 s"
