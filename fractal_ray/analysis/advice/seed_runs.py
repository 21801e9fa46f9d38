"""Runs of the checked nodes with several seeds: a dataset for each seed, beside the sweep's rows.

They lie in ``seeds/seed-S/`` in the sweep's folder, as datasets like any other. So planners, the
verification, dimensions and the counts of the sweep never see them.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa

from fractal_ray.analysis.advice.frame_surface import STATES, FrameSurface, tails_of
from fractal_ray.analysis.advice.results import Node
from fractal_ray.analysis.advice.surface import State
from fractal_ray.analysis.frame_data import FrameData, addresses_of
from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.dataset.header import ORIGIN, read_header
from fractal_ray.dataset.relabel import outcomes
from fractal_ray.dataset.store import inside
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Frame, Point
from fractal_ray.plane.boundary import label
from fractal_ray.plane.zoom import Zoom
from fractal_ray.planners.listed import ListedPlanner
from fractal_ray.planners.program import Program

FOLDER: Final = "seeds"
"""Folder of the datasets in that of the sweep."""
_NAME = re.compile(r"seed-(\d+)")


@dataclass(frozen=True)
class SeedRun:
    """A finished run with one seed: its label (1 unbroken, 0 broken, -1 unknown) and its loss."""

    label: int
    loss: float
    trained: bool


@dataclass(frozen=True)
class SeedRows:
    """The runs with several seeds at the nodes of a frame.

    Parameters
    ----------
    runs
        For each node, its runs by seed.
    failed
        Nodes and seeds of the runs that have only failures.
    left_out
        Sentences on datasets that were not counted.
    """

    runs: Mapping[Node, Mapping[int, SeedRun]]
    failed: frozenset[tuple[Node, int]]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeedRuns:
    """The runs of one seed that are lacking: a sweep of listed points with a dataset of its own.

    Parameters
    ----------
    seed
    lacking
        Number of these runs.
    data
        The spec of these runs and the place of their dataset.
    program
        Function that makes the planner of their points; picklable.
    """

    seed: int
    lacking: int
    data: SweepData
    program: Callable[[list[Zoom]], Program]


def data_of_seed(sweep: SweepData, seed: int) -> SweepData:
    """Return the spec and the place of the runs of a seed."""
    place = inside(sweep.location, f"{FOLDER}/seed-{seed}")
    return SweepData(sweep.with_seed(seed), place, skip_corrupt=sweep.skip_corrupt)


def stored_seeds(sweep: SweepData) -> list[int]:
    """Return the seeds that have a dataset."""
    matches = (_NAME.fullmatch(name) for name in sweep.store().names(FOLDER))
    return sorted(int(match[1]) for match in matches if match)


def shares_first_seed(sweep: SweepData) -> bool:
    """Return True if the runs of the sweep itself are those of its seed."""
    seeding = sweep.seeding
    return seeding is not None and sweep.with_seed(seeding.seed) is sweep.spec


def seeds_to_run(sweep: SweepData, count: int) -> list[int]:
    """Return the seeds that are run for a number of seeds: all but that of the sweep's own runs."""
    seeding = sweep.seeding
    if seeding is None:
        return []
    return [seeding.seed + i for i in range(int(shares_first_seed(sweep)), count)]


def read_seeds(data: FrameData, measured: FrameSurface) -> SeedRows:
    """Read the runs of all seeds at the nodes of a frame.

    Where the runs of the sweep are those of its seed, they count at nodes with other seeds too.
    """
    sweep = data.sweep
    runs: dict[Node, dict[int, SeedRun]] = {}
    failed: set[tuple[Node, int]] = set()
    left_out: list[str] = []
    seeding = sweep.seeding
    for seed in stored_seeds(sweep) if seeding is not None else ():
        of_seed = data_of_seed(sweep, seed)
        if not _belongs(of_seed, sweep):
            left_out.append(f"{_foreign(of_seed)}: they are not counted; delete it")
            continue
        left_out += of_seed.left_out()
        for node, run in _runs_of(of_seed, data, on_validation=measured.on_validation):
            runs.setdefault(node, {})[seed] = run
        failures = of_seed.store().read_failures(skip_corrupt=True)
        failed |= {(node, seed) for node, _ in _nodes(data, failures)}
    if seeding is not None and shares_first_seed(sweep):
        surface = measured.surface
        for node, by_seed in runs.items():
            if surface.measured[node]:
                trained = bool(surface.state[node] == State.TRAINED)
                own = SeedRun(int(surface.broken[node]), float(surface.loss[node]), trained)
                by_seed[seeding.seed] = own
    finished = {(node, seed) for node, by_seed in runs.items() for seed in by_seed}
    return SeedRows(runs, frozenset(failed - finished), tuple(left_out))


def refuse_foreign(sweep: SweepData, seed: int) -> None:
    """Refuse to add runs to the dataset of a seed that does not belong to the sweep.

    Raises
    ------
    SweepError
        The message names the dataset.
    """
    of_seed = data_of_seed(sweep, seed)
    if read_header(of_seed.store()) is not None and not _belongs(of_seed, sweep):
        raise SweepError(f"{_foreign(of_seed)}; delete it, and repeat the command")


def _foreign(of_seed: SweepData) -> str:
    return f"{of_seed.location} holds runs of other settings or of another model"


def _belongs(of_seed: SweepData, sweep: SweepData) -> bool:
    """Return True if a dataset holds these runs, of the model that the sweep was made with."""
    header, own = read_header(of_seed.store()), sweep.header() or {}
    if header is None:
        return False
    return of_seed.is_of_this_spec() and header.get(ORIGIN) == own.get("fingerprint")


def _runs_of(
    of_seed: SweepData, data: FrameData, *, on_validation: bool
) -> Iterable[tuple[Node, SeedRun]]:
    """Yield the runs of a seed that lie on the lattice of a frame."""
    table, rule = of_seed.table(), of_seed.rule
    row_outcomes = outcomes(table, rule)
    losses = table.column("val_loss").to_numpy() if on_validation else tails_of(table, rule)[0]
    for node, row in _nodes(data, table):
        outcome, loss = row_outcomes[row], float(losses[row])
        unbroken = label(outcome, "broken")
        yield (
            node,
            SeedRun(
                label=-1 if unbroken is None else int(unbroken),
                loss=loss if math.isfinite(loss) else math.nan,
                trained=STATES[outcome] is State.TRAINED,
            ),
        )


def _nodes(data: FrameData, table: pa.Table) -> Iterable[tuple[Node, int]]:
    """Return the nodes of the rows that lie on the lattice of a frame, with the rows."""
    frame, level = data.lattice.frame, data.lattice.level
    cells = frame.cells_x << level, frame.cells_y << level
    ix, iy, on_lattice = addresses_of(frame, *cells, table)
    rows = np.flatnonzero(on_lattice).tolist()
    return zip(zip(iy.tolist(), ix.tolist(), strict=True), rows, strict=True)


def lacking_runs(
    data: FrameData, nodes: Iterable[Node], rows: SeedRows, count: int
) -> list[SeedRuns]:
    """Return the runs that a number of seeds lacks, one entry for each seed with such runs."""
    lacking = []
    wanted = list(nodes)
    frame, level = data.lattice.frame, data.lattice.level
    for seed in seeds_to_run(data.sweep, count):
        todo = [node for node in wanted if seed not in rows.runs.get(node, {})]
        if todo:
            x, y = data.raster.x, data.raster.y
            points = [Point(frame.id, level, c, r, float(x[c]), float(y[r])) for r, c in todo]
            program = partial(_program, frame, points)
            lacking.append(SeedRuns(seed, len(todo), data_of_seed(data.sweep, seed), program))
    return lacking


def _program(frame: Frame, points: Sequence[Point], zooms: Sequence[Zoom]) -> Program:
    return Program([("advise:seeds", lambda: ListedPlanner(frame, points))])


def spent_elsewhere(sweep: SweepData, seed: int) -> tuple[int, float]:
    """Return the number of runs with other seeds than this one, and their time in seconds."""
    points, seconds = 0, 0.0
    for other in stored_seeds(sweep):
        if other != seed:
            store = data_of_seed(sweep, other).store()
            times = store.read(["seconds"], skip_corrupt=True).column("seconds").to_numpy()
            points, seconds = points + len(times), seconds + float(times.sum())
    return points, seconds
