"""A sweep: a spec plus the dataset that it fills. What the command line and notebooks use.

import fractal_ray
sweep = fractal_ray.load("sweeps/quickstart.yaml")
sweep.run(engine="local")
sweep.points
"""

import functools
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

import fractal_ray
from fractal_ray.analysis.rasters import fill_raster
from fractal_ray.dataset.driver_lease import hold_lease
from fractal_ray.dataset.frames_file import read_zooms
from fractal_ray.dataset.header import (
    HEADER,
    check_fingerprint,
    own_header,
    read_header,
    write_header,
)
from fractal_ray.dataset.store import Store, inside
from fractal_ray.engine.budget import Budget
from fractal_ray.engine.dispatcher import Dispatcher
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.engine.progress import Progress, View
from fractal_ray.errors import SweepError
from fractal_ray.plane.boundary import Raster
from fractal_ray.plane.zoom import Zoom
from fractal_ray.planners.program import Program
from fractal_ray.spec.frames import Lattice, lattices, stage_of
from fractal_ray.spec.planning import make_program
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.spec.workloads import MapSpec, MlpSpec, NanochatSpec
from fractal_ray.spec.yaml_file import load_spec, parse_spec

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from fractal_ray.figures.notebook import Dimension, Map
    from fractal_ray.workloads.base import Workload

NO_BUDGET = Budget()
ProgramMaker = Callable[[list[Zoom]], Program]
EngineName = Literal["ray", "local"]


def _no_view(progress: Progress) -> None:
    """Watch nothing."""


class Sweep:
    """A spec and its dataset.

    Parameters
    ----------
    spec
        The validated spec.
    workload
        What runs a point; None for the one that the spec names.
    """

    def __init__(self, spec: SweepSpec, workload: "Workload | None" = None) -> None:
        self.spec = spec
        self._workload = workload
        self._program: ProgramMaker = functools.partial(make_program, spec)
        self._compared: str | None = None  # dataset with whose runs these are compared
        self.location = inside(spec.storage, spec.name)

    @classmethod
    def open(cls, path: str | Path, overrides: tuple[str, ...] = ()) -> "Sweep":
        """Open a sweep from its YAML, or from the folder that its dataset is in.

        Raises
        ------
        SweepError
            When the spec is not valid or the folder holds no sweep.
        """
        remote = "://" in str(path)
        if not remote and not Path(path).is_dir():
            return cls(load_spec(path, overrides))
        if any(override.startswith("storage=") for override in overrides):
            raise SweepError(f"{path} is a dataset's folder; --storage goes with a spec's YAML")
        header = read_header(Store(str(path)))
        if header is None:
            raise SweepError(f"{path} holds no sweep: there is no {HEADER} in it")
        sweep = cls(parse_spec(header["spec"], overrides, origin=f"{path}/{HEADER}"))
        sweep.location = str(path) if remote else str(Path(path).absolute())
        return sweep

    def beside(self, location: str, program: "ProgramMaker", of: "Sweep") -> "Sweep":
        """The same runs of other points: `program` decides which, into a dataset of their own.

        They are to be compared with those of the sweep `of`, and are refused where those had
        another fingerprint.
        """
        other = Sweep(self.spec, self._workload)
        other.location, other._program, other._compared = location, program, of.location
        return other

    def with_spec(self, spec: SweepSpec) -> "Sweep":
        """The same workload under another spec."""
        return Sweep(spec, self._workload)

    def in_other_dtype(self) -> "Sweep | None":
        """The same sweep computed in another dtype; None where its workload knows only one."""
        return self._with_runs(self.spec.workload.in_other_dtype())

    def in_deterministic_mode(self) -> "Sweep | None":
        """The same sweep with runs that repeat to the bit; None where they do, or may not be told
        to."""
        asked = self.spec.workload
        return self._with_runs(
            asked.in_deterministic_mode() if isinstance(asked, NanochatSpec) else None
        )

    def _with_runs(self, workload: NanochatSpec | MlpSpec | None) -> "Sweep | None":
        """The same sweep of other runs; None without them, or where an object runs the points."""
        if workload is None or self._workload is not None:
            return None
        return Sweep(self.spec.model_copy(update={"workload": workload}))

    def is_of_this_spec(self) -> bool:
        """Whether the folder holds a dataset of this workload on these axes."""
        theirs = read_header(self.store())
        ours = self.spec.model_dump(mode="json")
        return theirs is not None and all(
            theirs["spec"].get(part) == ours[part] for part in ("workload", "axes")
        )

    # Running --------------------------------------------------------------------------------

    def run(
        self,
        engine: EngineName = "ray",
        *,
        address: str | None = None,
        num_cpus: int | None = None,
        view: View = _no_view,
        say: Callable[[str], None] = lambda text: None,
        skip_corrupt: bool = False,
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
            Count the points of parts that cannot be read as not run, instead of raising.
        keep_going
            Leave out points that fail alike at every attempt, instead of ending the sweep.
        budget
            Where to stop cleanly; what earlier runs of this sweep spent counts.

        Returns
        -------
        Progress
            The state at the end.

        Raises
        ------
        SweepError
            For a mistake in what was asked: nothing was run, and no data were touched.
        SweepStoppedError
            When the sweep cannot go on; what was finished is in the dataset.
        """
        workload = self.workload()
        if isinstance(self.spec.workload, NanochatSpec):
            say("loading the model and tokenising the data")
        prepared = workload.prepare()
        if self._compared is not None:
            check_fingerprint(Store(self._compared), prepared.fingerprint)
        store = self.store()
        header = own_header(self.spec, store, prepared.fingerprint, workload.recipe)
        with hold_lease(store) as token:
            dispatcher = self._dispatcher_spec(
                prepared.fingerprint, workload, skip_corrupt, keep_going, budget, token
            )
            complete = _progress_if_complete(dispatcher)
            write_header(store, header)
            if complete is not None:
                view(complete)
                return complete
            if engine == "local":
                from fractal_ray.engine.local import run_local

                device = "cuda" if self.spec.resources.gpu else "cpu"
                return run_local(dispatcher, workload, prepared, device=device, view=view)
            from fractal_ray.engine.cluster.run import run_on_ray

            return run_on_ray(
                dispatcher,
                workload,
                prepared,
                self.spec.resources,
                address=address,
                num_cpus=num_cpus,
                trials=self.spec.trials,
                tables=None if store.is_remote else Path(self.location) / "tune",
                view=view,
                say=say,
            )

    def workload(self) -> "Workload":
        """What runs a point: the one given, or the one that the spec names."""
        if self._workload is not None:
            return self._workload
        asked = self.spec.workload
        if isinstance(asked, MapSpec):
            from fractal_ray.workloads.maps.workload import MapWorkload

            return MapWorkload(asked.set, asked.parameters)
        if isinstance(asked, MlpSpec):
            from fractal_ray.workloads.mlp.workload import MlpWorkload

            return MlpWorkload.from_spec(self.spec)
        from fractal_ray.workloads.nanochat.workload import NanochatWorkload

        return NanochatWorkload.from_spec(self.spec)

    def _dispatcher_spec(
        self,
        fingerprint: str,
        workload: "Workload",
        skip_corrupt: bool,
        keep_going: bool,
        budget: Budget,
        token: str,
    ) -> DispatcherSpec:
        spec = self.spec
        lease = spec.resources.lease_seconds
        tile = spec.points_per_tile if isinstance(spec.points_per_tile, int) else None
        together = spec.resources.points_per_trial
        return DispatcherSpec(
            program=self._program,
            location=self.location,
            metadata={
                "axes": spec.axes.model_dump(),
                "label": spec.label.model_dump(),
                "fingerprint": fingerprint,
                "fractal_ray": fractal_ray.__version__,
                "python": platform.python_version(),
            },
            fingerprint=fingerprint,
            recipe=dict(workload.recipe),
            x_param=spec.axes.x.param,
            y_param=spec.axes.y.param,
            criterion=spec.label.criterion,
            points_per_tile=1 if spec.trials == "points" else tile,
            together=1 if together == "auto" else together,
            skip_corrupt=skip_corrupt,
            keep_going=keep_going,
            lease_seconds=None if lease == "auto" else lease,
            homogeneous=spec.resources.homogeneous,
            storage_patience=spec.resources.storage_patience,
            budget=budget,
            token=token,
        )

    # Reading --------------------------------------------------------------------------------

    def store(self) -> Store:
        """The dataset."""
        return Store(self.location)

    def header(self) -> dict[str, Any] | None:
        """`sweep.json`: whose data these are (docs/storage.md); None before the first run.

        Raises
        ------
        SweepError
            When it is damaged.
        """
        return read_header(self.store())

    def table(self, *, skip_corrupt: bool = False) -> pa.Table:
        """All evaluations, one row a point (docs/storage.md lists the columns)."""
        return self.store().read(skip_corrupt=skip_corrupt)

    def lattices(self) -> dict[int, Lattice]:
        """All frames so far by number, those of a zoom in the order in which they were chosen."""
        return lattices(self.spec, read_zooms(self.store()))

    def lattice(self, frame: int | None = None) -> Lattice:
        """A frame and its finest lattice; by default that of the last frame.

        Raises
        ------
        SweepError
            If there is no such frame, or not yet.
        """
        every = self.lattices()
        if frame is None:
            return every[max(every, key=lambda number: (stage_of(number), number))]
        if frame not in every:
            raise SweepError(
                f"there is no frame {frame}; {self.location} has"
                f" {', '.join(str(number) for number in every)}"
            )
        return every[frame]

    def raster(
        self,
        table: pa.Table | None = None,
        *,
        frame: int | None = None,
        coarse: bool = False,
    ) -> Raster:
        """The finest lattice of a frame with outcomes under the spec's label.

        Parameters
        ----------
        table
            Rows to draw from; None reads the dataset.
        frame
            Number of the frame; None for the last.
        coarse
            Its grid instead.
        """
        lattice = self.lattice(frame)
        if coarse:
            lattice = replace(lattice, level=0, refinement=None)
        table = self.table() if table is None else table
        failures = self.store().read_failures(skip_corrupt=True)
        return fill_raster(self.spec, lattice, table, failures)[0]

    # Looking --------------------------------------------------------------------------------

    @property
    def points(self) -> "DataFrame":
        """All runs, one row a point, in the order of frames, levels and addresses.

        The columns are those of docs/storage.md but `tail_loss`. `outcome` and `ratio` are under
        the spec's label as it is now, and `label` (bool) is what its boundary makes of them.
        """
        from fractal_ray.figures.notebook import points_of

        return points_of(self)

    def map(self, frame: int | None = None) -> "Map":
        """The outcomes of a frame (the last one if not given), which a notebook shows."""
        from fractal_ray.figures.notebook import map_of

        return map_of(self, frame)

    def dimension(self, frame: int | None = None) -> "Dimension":
        """What the verification sheet of a frame allows to be said; no number without one."""
        from fractal_ray.figures.notebook import dimension_of

        return dimension_of(self, frame)

    def figure(self, kind: str, *, frame: int | None = None, **options: Any) -> "Figure":
        """A figure of a frame by its kind; `fractal_ray.figures.catalog.draw` lists them."""
        from fractal_ray.figures.notebook import figure_of

        return figure_of(self, kind, frame, **options)

    def zoom(self, x: tuple[float, float], y: tuple[float, float], **how: Any) -> "Sweep":
        """Run a rectangle of a frame on a lattice of its own, as a new sweep beside this one.

        `x` and `y` are (low, high) in real values; `analysis/rectangle.py` has the rest.
        """
        from fractal_ray.analysis.rectangle import look_closer

        return look_closer(self, x, y, **how)

    def __repr__(self) -> str:
        """Which sweep, and where."""
        return f"<sweep {self.spec.name} in {self.location}>"

    def _repr_html_(self) -> str:
        from fractal_ray.figures.notebook import page_of

        return page_of(self)


def _progress_if_complete(spec: DispatcherSpec) -> Progress | None:
    """The last state of a sweep that has nothing left to run or to spend: it needs no cluster."""
    dispatcher = Dispatcher(spec)
    return dispatcher.close() if dispatcher.take(0) == "stop" else None
