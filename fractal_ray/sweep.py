"""A sweep as users hold it: a spec, its dataset, and the methods that run it.

import fractal_ray
sweep = fractal_ray.load("sweeps/quickstart.yaml")
sweep.run(engine="local")
sweep.points
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.dataset.header import HEADER
from fractal_ray.dataset.store import inside
from fractal_ray.engine.budget import Budget
from fractal_ray.engine.progress import Progress, View
from fractal_ray.engine.run import NO_BUDGET, EngineName, RunOptions, no_view, run_sweep
from fractal_ray.engine.workload_of import workload_of
from fractal_ray.errors import SweepError
from fractal_ray.spec.frames import SweepFrame
from fractal_ray.spec.idle import check_new_dataset
from fractal_ray.spec.nearby import SUFFIXES
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.workloads.base import Workload
from nanochat.errors import user_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from fractal_ray.analysis.advice.advice import Advice
    from fractal_ray.analysis.verify.label_checks import Sample
    from fractal_ray.analysis.verify.sheet import Sheet
    from fractal_ray.figures.notebook import Dimension, Map
    from fractal_ray.plane.boundary import Raster


class Sweep(SweepData):
    """A spec and its dataset, with what runs and shows them.

    Parameters
    ----------
    spec
        The validated spec.
    workload
        The object that runs a point; None for the workload that the spec names.
    location
        Folder or URI of the dataset; None for the folder `spec.name` in `spec.storage`.
    skip_corrupt
        Leave out parts of the dataset that cannot be read instead of raising.
    opened_with
        Path and changed settings that `open` was called with.

    Examples
    --------
    >>> import fractal_ray
    >>> sweep = fractal_ray.Sweep.open("sweeps/weierstrass.yaml")
    >>> sweep.spec.name, list(sweep.frames)
    ('weierstrass', [0])
    """

    def __init__(
        self,
        spec: SweepSpec,
        workload: Workload | None = None,
        *,
        location: str | None = None,
        skip_corrupt: bool = False,
        opened_with: tuple[str, ...] = (),
    ) -> None:
        place = location or inside(spec.storage, spec.name)
        super().__init__(spec, place, workload, skip_corrupt, opened_with)

    def run(
        self,
        engine: EngineName = "ray",
        *,
        address: str | None = None,
        num_cpus: int | None = None,
        view: View = no_view,
        say: Callable[[str], None] = lambda text: None,
        skip_corrupt: bool | None = None,
        keep_going: bool = False,
        budget: Budget = NO_BUDGET,
    ) -> Progress:
        """Run every point that the dataset does not hold yet.

        Parameters
        ----------
        engine
            "ray" (Ray Tune on a cluster) or "local" (this process).
        address
            Ray cluster to join; None starts one on this machine.
        num_cpus
            Logical CPUs of a cluster of our own.
        view, say
            Called with the progress, and with one line before each slow step.
        skip_corrupt
            Count the points of parts that cannot be read as not run, instead of raising; None: as
            the sweep was opened.
        keep_going
            Leave out points that fail with one error at every attempt, instead of ending the sweep.
        budget
            Limit at which the run stops cleanly; earlier runs of this sweep count.

        Returns
        -------
        Progress
            The state at the end.

        Raises
        ------
        SweepError
            For a mistake in the request: nothing was run, and no data were changed.
        SweepStoppedError
            When the sweep cannot go on; all finished points are in the dataset.
        """
        if self.given_workload is None:
            check_new_dataset(self.spec, self.location)
        skip = self.skip_corrupt if skip_corrupt is None else skip_corrupt
        options = RunOptions(engine, address, num_cpus, view, say, skip, keep_going, budget)
        return run_sweep(self.spec, self.location, self.workload(), options)

    def workload(self) -> Workload:
        """Return the workload that runs the points: the object given, or the one of the spec."""
        return self.given_workload or workload_of(self.spec)

    def _workload_for(self, spec: SweepSpec) -> Workload:
        return Sweep(spec, self.given_workload).workload()

    def run_checks(
        self, frame: int | None, sample: "Sample", engine: EngineName = "ray", **options: Any
    ) -> list[Progress]:
        """Run the checks of a sample of border points that are not in their datasets yet.

        Points that fail are missing from the evidence, however many they are.

        Parameters
        ----------
        frame
            Number of the frame; None for the last.
        sample
            Points at its border (`analysis.verify.kept_sheet.sample_of`).
        engine, options
            As in `run`.
        """
        from fractal_ray.engine.side_runs import run_checks

        how = RunOptions(engine=engine, keep_going=True, **options)
        return run_checks(self, frame, sample, how, self._workload_for)

    def verify(
        self,
        frame: int | None = None,
        *,
        points: int = 200,
        seed: int = 0,
        engine: EngineName = "ray",
        **options: Any,
    ) -> "Sheet":
        """Check the labels at a frame's border, and keep the verification sheet beside the dataset.

        Parameters
        ----------
        frame
            Number of the frame; None for the last.
        points
            Boundary points to check; all, where there are fewer.
        seed
            Seed of the draw of these points.
        engine, options
            As in `run`.

        Raises
        ------
        SweepError
            While the frame is not finished.
        """
        from fractal_ray.analysis.frame_data import read_frame
        from fractal_ray.analysis.verify.kept_sheet import gather, keep, sample_of

        data = read_frame(self, frame)
        sample = sample_of(data, points, seed)
        if sample.points:
            self.run_checks(data.lattice.frame.id, sample, engine, **options)
        sheet = gather(data, sample)
        keep(data, sheet)
        return sheet

    def zoom(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        frame: int | None = None,
        points: int = 33,
        levels: int = 0,
        storage: str | None = None,
        name: str | None = None,
        **options: Any,
    ) -> "Sweep":
        """Run a rectangle of a frame on a lattice of its own, as a new sweep beside this one.

        Parameters are those of `analysis.rectangle.begin_rectangle`, and those of `run`.
        """
        from fractal_ray.analysis.rectangle import begin_rectangle

        spec = begin_rectangle(
            self, x, y, frame=frame, points=points, levels=levels, storage=storage, name=name
        )
        closer = Sweep(spec, self.given_workload)
        closer.run(**options)
        return closer

    def advice(self, frame: int | None = None, at: Sequence[float] = ()) -> "Advice":
        """Return what works best in a frame, the safe region, and the distance to the cliff.

        Parameters
        ----------
        frame
            Number of the frame; None for frame 0, or the first one.
        at
            Amounts of data for which the critical value is predicted, where an axis changes them.
        """
        from fractal_ray.analysis.advice.advise import advise
        from fractal_ray.analysis.frame_data import read_frame

        return advise(read_frame(self, min(self.frames) if frame is None else frame), at)

    def run_seeds(
        self, seeds: int = 3, frame: int | None = None, engine: EngineName = "ray", **options: Any
    ) -> list[tuple[str, Progress]]:
        """Run what the advice rests on with several seeds; `advice` reads these runs.

        They are the best point, its neighbours and both sides of each cliff. Runs that there are
        already are not run again. Points that fail are missing.

        Parameters
        ----------
        seeds
            Number of seeds, from that of the sweep on. Where its own runs depend on a seed, they
            are those of the first one.
        frame
            Number of the frame; None for frame 0, or the first one.
        engine, options
            As in `run`; a budget counts the runs of all seeds.

        Returns
        -------
        list
            For each seed with runs that were lacking, its dataset and the state at the end.

        Raises
        ------
        SweepError
            If the runs have no seed, the frame is not finished, or there is no advice on it.
        """
        from fractal_ray.engine.side_runs import run_seeds

        how = {"skip_corrupt": self.skip_corrupt, "keep_going": True, **options}
        number = min(self.frames) if frame is None else frame
        return run_seeds(self, number, seeds, RunOptions(engine, **how), self._workload_for)

    @property
    def points(self) -> "DataFrame":
        """All runs, one row a point, in the order of frames, levels and addresses.

        The columns are those of docs/storage.md but `tail_loss`. `outcome` and `ratio` are under
        the spec's label as it is now; `label` (bool, None where it is open) is what its boundary
        makes of them, and `detail` has the parts of `not_improved`.
        """
        from fractal_ray.figures.notebook import points_of

        return points_of(self)

    def map(self, frame: int | None = None) -> "Map":
        """Return the outcomes of a frame (the last by default), which a notebook shows."""
        from fractal_ray.figures.notebook import map_of

        return map_of(self, frame)

    def dimension(self, frame: int | None = None) -> "Dimension":
        """Return the dimension that a frame's verification sheet allows; no number without one."""
        from fractal_ray.figures.notebook import dimension_of

        return dimension_of(self, frame)

    def figure(self, kind: str, *, frame: int | None = None, **options: Any) -> "Figure":
        """Draw a figure of a frame by its kind; `figures.catalog.KINDS` lists the kinds."""
        from fractal_ray.figures.notebook import figure_of

        return figure_of(self, kind, frame, **options)

    def raster(
        self, table: pa.Table | None = None, *, frame: int | None = None, coarse: bool = False
    ) -> "Raster":
        """Return the finest lattice of a frame with outcomes under the spec's label.

        Parameters
        ----------
        table
            Rows to draw from; None reads the dataset.
        frame
            Number of the frame; None for the last.
        coarse
            Return its grid instead.
        """
        from fractal_ray.analysis.frame_data import read_frame

        return read_frame(self, frame, table=table, coarse=coarse).raster

    def table(self, *, skip_corrupt: bool | None = None) -> pa.Table:
        """Read all evaluations, one row a point (docs/storage.md lists the columns).

        Parameters
        ----------
        skip_corrupt
            Parameter of version 0.1. `Sweep.open(..., skip_corrupt=True)` opens a sweep whose
            unreadable parts are left out.
        """
        if skip_corrupt is None:
            return super().table()
        _warn_renamed("Sweep.table(skip_corrupt=...)", "Sweep.open(path, skip_corrupt=...).table()")
        return self.store().read(skip_corrupt=skip_corrupt)

    def lattices(self) -> dict[int, SweepFrame]:
        """Return `frames`; the name of that property in version 0.1."""
        _warn_renamed("Sweep.lattices()", "Sweep.frames")
        return self.frames

    def lattice(self, frame: int | None = None) -> SweepFrame:
        """Return `frame(number)`; the name of that method in version 0.1."""
        _warn_renamed("Sweep.lattice(number)", "Sweep.frame(number)")
        return self.frame(frame)

    def __repr__(self) -> str:
        """Return the sweep's name and the place of its dataset."""
        return f"<sweep {self.spec.name} in {self.location}>"

    def _repr_html_(self) -> str:
        from fractal_ray.figures.notebook import page_of

        return page_of(self)


def load(path: str | Path, *settings: str) -> Sweep:
    """Open a sweep: the folder of its dataset, or the YAML of its spec.

    Parameters
    ----------
    path
        Folder with `sweep.json` in it, a URI that pyarrow knows, or a YAML file. The sweep of a
        YAML file need not have been run yet.
    settings
        ``"label.threshold=1.0"``: dotted key of the spec, then a YAML value, as after ``--set``.

    Returns
    -------
    Sweep
        With `points`, `map()`, `dimension()`, `figure()`, `run()` and `zoom()`.

    Raises
    ------
    SweepError
        When there is no sweep at `path`, with the sweeps nearby, or the spec is not valid.

    Examples
    --------
    In a checkout of the repository, the dataset of a notebook:

    >>> import fractal_ray
    >>> sweep = fractal_ray.load("notebooks/data/first-map")
    >>> len(sweep.points)
    563
    >>> fractal_ray.load("notebooks/data/first-map", "label.threshold=0.5").spec.label.threshold
    0.5
    """
    if "://" not in str(path):
        path = user_path(path, SweepError)
        if path.is_file() and path.suffix not in SUFFIXES:
            raise SweepError(
                f"{path} is neither the folder of a dataset nor a spec (.yaml); a sweep's folder is"
                f" the one with {HEADER} in it"
            )
    return Sweep.open(path, settings)


def _warn_renamed(old: str, new: str) -> None:
    warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=3)
