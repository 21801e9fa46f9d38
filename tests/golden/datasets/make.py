"""Make the datasets of this folder, and write down what they show. README.md has the command."""

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.fractal_ray.stored_datasets import (
    DATASETS,
    EXPECTED,
    GOLDEN,
    ROOT,
    SPECS,
    Copy,
    ask,
    check_rows_of,
    command_line,
    environment,
    files_of,
    identity_of,
    plans_of,
    rows_of,
    sheets_of,
    verification,
)

CODE = ("fractal_ray", "nanochat")
HOST = "example"


def git(*arguments: str) -> str:
    """What git prints."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def make(name: str) -> int:
    """Run a sweep from nothing and verify its frames; no machine is named in what stays.

    Returns
    -------
    int
        Points that the stages of the complete sweep ask for, those that frames share once for each.
    """
    folder = GOLDEN / name
    shutil.rmtree(folder, ignore_errors=True)
    run = ["run", str(GOLDEN / f"{name}.yaml"), "--engine", "local", "--quiet", "--json"]
    # Again, because a bisection that has chosen its frames is not asked any more.
    said = command_line([run, *verification(name, folder.relative_to(ROOT)), run], host=HOST)
    shutil.rmtree(folder / "figures")
    for lock in folder.rglob(".lock"):
        lock.unlink()
    return json.loads(said[-1])["done"]


def found_in(name: str) -> dict[str, Any]:
    """All that a later test compares."""
    folder = GOLDEN / name
    with tempfile.TemporaryDirectory() as pictures:
        said = ask({name: Copy(folder, Path(pictures))})[name]
    return {
        **rows_of(folder),
        "checks": check_rows_of(folder),
        "sheets": sheets_of(folder),
        "analyses": said.analyses,
        "figures": said.figures,
        "files": files_of(folder),
    }


def main() -> None:
    """Refuse where datasets are there, or where the code is not that of a commit."""
    parser = argparse.ArgumentParser(description="Make the stored datasets.")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")
    there = [name for name in DATASETS if (GOLDEN / name).exists()]
    if there and not parser.parse_args().force:
        parser.error(
            f"{', '.join(there)} are there, and are worth something only as made by the commit that"
            " README.md names; --force overwrites them"
        )
    if git("status", "--porcelain", "--", *CODE):
        parser.error(f"{' and '.join(CODE)} have changes that are in no commit")
    expected: dict[str, Any] = {
        "commit": git("log", "-1", "--format=%H", "--", *CODE),
        "environment": environment(),
        "datasets": {},
    }
    for name in DATASETS:
        asked_for = make(name)
        expected["datasets"][name] = {"asked_for": asked_for, **found_in(name)}
        print(name, flush=True)
    with tempfile.TemporaryDirectory() as nothing:
        plans = plans_of(SPECS, Path(nothing))
    expected["specs"] = {spec: {**identity_of(spec), "plan": plans[spec]} for spec in SPECS}
    EXPECTED.write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
