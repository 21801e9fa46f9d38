"""Sweeps on which some advice cannot be given: each has a line that says what, and why."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import fractal_ray.analysis.advice.advise as module
from fractal_ray.analysis.advice.advise import advise
from fractal_ray.analysis.advice.frame_surface import FrameSurface, surface_of
from fractal_ray.analysis.advice.surface import State, Surface
from fractal_ray.analysis.frame_data import FrameData, fill_frame, read_frame
from fractal_ray.sweep import load
from tests.fractal_ray.analysis.advice.known_surfaces import Known, bowl, changed

ROOT = Path(__file__).parents[4]
BOWL = Known(bowl, np.array([-2.03, -1.41, 2.5, 0.5, 0.3, 0.1]), (-4, 0), (-3, 1))


@pytest.fixture(scope="module")
def first_map() -> FrameData:
    return read_frame(load(ROOT / "notebooks/data/first-map"))


def lines_on(
    surface: Surface, data: FrameData, monkeypatch: pytest.MonkeyPatch, **facts: Any
) -> list[str]:
    """Return the lines of the advice on a made surface, as if it were that of a sweep."""
    steps = np.zeros(surface.loss.shape, dtype=np.int64)
    made = FrameSurface(surface, "mean of the last 5 losses", 0, steps, 0.0 * steps, steps, **facts)
    monkeypatch.setattr(module, "surface_of", lambda _: made)
    return advise(data).lines()


def states(surface: Surface, state: State, broken: int) -> Surface:
    shape = surface.loss.shape
    return changed(
        surface,
        state=np.full(shape, state, dtype=np.int8),
        broken=np.full(shape, broken, dtype=np.int8),
    )


def two_regions() -> Surface:
    surface = BOWL.surface(33, 33, 0.01, 0)
    u, v = np.meshgrid(surface.u, surface.v)
    loss = 2.5 + np.minimum((u + 3) ** 2 + (v + 1) ** 2, (u + 1) ** 2 + (v + 1) ** 2 + 0.01)
    state = np.where(np.abs(u + 2) < 0.2, State.DEGRADED, State.TRAINED).astype(np.int8)
    return changed(surface, loss=loss, state=state)


def beside_a_failure() -> Surface:
    surface = BOWL.surface(17, 17, 0.01, 0)
    state, measured = surface.state.copy(), surface.measured.copy()
    iy, ix = np.abs(surface.v + 1.41).argmin(), np.abs(surface.u + 2.03).argmin()
    state[iy, ix], measured[iy, ix] = State.FAILED, False
    return changed(surface, state=state, measured=measured)


GRID = BOWL.surface(17, 17, 0.02, 0)
RIM = Known(bowl, np.array([-4.5, -1.0, 2.5, 0.5, 0.3, 0.0]), (-4, 0), (-3, 1))
CASES: dict[str, tuple[Surface, list[str]]] = {
    "nothing trained": (
        states(GRID, State.TOO_SLOW, 1),
        ["best    none: no run trained: 289 too slow", "cliff   none: without a best point"],
    ),
    "all broken": (
        states(GRID, State.DIVERGED, 0),
        ["best    none: no run trained: 289 diverged", "cliff   none: without a best point"],
    ),
    "nothing broken": (GRID, ["cliff   no run is broken: the axes end before the cliff"]),
    "best at a rim": (
        RIM.surface(17, 17, 0.02, 0),
        ["note    the best runs reach the rim of the frame (-x): a better point may lie beyond"],
    ),
    "two regions": (two_regions(), ["note    another region is as good: x 0.1, y 0.1, loss 2.5"]),
    "3 x 3 nodes": (
        BOWL.surface(3, 3, 0.01, 0),
        ["note    too few runs around the best for an interval of its place"],
    ),
    "failures beside the best": (
        beside_a_failure(),
        ["note    1 points beside the best failed or show nothing"],
    ),
    "all losses equal": (
        changed(GRID, loss=np.full((17, 17), 2.0)),
        ["best    none: all 289 runs that trained have the loss 2", "cliff   none: "],
    ),
    "no losses": (
        changed(GRID, loss=np.full((17, 17), np.nan)),
        ["best    none: the runs have no losses, so only the border is known", "cliff   none: "],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_said_has_a_line_with_the_reason(
    case: str, first_map: FrameData, monkeypatch: pytest.MonkeyPatch
) -> None:
    surface, starts = CASES[case]
    lines = lines_on(surface, first_map, monkeypatch)
    for start in starts:
        assert any(line.startswith(start) for line in lines), lines
    # The notes of the other cases are absent.
    others = {start for name, (_, each) in CASES.items() if name != case for start in each}
    notes = [start for start in others - set(starts) if start.startswith("note")]
    assert not [line for line in lines if line.startswith(tuple(notes))]


def test_rates_of_groups_have_their_names(first_map: FrameData) -> None:
    """Name the groups whose rates follow from one base rate, as that of lr_tokens.yaml."""
    rates = {"matrix": 0.0373, "unembedding": 0.0298}
    line = replace(advise(first_map), effective=rates).lines()[0]
    assert line.endswith("(effective matrix 0.0373, unembedding 0.0298)")


def test_the_note_on_the_stand_in_has_the_rise_of_the_spec() -> None:
    data = read_frame(load(ROOT / "notebooks/data/first-map", "label.rise=0.3"))
    assert any("with a rise of 30 %" in line for line in advise(data).lines())


def test_an_unfinished_frame_is_said_with_the_command_that_goes_on(first_map: FrameData) -> None:
    assert not [line for line in advise(first_map).lines() if "not finished" in line]
    lines = advise(replace(first_map, replayed=None)).lines()
    command = first_map.sweep.run_command
    assert f"note    the frame is not finished; go on: {command}" in lines


def test_a_refined_frame_says_which_of_its_nodes_were_run() -> None:
    sweep = load(ROOT / "tests/golden/datasets/nanochat")
    data = read_frame(sweep)
    runs, nodes = int(data.raster.measured.sum()), data.raster.outcome.size
    assert runs < nodes
    lines = advise(data).lines()
    assert any(f"{runs:,} of its {nodes:,} nodes were run" in line for line in lines)


def test_rows_without_curves_are_compared_by_their_stored_losses(first_map: FrameData) -> None:
    """Imported rows have an outcome and a last loss, and no curve."""
    table = first_map.table
    empty = pa.array([[]] * table.num_rows, table.schema.field("losses").type)
    nan = pa.array(np.full(table.num_rows, np.nan))
    columns = {name: table.column(name) for name in table.column_names}
    columns |= {"losses": empty, "tail_loss": nan}
    bare = pa.table(columns, schema=table.schema)
    sweep = first_map.sweep
    data = fill_frame(sweep, first_map.lattice, bare, sweep.store().read_failures())
    surface = surface_of(data).surface
    trained = surface.state == State.TRAINED
    assert (surface.state[~trained] != State.DEGRADED).all()
    assert np.array_equal(surface.loss[trained], first_map.raster.loss[trained])
    lines = advise(data).lines()
    assert lines[0].startswith("best    unembedding_lr ")
    ended = int(np.sum(np.array(table.column("outcome").to_pylist()) != "diverged"))
    assert any(line.startswith(f"note    {ended} runs have no loss curve") for line in lines)
