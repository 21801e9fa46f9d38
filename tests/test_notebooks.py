"""The notebooks run from the first cell to the last, and are kept without outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))
LITTERED = ("TMPDIR", "PYTEST_DEBUG_TEMPROOT", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR")
SLOW = ("01_first_map.ipynb", "04_compare_sweeps.ipynb")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in NAMES]
)
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    # In a process of its own: what this one has set up for tests is no part of a user's notebook.
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "addopts="]
    options = [
        "--nbmake",
        "--nbmake-timeout=250",
        "-o",
        "filterwarnings=default",
        str(FOLDER / name),
    ]
    done = subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        timeout=290,
        # What notebooks, IPython and Jupyter leave behind goes with the test.
        env={**os.environ, **dict.fromkeys(LITTERED, str(tmp_path))},
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_kept_without_outputs(name: str) -> None:
    cells = json.loads((FOLDER / name).read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    assert len(code) >= 5


def test_there_are_four() -> None:
    assert [name[:2] for name in NAMES] == ["01", "02", "03", "04"]
