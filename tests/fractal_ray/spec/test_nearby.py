"""Messages for paths without a sweep or a spec."""

from pathlib import Path

import pytest

from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.cli.status_watch import follow
from fractal_ray.errors import SweepError
from fractal_ray.spec.yaml_file import load_spec

DATA = "notebooks/data"


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("sweeps/quikstart.yaml", "sweeps/quickstart.yaml"),
        ("quickstart.yml", "sweeps/quickstart.yaml"),
        ("sweeps/quickstart", "sweeps/quickstart.yaml"),
        ("sweeps/paper/tahn.yaml", "sweeps/paper/tanh.yaml"),
        ("notebooks/data/bordr.yaml", "notebooks/data/border.yaml"),
    ],
)
def test_a_misspelt_spec_is_answered_with_the_nearest(path: str, near: str) -> None:
    with pytest.raises(SweepError) as error:
        load_spec(path)
    assert str(error.value).endswith(f"; did you mean {near}?")


def test_the_folder_of_a_dataset_is_no_spec() -> None:
    with pytest.raises(SweepError, match=r"is the folder of a dataset, .* takes the YAML of a s"):
        load_spec(f"{DATA}/border")


def test_a_misspelt_dataset_is_answered_with_the_dataset() -> None:
    with pytest.raises(SweepError, match=rf"did you mean {DATA}/first-map\?$"):
        SweepData.open(f"{DATA}/first-mpa")


def test_a_folder_above_lists_its_sweeps(tmp_path: Path) -> None:
    sweeps = ("annealed", "border", "constant", "first-map", "lr-tokens")
    names = ", ".join(f"{DATA}/{name}" for name in sweeps)
    with pytest.raises(SweepError, match=f"holds several sweeps, not one; take one of {names}$"):
        SweepData.open(DATA)
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "sweep.json").write_text("{}")
    with pytest.raises(SweepError, match=f"take the sweep in it: {tmp_path}/only$"):
        SweepData.open(tmp_path)


def test_status_watch_does_not_wait_for_a_sweep_above_others() -> None:
    with pytest.raises(SweepError, match="holds several sweeps, not one"):
        follow(DATA, [], None, interval=0.1, as_json=True, skip_corrupt=False)


def test_long_lists_are_cut(tmp_path: Path) -> None:
    for number in range(25):
        (tmp_path / f"{number:02}").mkdir()
        (tmp_path / f"{number:02}" / "sweep.json").write_text("{}")
    with pytest.raises(SweepError, match=r"/19 and 5 more$"):
        SweepData.open(tmp_path)
