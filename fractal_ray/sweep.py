"""A sweep: a spec plus the dataset that it fills. What the command line and notebooks use.

from fractal_ray.sweep import Sweep
sweep = Sweep.open("sweeps/quickstart.yaml")
sweep.run(engine="local")
sweep.table().to_pandas()
"""

import functools
import json
import platform
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

import fractal_ray
from fractal_ray.boundary import Raster
from fractal_ray.engine.base import Progress, View
from fractal_ray.engine.budget import Budget
from fractal_ray.engine.dispatcher import Dispatcher
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.errors import SweepError
from fractal_ray.frame_file import read_zooms, refuse_other_zooms
from fractal_ray.frames import Lattice, lattices, stage_of
from fractal_ray.planners.program import Program
from fractal_ray.planners.zoom import Zoom
from fractal_ray.rasters import fill_raster
from fractal_ray.spec import SweepSpec
from fractal_ray.spec_file import load_spec, parse_spec
from fractal_ray.spec_workloads import MapSpec, MlpSpec, NanochatSpec
from fractal_ray.stages import make_program
from fractal_ray.store import Store

if TYPE_CHECKING:
    from fractal_ray.workloads.base import Prepared, Workload

NO_BUDGET = Budget()
ProgramMaker = Callable[[list[Zoom]], Program]
EngineName = Literal["ray", "local"]
HEADER = "sweep.json"


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
        if "://" in spec.storage:
            self.location = f"{spec.storage.rstrip('/')}/{spec.name}"
        else:
            self.location = str((Path(spec.storage).expanduser() / spec.name).absolute())

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
        header = _read_header(Store(str(path)))
        if header is None:
            raise SweepError(f"{path} holds no sweep: there is no {HEADER} in it")
        sweep = cls(parse_spec(header["spec"], overrides, origin=f"{path}/{HEADER}"))
        sweep.location = str(path) if remote else str(Path(path).absolute())
        return sweep

    def beside(self, location: str, program: "ProgramMaker") -> "Sweep":
        """The same runs of other points: `program` decides which, into a dataset of their own."""
        other = Sweep(self.spec, self._workload)
        other.location, other._program = location, program
        return other

    def in_other_dtype(self) -> "Sweep | None":
        """The same sweep computed in another dtype; None where its workload knows only one."""
        if self._workload is not None:
            return None
        changed = self.spec.workload.in_other_dtype()
        return (
            None if changed is None else Sweep(self.spec.model_copy(update={"workload": changed}))
        )

    def is_of_this_spec(self) -> bool:
        """Whether the folder holds a dataset of this workload on these axes."""
        theirs = _read_header(self.store())
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
        header = self._header(prepared.fingerprint, workload)
        dispatcher = self._dispatcher_spec(prepared.fingerprint, workload, skip_corrupt, budget)
        complete = _progress_if_complete(dispatcher)
        self.store().write_file(HEADER, (json.dumps(header, indent=2) + "\n").encode())
        if complete is not None:
            view(complete)
            return complete
        device = "cuda" if self.spec.resources.gpu else "cpu"
        if engine == "local":
            from fractal_ray.engine.local import run_local

            return run_local(dispatcher, workload, prepared, device=device, view=view)
        return self._run_ray(dispatcher, workload, prepared, device, address, num_cpus, view, say)

    def _run_ray(
        self,
        dispatcher: DispatcherSpec,
        workload: "Workload",
        prepared: "Prepared",
        device: str,
        address: str | None,
        num_cpus: int | None,
        view: View,
        say: Callable[[str], None],
    ) -> Progress:
        from fractal_ray.engine.ray_cluster import cluster

        say("starting Ray" if address is None else f"joining Ray at {address}")
        with cluster(address, num_cpus):
            from fractal_ray.engine.ray_tune import run_ray_tune

            resources = self.spec.resources
            return run_ray_tune(
                dispatcher,
                workload,
                prepared,
                device=device,
                view=view,
                cpu=resources.cpu,
                gpu=resources.gpu,
                slots=resources.slots if isinstance(resources.slots, int) else None,
                trials=self.spec.trials,
                tables=None if "://" in self.location else Path(self.location) / "tune",
            )

    def workload(self) -> "Workload":
        """What runs a point: the one given, or the one that the spec names."""
        if self._workload is not None:
            return self._workload
        asked = self.spec.workload
        if isinstance(asked, MapSpec):
            from fractal_ray.workloads.maps import MapWorkload

            return MapWorkload(asked.set, asked.parameters)
        if isinstance(asked, MlpSpec):
            from fractal_ray.workloads.mlp import MlpWorkload

            return MlpWorkload.from_spec(self.spec)
        from fractal_ray.workloads.nanochat import NanochatWorkload

        return NanochatWorkload.from_spec(self.spec)

    def _dispatcher_spec(
        self, fingerprint: str, workload: "Workload", skip_corrupt: bool, budget: Budget
    ) -> DispatcherSpec:
        spec = self.spec
        tile = spec.points_per_tile if isinstance(spec.points_per_tile, int) else None
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
            skip_corrupt=skip_corrupt,
            budget=budget,
        )

    def _header(self, fingerprint: str, workload: "Workload") -> dict[str, Any]:
        """The header to write; refuses a folder that holds another sweep's data."""
        store = self.store()
        swept = {self.spec.axes.x.param, self.spec.axes.y.param}
        ours = {
            "fingerprint": fingerprint,
            "recipe": {k: v for k, v in workload.recipe.items() if k not in swept},
            "axes": self.spec.axes.model_dump(),
        }
        theirs = _read_header(store)
        if theirs is None and not store.is_empty():
            raise SweepError(
                f"{self.location} holds a dataset without {HEADER}, so whose it is cannot be"
                " checked; restore that file, or take another name or --storage"
            )
        differences = _differences(theirs, ours) if theirs else []
        if differences:
            raise SweepError(
                f"{self.location} holds the data of another sweep; nothing was changed.\n"
                + "\n".join(f"  {line}" for line in differences)
                + "\nTake another name (--set name=...) or another --storage."
            )
        if theirs:
            refuse_other_zooms(self.spec, store, read_zooms(store), theirs["spec"])
        return {
            "schema_version": 1,
            "created_at": theirs.get("created_at", _now()) if theirs else _now(),
            **ours,
            "spec": self.spec.model_dump(mode="json"),
        }

    # Reading --------------------------------------------------------------------------------

    def store(self) -> Store:
        """The dataset."""
        return Store(self.location)

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


def _progress_if_complete(spec: DispatcherSpec) -> Progress | None:
    """The last state of a sweep that has nothing left to run or to spend: it needs no cluster."""
    dispatcher = Dispatcher(spec)
    return dispatcher.close() if dispatcher.take(0) == "stop" else None


def _read_header(store: Store) -> dict[str, Any] | None:
    text = store.read_text(HEADER)
    if text is None:
        return None
    try:
        header = json.loads(text)
    except ValueError:
        header = None
    if not isinstance(header, dict) or not isinstance(header.get("spec"), dict):
        raise SweepError(
            f"{store.location}/{HEADER} is damaged; restore it from a copy, or take another name"
            " or --storage"
        )
    return header


def _differences(theirs: dict[str, Any], ours: dict[str, Any], at: str = "") -> list[str]:
    lines = []
    for key in sorted({*theirs, *ours}) if at else sorted(ours):
        where = f"{at}{key}"
        there, here = theirs.get(key), ours.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            lines += _differences(there, here, f"{where}.")
        elif there != here:
            what = "the model or the data differ: fingerprint" if key == "fingerprint" else where
            lines.append(f"{what} is {there!r} there, {here!r} here")
    return lines


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
