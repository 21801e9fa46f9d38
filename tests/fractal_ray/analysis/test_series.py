"""D as a series over zoom, steps and threshold, and ensembles of seeds."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from fractal_ray.analysis.frame_data import read_frame
from fractal_ray.analysis.series import against_steps, against_threshold, against_zoom
from fractal_ray.analysis.verify.kept_sheet import gather, keep, sample_of
from fractal_ray.cli.main import app
from fractal_ray.dimension.ensemble import combine
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import Criterion, RunRecord
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from fractal_ray.workloads.maps.known_sets import known_set
from tests.fractal_ray.sample_workloads import Disc

Maker = Callable[..., Sweep]


class Growing(Disc):
    """A workload that trains inside a disc whose radius grows with the steps."""

    def record(self, point: Point) -> RunRecord:
        radius = float(np.hypot(np.log10(point.x) + 2, np.log10(point.y) + 2))
        steps = np.arange(40)
        losses = np.where(steps == 0, 1.0, 0.5 + radius - steps / 80).astype(np.float32)
        return RunRecord.from_curve(
            losses,
            Criterion(window=1),
            diverged_step=None,
            final_loss=float(losses[-1]),
            steps=40,
            tokens_seen=40,
            seconds=0.0,
        )


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    from tests.fractal_ray.conftest import raw_spec

    raw = raw_spec(
        storage=str(tmp_path_factory.mktemp("two words")),
        stages=[{"grid": {"points": 129}}],
        label={"window": 1},
    )
    sweep = Sweep(parse_spec(raw), Growing())
    sweep.run("local")
    return sweep


def _perimeter(cells: int) -> float:
    """Compute the radius, in decades, of a circle through `cells` of 128 cells over 4 decades."""
    return cells / 8 / 128 * 4


def test_steps_cut_the_stored_curves_short(growing: Sweep) -> None:
    entries = against_steps(growing, steps=[11, 21, 40], force=True)
    assert [entry.at for entry in entries] == [11, 21, 40]
    for entry in entries:
        radius = 0.5 + (entry.at - 1) / 80
        assert _perimeter(entry.boundary_cells) == pytest.approx(radius, rel=0.05)
        assert entry.estimate is not None
        assert entry.estimate.value == pytest.approx(1, abs=0.1)


def test_halvings_of_the_longest_run_are_the_default(growing: Sweep) -> None:
    entries = against_steps(growing, force=True)
    assert [entry.at for entry in entries] == [1, 2, 5, 10, 20, 40]
    assert entries[0].note == "no boundary"  # the first loss is never below itself


def test_thresholds_relabel_the_same_runs(growing: Sweep) -> None:
    entries = against_threshold(growing, thresholds=[0.6, 1.0], force=True)
    assert [_perimeter(entry.boundary_cells) for entry in entries] == pytest.approx(
        [0.6 - 0.5 + 39 / 80, 1.0 - 0.5 + 39 / 80], rel=0.05
    )
    assert len(against_threshold(growing, force=True)) == 13


def test_a_series_needs_the_sheet_of_its_frame(growing: Sweep) -> None:
    with pytest.raises(SweepError, match="frame 0 has no verification sheet") as refused:
        against_threshold(growing)
    assert f"fractal-ray verify '{growing.location}' --frame 0; or --force" in str(refused.value)
    other = Sweep(parse_spec(growing.spec.model_dump(), ["label.threshold=0.9"]))
    with pytest.raises(SweepError, match=r"--frame 0 --set label\.threshold=0\.9; or"):
        against_steps(other)
    data = read_frame(growing)
    sample = sample_of(data, 90)
    growing.run_checks(data.lattice.frame.id, sample, engine="local")
    sheet = gather(data, sample)
    keep(data, replace(sheet, verdict="unresolved", reasons=("labels flip", "few values")))
    for measure in (against_steps, against_threshold):
        with pytest.raises(SweepError, match="sheet of frame 0 gives no dimension") as refused:
            measure(growing)
        assert "'unresolved': labels flip; few values. --force" in str(refused.value)
        assert "fractal-ray verify" not in str(refused.value)
    keep(data, sheet)
    assert len(against_steps(growing)) == 6


def test_sets_without_curves_have_no_such_series(tmp_path: Path) -> None:
    sweep = _weierstrass(tmp_path)
    sweep.run("local")
    with pytest.raises(SweepError, match="has no whole loss curves to cut short"):
        against_steps(sweep, force=True)
    with pytest.raises(SweepError, match="has no loss curves to label by another threshold"):
        against_threshold(sweep, force=True)


def _weierstrass(folder: Path) -> Sweep:
    raw = {
        "name": "w",
        "storage": str(folder),
        "workload": {"kind": "map", "set": "weierstrass"},
        "axes": {
            "x": {"param": "x", "scale": "linear", "min": 0.1, "max": 0.8},
            "y": {"param": "y", "scale": "linear", "min": -0.5, "max": 0.5},
        },
        "stages": [
            {"grid": {"points": 33}},
            {"transects": {"count": 24, "levels": 10}},
            {"zoom": {"points": 33, "factor": 2, "depth": 2}},
            {"transects": {"count": 24, "levels": 10}},
        ],
    }
    return Sweep(parse_spec(raw))


def test_a_series_over_zoom_has_every_frame_and_gives_verified_ones(tmp_path: Path) -> None:
    sweep = _weierstrass(tmp_path)
    sweep.run("local")
    plain = against_zoom(sweep)
    assert [(entry.frame, entry.width) for entry in plain] == [(0, 1.0), (2000, 0.5), (2001, 0.25)]
    assert {entry.note for entry in plain} == {"unverified"}
    assert not any(entry.estimate for entry in plain)
    data = read_frame(sweep, 2000)
    sample = sample_of(data, 90)
    sweep.run_checks(data.lattice.frame.id, sample, engine="local")
    keep(data, gather(data, sample))
    verified = against_zoom(sweep)
    assert [entry.estimate is not None for entry in verified] == [False, True, False]
    for entry in against_zoom(sweep, force=True):
        assert entry.estimate is not None
        assert entry.estimate.interval is not None
        assert entry.estimate.interval[0] <= 1.415 <= entry.estimate.interval[1]
    shown = CliRunner().invoke(app, ["analyze", sweep.location, "--against", "zoom", "--json"])
    assert [each["frame"] for each in json.loads(shown.output)] == [0, 2000, 2001]


def _noisy(
    labels: NDArray[np.int8], share: float, seeds: int, seed: int = 0
) -> list[NDArray[np.int8]]:
    rng = np.random.default_rng(seed)
    return [np.where(rng.random(labels.shape) < share, 1 - labels, labels) for _ in range(seeds)]


def test_noise_between_seeds_is_taken_off() -> None:
    y, x = np.mgrid[-1.5:1.5:257j, -1.5:1.5:257j]
    disc = known_set("disc").trained(x, y).astype(np.int8)
    clean = combine([disc, disc])
    assert (clean.split, clean.same_point) == (0, 0.0)
    assert clean.corrected is not None
    assert clean.raw.value == clean.corrected.value == pytest.approx(1, abs=0.05)
    noisy = combine(_noisy(disc, 0.005, seeds=4))
    assert noisy.same_point == pytest.approx(2 * 0.005 * 0.995, rel=0.1)
    assert noisy.raw.value is not None
    assert noisy.raw.value > 1.15
    assert noisy.corrected is not None
    assert noisy.corrected.value == pytest.approx(1, abs=0.1)
    assert set(np.unique(noisy.yes_share)) <= {0, 0.25, 0.5, 0.75, 1}
    louder = combine(_noisy(disc, 0.2, seeds=4))
    assert louder.corrected is None
    assert "seeds differ at one point nearly as often as at 4 cells" in louder.withheld
    assert louder.yes_share[120:136, 120:136].mean() == pytest.approx(0.8, abs=0.05)


def test_seeds_with_borders_of_their_own_get_no_corrected_number() -> None:
    y, x = np.mgrid[-1.5:1.5:257j, -1.5:1.5:257j]
    discs = [
        known_set("disc", {"radius": radius}).trained(x, y).astype(np.int8)
        for radius in (0.97, 0.99, 1.01, 1.03)
    ]
    found = combine(discs)
    assert found.corrected is None
    assert found.withheld.startswith("between seeds: no number")
    assert found.raw.value == pytest.approx(1, abs=0.06)
    assert "unverified, within each seed" in found.lines()[1]


def test_labels_that_a_seed_does_not_know_are_left_out() -> None:
    y, x = np.mgrid[-1.5:1.5:65j, -1.5:1.5:65j]
    disc = known_set("disc").trained(x, y).astype(np.int8)
    holed = disc.copy()
    holed[:8] = -1
    found = combine([disc, holed])
    assert found.known == 57 * 65
    assert np.isnan(found.yes_share[:8]).all()
    assert found.split == 0


@pytest.mark.parametrize("shapes", [[(9, 9)], [(9, 9), (9, 5)]])
def test_an_ensemble_needs_lattices_of_one_shape(shapes: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="two or more lattices of one shape"):
        combine([np.zeros(shape, np.int8) for shape in shapes])


def test_the_ensemble_command(tmp_path: Path) -> None:
    folders = []
    for seed in (0, 1, 2):
        raw = {
            "name": f"seed{seed}",
            "storage": str(tmp_path),
            "workload": {"kind": "map", "set": "noise", "parameters": {"p": 0.3, "seed": seed}},
            "axes": {
                side: {"param": side, "scale": "linear", "min": 0.0, "max": 1.0} for side in "xy"
            },
            "stages": [{"grid": {"points": 33}}],
        }
        sweep = Sweep(parse_spec(raw))
        sweep.run("local")
        folders.append(sweep.location)
    out = tmp_path / "share.png"
    done = CliRunner().invoke(app, ["ensemble", *folders, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "3 seeds on 1,089 nodes" in done.output
    assert out.stat().st_size > 5000
    told = json.loads(CliRunner().invoke(app, ["ensemble", *folders, "--json"]).output)
    assert told["same_point"] == pytest.approx(2 * 0.3 * 0.7, abs=0.03)
    alone = CliRunner().invoke(app, ["ensemble", folders[0]])
    assert "an ensemble needs two sweeps or more; given 1" in str(alone.exception)
