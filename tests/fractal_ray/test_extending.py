"""docs/extending.md runs: its files are written to a folder where its other blocks run in order."""

import re
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
BLOCKS = re.findall(r"```(?:python|yaml)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
FILES = {
    name.group(1): block for block in BLOCKS if (name := re.match(r"# (\w+\.(?:py|yaml))\n", block))
}


def test_the_page_has_a_workload_a_planner_and_a_figure() -> None:
    assert list(FILES) == ["momentum.py", "momentum.yaml", "row_flips.py", "outcome_shares.py"]


def test_all_blocks_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    try:
        for block in BLOCKS:
            if block not in FILES.values():
                exec(compile(block, str(PAGE), "exec"), {"__name__": "extending"})
    finally:
        for name in FILES:
            sys.modules.pop(Path(name).stem, None)
    assert (tmp_path / "outcome_shares.png").stat().st_size > 10_000
