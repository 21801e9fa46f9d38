"""The complete examples of docs/own_function.md, where their libraries are installed."""

import re
from pathlib import Path

import pytest

from fractal_ray.sweep import Sweep

TEXT = (Path(__file__).parents[1] / "docs" / "own_function.md").read_text()
FILES: dict[str, str] = dict(re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)```", TEXT, re.DOTALL))
GRID = "stages=[{grid: {points: 3}}]"


def test_every_example_is_a_spec_and_its_function() -> None:
    names = {name.partition(".")[0] for name in FILES}
    assert names == {"sgd", "amp", "lora"}
    assert FILES.keys() == {f"{name}.{suffix}" for name in names for suffix in ("py", "yaml")}


@pytest.mark.filterwarnings("ignore")  # those of the libraries of the examples
@pytest.mark.parametrize(
    ("name", "libraries", "settings"),
    [
        ("sgd", ["sklearn"], []),
        ("amp", ["torch"], []),
        ("lora", ["transformers", "accelerate"], ["workload.settings.lora=false"]),
        ("lora", ["transformers", "accelerate", "peft"], []),
    ],
    ids=["scikit-learn", "AMP", "Trainer", "LoRA"],
)
def test_an_example_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    libraries: list[str],
    settings: list[str],
) -> None:
    for library in libraries:
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    for file, text in FILES.items():
        Path(file).write_text(text)
    sweep = Sweep.open(f"{name}.yaml", (GRID, *settings))
    progress = sweep.run("local")
    assert progress.failures == 0
    table = sweep.table()
    assert table.num_rows == progress.done == len(set(zip(table["x"], table["y"], strict=True)))
    assert "trained" in table["outcome"].to_pylist()
    assert len(set(map(str, table["losses"].to_pylist()))) >= 3, "the settings change the losses"
