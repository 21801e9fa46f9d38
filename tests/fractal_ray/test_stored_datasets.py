"""Datasets of an earlier commit: today's code reads and reports them equally, to the last bit.

`tests/golden/datasets/README.md` says what they are. A change that these tests refuse changes
numbers that users have: it needs another version of the workload's numerics, and a new dataset
beside these.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import fractal_ray
from nanochat.train.recipe import Recipe
from tests.fractal_ray.stored_datasets import (
    DATASETS,
    EXPECTED,
    GOLDEN,
    SPECS,
    Copy,
    Said,
    ask,
    check_rows_of,
    copy_of,
    environment,
    files_of,
    identity_of,
    plans_of,
    point_id,
    rows_of,
    sheets_of,
    without_probes,
)

WANTED: dict[str, Any] = json.loads(EXPECTED.read_text())
COUNTED_BY_STEPS = {"sweeps/torkamandi.yaml": 200 * 32 * 63}
"""Largest number of tokens of a run (steps, examples, tokens to predict) for specs with
`num_iterations`. The recorded plans count the default of `num_tokens`, which such a run ignores."""

each_dataset = pytest.mark.parametrize("name", DATASETS)
each_spec = pytest.mark.parametrize("spec", SPECS)


@pytest.fixture(scope="session")
def same_environment() -> None:
    """Skip tests that compute again if other libraries or another processor round otherwise."""
    here, there = environment(), WANTED["environment"]
    if others := [f"{key} {there[key]} to {here[key]}" for key in there if here[key] != there[key]]:
        pytest.skip(f"last bits may differ: {', '.join(others)}")


def rows_wanted(name: str) -> dict[str, Any]:
    """Look up the recorded result of `rows_of` for a stored dataset."""
    wanted = WANTED["datasets"][name]
    return {key: wanted[key] for key in rows_of(GOLDEN / name)}


def test_every_dataset_and_every_spec_is_written_down() -> None:
    """Miss neither a dataset nor a recorded spec."""
    assert set(WANTED["datasets"]) == set(DATASETS)
    assert set(WANTED["specs"]) <= set(SPECS)


@each_dataset
def test_the_files_are_those_that_were_made(name: str) -> None:
    """Guard the datasets themselves: nothing rewrites them."""
    assert files_of(GOLDEN / name) == WANTED["datasets"][name]["files"]


@each_dataset
def test_a_dataset_is_read_as_it_was(name: str) -> None:
    """Find the same rows, columns, ids, labels, fingerprint and frames, and those of the checks."""
    assert rows_of(GOLDEN / name) == rows_wanted(name)
    assert check_rows_of(GOLDEN / name) == WANTED["datasets"][name]["checks"]
    assert sheets_of(GOLDEN / name) == WANTED["datasets"][name]["sheets"]


@each_dataset
def test_points_are_named_by_fingerprint_recipe_and_values(name: str) -> None:
    """Compare the ids of all rows with a second implementation of their rule."""
    sweep = fractal_ray.load(GOLDEN / name)
    header = sweep.header()
    assert header is not None
    params = (sweep.spec.axes.x.param, sweep.spec.axes.y.param)
    points = sweep.points
    named = [
        point_id(header["fingerprint"], header["recipe"], params, (x, y))
        for x, y in zip(points["x"], points["y"], strict=True)
    ]
    assert named == list(points["point_id"])


@each_dataset
@pytest.mark.usefixtures("same_environment")
def test_a_complete_sweep_runs_nothing(name: str, tmp_path: Path) -> None:
    """Go on with a complete sweep: no point is run and no file but its header is written."""
    copy = copy_of(name, tmp_path)
    progress = fractal_ray.load(copy).run(engine="local")
    wanted = WANTED["datasets"][name]
    assert (progress.done, progress.reused, progress.failures) == (wanted["rows"],) * 2 + (0,)
    assert files_of(copy) == WANTED["datasets"][name]["files"]


@each_dataset
@pytest.mark.usefixtures("same_environment")
def test_lost_levels_alone_are_run_again(name: str, tmp_path: Path) -> None:
    """Delete whole levels: their points are run again, to the same bits, and no others."""
    copy = copy_of(name, tmp_path, *(f"points/{level}" for level in DATASETS[name].lost))
    left, kept = files_of(copy), len(fractal_ray.load(copy).table())
    progress = fractal_ray.load(copy).run(engine="local")
    wanted = WANTED["datasets"][name]
    assert (progress.done, progress.total, progress.failures) == (wanted["rows"],) * 2 + (0,)
    assert progress.done - progress.reused == wanted["rows"] - kept > 0
    assert rows_of(copy) == rows_wanted(name)
    now = files_of(copy)
    assert left.items() <= now.items()
    # Besides, one part for each level that was lost; a resumed sweep adds its baseline.
    added = now.keys() - left.keys() - {"baseline.json"}
    new = sorted(str(Path(path).parent) for path in added)
    assert new == sorted(f"points/{level}" for level in DATASETS[name].lost)


@each_dataset
@pytest.mark.usefixtures("same_environment")
def test_a_spec_run_from_nothing_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    """Run the YAML into an empty folder: the same points, frames and losses without probes."""
    spec, storage = GOLDEN / f"{name}.yaml", f"storage={json.dumps(str(tmp_path))}"
    fractal_ray.load(spec, storage, *without_probes(spec)).run(engine="local")
    assert rows_of(tmp_path / name) == rows_wanted(name)


@dataclass(frozen=True)
class Asked:
    """A dataset, a copy of it that was verified again, and the outputs of the commands on both."""

    wanted: dict[str, Any]
    verified: Path
    said: Said


@pytest.fixture(scope="module")
def commands(same_environment: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Asked]:
    """Run all commands on copies of all datasets."""
    copies, bares = {}, {}
    for name in DATASETS:
        folder = tmp_path_factory.mktemp(name)
        bares[name] = copy_of(name, folder / "bare", "verify")
        copies[name] = Copy(copy_of(name, folder), folder / "figures", bares[name])
    said = ask(copies)
    wanted = WANTED["datasets"]
    return {name: Asked(wanted[name], bares[name], said[name]) for name in DATASETS}


@pytest.fixture(params=DATASETS)
def asked(request: pytest.FixtureRequest, commands: dict[str, Asked]) -> Asked:
    """Select the results of the commands for one dataset."""
    return commands[request.param]


def test_verify_comes_to_the_same_sheet(asked: Asked) -> None:
    """Draw and run the checks again: expect equal runs, evidence, reasons and verdict."""
    assert sheets_of(asked.verified) == asked.wanted["sheets"]
    assert check_rows_of(asked.verified) == asked.wanted["checks"]
    verdicts = [sheet["verdict"] for sheet in asked.wanted["sheets"].values()]
    assert [sheet["verdict"] for sheet in asked.said.verified] == verdicts


def test_analyze_says_the_same(asked: Asked) -> None:
    """Print the same JSON: counts, verdict, estimates, published ones and series."""
    assert asked.said.analyses == asked.wanted["analyses"]


def test_plot_draws_the_same(asked: Asked) -> None:
    """Draw the same figures, pixel by pixel."""
    assert asked.said.figures == asked.wanted["figures"]


@each_spec
def test_a_spec_means_what_it_meant(spec: str) -> None:
    """Read the same settings and recipe, and give points the same names."""
    if spec not in WANTED["specs"]:
        pytest.skip("it was not there")
    wanted = {key: value for key, value in WANTED["specs"][spec].items() if key != "plan"}
    assert identity_of(spec) == wanted


def test_plans_are_what_they_were(tmp_path: Path) -> None:
    """Plan the recorded points, tokens and hours for every recorded spec."""
    specs = list(WANTED["specs"])
    wanted = {spec: copy.deepcopy(WANTED["specs"][spec]["plan"]) for spec in specs}
    for spec, tokens in COUNTED_BY_STEPS.items():
        for part in (wanted[spec], *wanted[spec]["stages"]):
            assert part["supervised_tokens"] == part["points"] * Recipe.num_tokens
            part["supervised_tokens"] = part["points"] * tokens
    assert plans_of(specs, tmp_path) == wanted
