"""A view of a sweep that runs elsewhere, from its dataset; each part is read once.

The stages are planned again and answered from the rows that arrive, as `replay.py` does for one
frame. Stage, counts and end thus equal those that the run itself shows, without a connection to it.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.dataset.driver_lease import SECONDS as LEASE_SECONDS
from fractal_ray.dataset.driver_lease import Driver
from fractal_ray.dataset.driver_lease import read as read_driver
from fractal_ray.dataset.frames_file import read_zooms
from fractal_ray.dataset.new_parts import new_parts
from fractal_ray.dataset.relabel import RULE_COLUMNS, outcomes
from fractal_ray.dataset.store import Store
from fractal_ray.engine.progress import Progress
from fractal_ray.engine.tally import Tally
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Point
from fractal_ray.plane.baseline import NO_BASELINE
from fractal_ray.plane.outcome import Outcome
from fractal_ray.plane.zoom import Zoom
from fractal_ray.spec.planning import make_program

_PORTION = 10_000  # points per call of `ask`, so that a large grid is not held as points
_PATIENCE = 60.0  # seconds without a row before a warning; more for long runs

Values = tuple[float, float]


class Watch:
    """Progress of a sweep, read from its dataset.

    Parameters
    ----------
    sweep
        The sweep and the location of its dataset.
    clock
        Function that returns seconds of a monotonic clock; tests pass one of their own.
    """

    def __init__(
        self,
        sweep: SweepData,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sweep, self._spec = sweep, sweep.spec
        self._told = sweep.spec.label_rule(NO_BASELINE).told
        self._store = Store(sweep.location)
        self._skip_corrupt = sweep.skip_corrupt
        self._seen_parts: dict[str, set[str]] = {"points": set(), "failures": set()}
        self._clock = clock
        self._known: dict[Values, Outcome] = {}
        self._given_up: dict[Values, set[str]] = {}  # the runs that gave a point up
        self._tally = Tally()
        self._since: float | None = None  # the end of the first look
        self._trained = self._longest = 0.0
        self._news = clock()
        self._driver: Driver | None = None
        self._renewed = clock()
        self._run = ""  # the token of the driver that runs the sweep now; "" without one
        self._plan([])

    def look(self) -> Progress:
        """Read the new rows and return the progress.

        `reused` counts the runs of the first look, so `rate` and `eta` come from later ones.
        `slots` is the number of slots that the new runs have occupied: seconds of training per
        second, rounded up.

        Raises
        ------
        SweepError
            For a part that cannot be read.
        """
        trouble = ""
        try:
            self._read()
        except OSError as error:
            if self._since is None:
                raise SweepError(f"cannot read {self._store.location}: {error}") from error
            trouble = f"the dataset cannot be read, trying again: {error}"
        self._ask()
        now = self._clock()
        if self._since is None:
            self._since, self._news, self._trained = now, now, 0.0
            self._tally.reused = self._tally.done
        quiet = now - self._news
        finished = self._program.done
        if not trouble and not finished and quiet > _PATIENCE + 3 * self._longest:
            trouble = f"no run has arrived for {quiet:.0f} s; does the sweep still run?"
        return self._progress(now - self._since, trouble, finished=finished)

    def _progress(self, seconds: float, trouble: str, *, finished: bool) -> Progress:
        tally = self._tally
        return Progress(
            stage=self._program.stage,
            total=tally.done + tally.gave_up + len(self._pending) + self._program.backlog,
            done=tally.done,
            reused=tally.reused,
            running=0,
            outcomes=tally.outcomes(),
            not_improved=tally.not_improved(),
            failures=tally.failures,
            gave_up=tally.gave_up,
            slots=math.ceil(self._trained / seconds) if seconds > 0 else 0,
            seconds=seconds,
            x_param=self._spec.axes.x.param,
            y_param=self._spec.axes.y.param,
            map=tally.thumbnail.rows(self._program.frame),
            shared_nodes=tally.shared_nodes,
            bisection_points=tally.bisection_points,
            trouble=trouble,
            finished=finished,
        )

    # Reading --------------------------------------------------------------------------------

    def _read(self) -> None:
        run, zooms = self._present_run(), read_zooms(self._store)
        if run != self._run or _contradict(zooms, self._program.zooms):
            # A resumed run tries points again that the run before it had given up, and its frames
            # replace those planned here.
            self._run = run
            self._plan(zooms)
        for table in self._new_parts("failures", ["x", "y", "gave_up", "run"]):
            self._tally.failures += table.num_rows
            self._note_given_up(table)
        wanted = ["stage", *RULE_COLUMNS, "seconds"]
        for table in self._new_parts("points", wanted):
            self._note(table)

    def _present_run(self) -> str:
        """Return the token of the driver that runs the sweep; "" without one that renews its lease.

        The clock of another machine may be wrong, so the renewals are timed here.
        """
        driver = read_driver(self._store)
        if driver != self._driver:
            self._driver, self._renewed = driver, self._clock()
        is_old = self._clock() - self._renewed > LEASE_SECONDS
        return "" if driver is None or driver.ended or is_old else driver.token

    def _new_parts(self, kind: str, columns: list[str]) -> Iterator[pa.Table]:
        seen = self._seen_parts[kind]
        return new_parts(self._store, kind, columns, seen, skip_corrupt=self._skip_corrupt)

    def _note(self, table: pa.Table) -> None:
        """Take rows; joined parts repeat known ones, which are skipped."""
        watched = math.inf if self._since is None else self._clock() - self._since
        places = _places(table)
        if all(place in self._known for place in places):
            return
        self._news = self._clock()
        row_outcomes = outcomes(table, self._sweep.rule)
        stages, seconds = (table.column(name).to_pylist() for name in ("stage", "seconds"))
        lost = not self._lost.isdisjoint(places)
        for place, stage, outcome, took in zip(places, stages, row_outcomes, seconds, strict=True):
            if place in self._known:
                continue
            self._known[place] = outcome
            self._tally.add_run(place, stage, outcome)
            # A run that began before this watch counts for as long as it was watched.
            self._trained += min(took, watched)
            self._longest = max(self._longest, took)
            for point in self._pending.pop(place, ()):
                self._tell(point, outcome)
        if lost:  # an outcome of a point that an earlier run gave up
            self._plan(list(self._program.zooms))

    def _note_given_up(self, table: pa.Table) -> None:
        gave_up = table.column("gave_up").to_pylist()
        # Rows of versions without the column do not say which run they are of.
        has_runs = "run" in table.column_names
        runs = table.column("run").to_pylist() if has_runs else [""] * table.num_rows
        for place, is_given_up, run in zip(_places(table), gave_up, runs, strict=True):
            if is_given_up:
                self._given_up.setdefault(place, set()).add(run or "")
                if self._is_lost(place):
                    for point in self._pending.pop(place, ()):
                        self._tell(point, None)

    def _is_lost(self, place: Values) -> bool:
        """Return True if the present run, or, while none runs, any earlier one gave a point up."""
        runs = self._given_up.get(place, ())
        return self._run in runs if self._run else bool(runs)

    # Planning -------------------------------------------------------------------------------

    def _plan(self, zooms: list[Zoom]) -> None:
        """Start a new plan, which known outcomes will answer."""
        self._program = make_program(self._spec, zooms)
        self._pending: dict[Values, list[Point]] = {}
        self._lost: set[Values] = set()
        self._tally.plan_again()

    def _ask(self) -> None:
        """Ask for points until a portion has no known one; the others wait for their rows."""
        answered = True
        while answered:
            answered = False
            for point in self._program.ask(_PORTION):
                place = point.x, point.y
                if place in self._known or self._is_lost(place):
                    self._tell(point, self._known.get(place))
                    answered = True
                else:
                    self._pending.setdefault(place, []).append(point)

    def _tell(self, point: Point, outcome: Outcome | None) -> None:
        place = point.x, point.y
        # Read before the answer, which may end the stage.
        stage, frames = self._program.stage, self._program.frames
        self._program.tell([(point, None if outcome is None else self._told(outcome))])
        if outcome is None:
            self._lost.add(place)
            self._tally.give_up(place)
        else:
            self._tally.answer(place, stage, frames, point, outcome)


def _contradict(stored: Sequence[Zoom], planned: Sequence[Zoom]) -> bool:
    """Return True if frames differ that both have; either may be ahead of the other."""
    return any(one != other for one, other in zip(stored, planned, strict=False))


def _places(table: pa.Table) -> list[Values]:
    x, y = (table.column(name).to_pylist() for name in ("x", "y"))
    return list(zip(x, y, strict=True))
