"""Libraries of the extras: no plain installation loads them, and a missing one names its extra."""

import ast
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DATASET = ROOT / "tests/golden/datasets/mlp"
MODEL = ROOT / "tests/golden/nanochat_tiny"
ROW = {
    "question": "What?",
    "answers": ["this"],
    "ocr_results": {"lines": [{"text": "this"}]},
}

LIBRARIES = {
    "jinja2": "report",
    "plotly.offline": "report",
    "datasets": "data",
    "rapidfuzz": "data",
    "safetensors": "export",
    "tokenizers": "export",
}
"""Extra of every module that only some commands import."""


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes every import of a library fail."""

    def hide_library(library: str) -> None:
        top = library.partition(".")[0]
        loaded = [name for name in sys.modules if name.startswith(f"{top}.")]
        for name in {top, library, *loaded}:
            monkeypatch.setitem(sys.modules, name, None)

    return hide_library


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Return a function that calls a command in this process: exit code, last line of stderr."""

    def call(*words: object) -> tuple[object, str]:
        from fractal_ray.cli.main import main as fractal_ray
        from nanochat.cli.main import main as nanochat

        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        with pytest.raises(SystemExit) as ended:
            {"fractal-ray": fractal_ray, "nanochat": nanochat}[sys.argv[0]]()
        return ended.value.code, capsys.readouterr().err.splitlines()[-1]

    return call


@pytest.mark.parametrize(
    ("words", "library", "subject"),
    [
        ("fractal-ray report {dataset}", "jinja2", "fractal-ray report"),
        ("fractal-ray report {dataset}", "plotly.offline", "fractal-ray report"),
        ("nanochat data fetch hf:a/b --out-dir {out}", "datasets", "hf:a/b"),
        (
            "nanochat data docvqa --source {rows} --out-path {out} --workers 1 --tokenizer {model}",
            "rapidfuzz",
            "nanochat data docvqa",
        ),
        ("nanochat export --model {model} --out {out}", "safetensors", "nanochat export"),
        ("nanochat export --model {model} --out {out}", "tokenizers", "nanochat export"),
        ("nanochat import --model {hf} --out {out}", "safetensors", "nanochat import"),
    ],
)
def test_a_command_without_its_library_ends_with_the_line_that_installs_it(
    run: Callable[..., Any],
    hide: Callable[[str], None],
    tmp_path: Path,
    words: str,
    library: str,
    subject: str,
) -> None:
    model = shutil.copytree(MODEL, tmp_path / "model")
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps(ROW) + "\n")
    hf = tmp_path / "exported"
    if "{hf}" in words:
        assert run_export(model, hf) == 0
    hide(library)
    dataset = shutil.copytree(DATASET, tmp_path / "dataset")
    places = {
        "dataset": dataset,
        "model": model,
        "rows": rows,
        "hf": hf,
        "out": tmp_path / "out.jsonl",
    }
    code, line = run(*(word.format(**places) for word in words.split()))
    assert code == 2
    assert line.startswith("error: ")
    assert f" {subject} needs {library}, which is not installed; " in line
    assert line.endswith(f"; pip install 'fractal-ray[{LIBRARIES[library]}]'")
    assert not (tmp_path / "out.jsonl").exists()


def run_export(model: Path, folder: Path) -> int:
    """Export a model in a process of its own, which still finds every library."""
    code = "from nanochat.cli.main import main; main()"
    words = ["export", "--model", str(model), "--out", str(folder)]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True)
    return done.returncode


def test_the_extras_hold_the_libraries_that_commands_name() -> None:
    extras = PROJECT["optional-dependencies"]
    named = set()
    for path in (*ROOT.glob("fractal_ray/**/*.py"), *ROOT.glob("nanochat/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "missing_library":
                extra = node.args[2]
                assert isinstance(extra, ast.Constant)
                named.add(extra.value)
    assert named == set(LIBRARIES.values())
    for library, extra in LIBRARIES.items():
        assert library.partition(".")[0] in {Requirement(text).name for text in extras[extra]}
    (everything,) = (Requirement(text) for text in extras["dev"] if text.startswith("fractal-ray["))
    assert everything.extras == extras.keys() - {"dev", "bench"}


PLAIN = """
import sys
from importlib.abc import MetaPathFinder

class Hidden(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
from fractal_ray.cli.main import main
for words in {commands!r}:
    sys.argv = ["fractal-ray", *words]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (words, end.code)
"""


def test_a_plain_installation_runs_a_sweep_and_draws_it(tmp_path: Path) -> None:
    names = {library.partition(".")[0] for library in LIBRARIES}
    spec = [str(DATASET.with_name("map.yaml")), "--storage", str(tmp_path)]
    commands = [["run", *spec, "--engine", "local"], ["analyze", *spec], ["plot", *spec]]
    done = subprocess.run(
        [sys.executable, "-c", PLAIN.format(names=names, commands=commands)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
