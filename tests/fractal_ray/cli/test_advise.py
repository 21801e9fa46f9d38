"""`advise`: the five lines, JSON, exit codes, and what cannot be said."""

import json
import shutil
from pathlib import Path

import pytest

import fractal_ray
from fractal_ray.analysis.advice.surface import State
from fractal_ray.cli.main import main
from fractal_ray.errors import SweepError

ROOT = Path(__file__).parents[3]
FIRST_MAP = ROOT / "notebooks/data/first-map"
DATASETS = ROOT / "tests/golden/datasets"


def advise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["fractal-ray", *words])
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_five_lines_name_best_safe_region_cliff_seeds_and_next_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, text, _ = advise(capsys, monkeypatch, "advise", str(FIRST_MAP))
    lines = text.splitlines()
    assert code == 0
    keys = ["best", "safe", "cliff", "seeds", "next"]
    assert [line.split()[0] for line in lines[:5]] == keys
    assert [line.split()[0] for line in lines[5:7]] == ["recipe", "YAML"]
    assert {line.split()[0] for line in lines[7:]} == {"note"}
    assert "unembedding_lr 5.62e-3  matrix_lr 0.0562" in lines[0]
    assert (
        "unembedding_lr breaks between 0.0487 and 0.0604, 8.66x to 10.7x away (degraded)"
        in lines[2]
    )
    assert "matrix_lr does not break" in lines[2]
    assert lines[5].startswith("recipe  nanochat finetune --model preset:tiny ")
    assert lines[5].endswith(" --unembedding-lr 5.62e-3 --matrix-lr 0.0562")
    assert "recipe: {unembedding_lr: 5.62e-3, matrix_lr: 0.0562}" in lines[6]
    assert lines[0].endswith("(effective 0.0225, 0.0562)")
    assert lines[6].endswith("another trainer  unembedding_lr 0.0225, matrix_lr 0.0562")
    (note,) = (line for line in lines[7:] if "first loss of each run stands in" in line)
    assert note.endswith(f"; fractal-ray advise {FIRST_MAP} --baseline evaluates it")
    assert "too slow: 31 runs, unembedding_lr 1e-3 .. 0.0604, matrix_lr 1e-3 .. 3.16" in lines[7]
    code, analysis, _ = advise(capsys, monkeypatch, "analyze", str(FIRST_MAP))
    assert analysis.splitlines()[: len(lines)] == lines


def test_json_has_the_documented_keys_and_no_number_that_json_lacks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, text, _ = advise(capsys, monkeypatch, "advise", str(FIRST_MAP), "--json")

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    data = json.loads(text, parse_constant=refuse)
    assert data["outcomes"]["too_slow"] == 31
    assert sum(data["outcomes"].values()) == 563
    assert code == 0
    assert {"best", "safe", "cliff", "seeds", "next"} <= data.keys()
    assert [region["percent"] for region in data["safe"]] == [1, 2, 5]
    areas = [region["share"] for region in data["safe"]]
    assert areas == sorted(areas)
    assert data["recipe"] == {"unembedding_lr": data["best"]["x"], "matrix_lr": data["best"]["y"]}


def test_a_known_set_has_no_losses_and_its_exit_code_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(DATASETS / "map", tmp_path / "map")
    code, text, _ = advise(capsys, monkeypatch, "advise", str(tmp_path / "map"))
    assert code == 3
    assert text.startswith("best    none: the runs have no losses")
    assert "frame 0 of" in text
    code, analysis, _ = advise(capsys, monkeypatch, "analyze", str(tmp_path / "map"))
    assert (code, "best" in analysis) == (0, False)


def test_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, error = advise(capsys, monkeypatch, "advise", str(FIRST_MAP), "--at", "num_tokens=1e6")
    assert code == 2
    assert "no axis changes the data" in error
    code, _, error = advise(capsys, monkeypatch, "advise", str(DATASETS / "mlp"), "--baseline")
    assert code == 2
    assert "has none to load" in error
    code, _, error = advise(capsys, monkeypatch, "rerun", str(FIRST_MAP))
    assert code == 2
    assert "--best" in error


def test_two_axes_that_change_the_data_have_no_best(tmp_path: Path) -> None:
    """Refuse a best where no two columns and no two rows have comparable losses."""
    sweep = fractal_ray.load(
        ROOT / "sweeps/lr_tokens.yaml",
        f"storage={json.dumps(str(tmp_path))}",
        "stages.0.grid.points=[2, 2]",
        "axes.x.max=1000",
        "axes.y={param: device_batch_size, scale: linear, min: 1, max: 2}",
        "workload.data.max_seq_len=32",
        "label.window=1",
    )
    sweep.run("local")
    advice = sweep.advice()
    assert not advice.given
    reason = (
        "num_tokens and device_batch_size change the data of a run, so no losses are comparable"
    )
    assert advice.lines()[0].startswith(f"best    none: {reason}")


def test_losses_of_columns_of_data_are_not_compared(tmp_path: Path) -> None:
    """Give a best for each column only, where an axis changes the number of tokens."""
    sweep = fractal_ray.load(
        ROOT / "sweeps/lr_tokens.yaml",
        f"storage={json.dumps(str(tmp_path))}",
        "stages.0.grid.points=[5, 9]",
        "axes.x.max=2000",
        "workload.data.max_seq_len=32",
        "axes.y.min=1e-3",
    )
    sweep.run("local")
    advice = sweep.advice(at=(4000.0,))
    assert advice.law is not None
    assert (advice.law.amount, advice.law.rate) == ("num_tokens", "learning_rate")
    assert "not comparable" in str(advice.best)
    assert len(advice.law.columns) == 5
    assert advice.surface.state.shape == (9, 5)
    # A run of one step shows nothing about the cliff.
    short = sweep.points["detail"] == "too_short"
    assert (advice.surface.state == State.UNKNOWN).sum() == short.sum()
    assert advice.given
    assert "columns num_tokens" in "\n".join(advice.lines())
    with pytest.raises(SweepError, match="no best point"):
        from fractal_ray.cli.rerun import rerun

        rerun(str(sweep.location), best=True, out=tmp_path)
