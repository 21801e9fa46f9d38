"""The end of `fractal-ray run`: what is printed, drawn and sent after the last point."""

import errno
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from fractal_ray.cli.main import main

FULL = OSError(errno.ENOSPC, "No space left on device")


def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    storage: Path,
    *arguments: str,
) -> tuple[Any, str, str]:
    """Run a small sweep in this process; return exit code, output and errors."""
    small = ["run", "sweeps/weierstrass.yaml", "--engine", "local", "--quiet"]
    small += ["--set", "stages=[{grid: {points: 9}}]", "--storage", str(storage)]
    monkeypatch.setattr(sys, "argv", ["fractal-ray", *small, *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, *capsys.readouterr()


def fail(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    def raise_error(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(name, raise_error)


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (FULL, 0, "OSError: [Errno 28] No space left on device"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C"),
    ],
)
def test_a_map_that_cannot_be_drawn_costs_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    reason: str,
) -> None:
    ended, whole, _ = run(monkeypatch, capsys, tmp_path)
    assert ended == 0
    fail(monkeypatch, "fractal_ray.figures.maps.three_panel", error)
    ended, text, errors = run(monkeypatch, capsys, tmp_path)
    assert (ended, errors) == (code, f"could not draw the map: {reason}\n")
    kept = [line for line in whole.splitlines() if not line.startswith("figure: ")]
    assert len(kept) == len(whole.splitlines()) - 1
    assert text.splitlines() == kept
    ended, text, errors = run(monkeypatch, capsys, tmp_path, "--json")
    assert ended == code
    assert json.loads(text)["figure"] is None
    assert json.loads(text)["points"] == 81


@pytest.mark.parametrize(("error", "code"), [(FULL, 1), (KeyboardInterrupt(), 130)])
def test_a_dataset_that_cannot_be_analyzed_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
) -> None:
    fail(monkeypatch, "fractal_ray.analysis.summary.analyze", error)
    ended, text, errors = run(monkeypatch, capsys, tmp_path)
    assert (ended, text) == (code, "")
    command = f"fractal-ray analyze {tmp_path / 'weierstrass'}"
    assert errors.startswith(f"could not analyze the dataset ({command}): ")
    assert errors.count("\n") == 1


def test_parts_that_are_set_aside_are_named_without_progress_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, capsys, tmp_path)[::2] == (0, "")
    (part,) = tmp_path.rglob("part-*.parquet")
    part.write_bytes(part.read_bytes()[:-9])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the program sets its own
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        code, _, errors = run(monkeypatch, capsys, tmp_path, "--skip-corrupt")
    start = "note: 1 damaged part set aside (renamed to NAME.corrupt); the points run again: "
    assert (code, errors) == (0, f"{start}{part} (unknown rows)\n")


def test_commands_with_json_count_the_parts_that_they_leave_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = []
    for seed in (0, 1):
        run(monkeypatch, capsys, tmp_path, "--set", f"name=s{seed}")
        folders.append(str(tmp_path / f"s{seed}"))
        (part,) = (tmp_path / f"s{seed}").rglob("part-*.parquet")
        (part.parent / "part-0-bad.parquet").write_bytes(b"nothing")

    def printed(command: str, *arguments: str) -> dict[str, Any]:
        words = ["fractal-ray", command, *arguments, "--json", "--skip-corrupt"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            main()
        text, errors = capsys.readouterr()
        assert ended.value.code in (0, None), errors
        assert "1 damaged part is left out of every count" in errors
        return json.loads(text)

    assert printed("status", folders[0])["parts_left_out"] == 1
    assert printed("analyze", folders[0])["parts_left_out"] == 1
    assert printed("verify", "--plan", folders[0])["parts_left_out"] == 1
    assert printed("ensemble", *folders)["parts_left_out"] == 2
    compared = printed("compare", *folders)
    assert [compared[side]["parts_left_out"] for side in "ab"] == [1, 1]


def test_ctrl_c_while_the_result_is_sent_costs_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(monkeypatch, "fractal_ray.tracking.base.Tracker.end", KeyboardInterrupt())
    ended, text, errors = run(monkeypatch, capsys, tmp_path)
    assert (ended, errors) == (130, "could not send the result to W&B: stopped by Ctrl-C\n")
    assert text.splitlines()[-1] == f"dataset: {tmp_path / 'weierstrass'}"
    assert (tmp_path / "weierstrass" / "figures" / "weierstrass.png").is_file()
