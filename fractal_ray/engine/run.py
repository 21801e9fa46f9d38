"""One run of a sweep: prepare its workload, claim its dataset, run its points on an engine."""

import functools
import platform
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from fractal_ray.analysis.sweep_data import with_device_of_dataset
from fractal_ray.dataset.baseline_file import read_baseline
from fractal_ray.dataset.damage import set_aside, set_aside_line
from fractal_ray.dataset.driver_lease import Claim, hold_lease
from fractal_ray.dataset.header import read_header, write_header
from fractal_ray.dataset.sources_file import write_sources
from fractal_ray.dataset.store import Store
from fractal_ray.dataset.version import VERSION
from fractal_ray.engine.baseline import add_baseline
from fractal_ray.engine.budget import Budget
from fractal_ray.engine.claim import check_same_origin, data_facts, origin_of, own_header
from fractal_ray.engine.device_choice import Cards, local_cards, with_device
from fractal_ray.engine.dispatcher import Dispatcher
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.engine.progress import Progress, View
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.plane.zoom import Zoom
from fractal_ray.planners.program import Program
from fractal_ray.spec.planning import make_program
from fractal_ray.spec.resources import ResourcesSpec
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.workloads.base import StartChecked, Workload
from nanochat.errors import Note

NO_BUDGET: Final = Budget()
_SILENT_SECONDS = 1.0
"""Length of a step that is not announced."""
ProgramMaker = Callable[[list[Zoom]], Program]
EngineName = Literal["ray", "local"]


def no_view(progress: Progress) -> None:
    """Ignore the progress of a run."""


@dataclass(frozen=True)
class RunOptions:
    """Options of a run that change no result.

    Parameters
    ----------
    engine
        "ray" (Ray Tune on a cluster) or "local" (this process).
    address
        Ray cluster to join; None starts one on this machine.
    num_cpus
        Logical CPUs of a cluster of our own.
    view, say
        Called with the progress, and with one line before each slow step, which ends in "...", and
        for each decision that the engine makes.
    skip_corrupt
        Rename parts that cannot be read to NAME.corrupt and run their points again, instead of
        raising. A `Note` names them.
    keep_going
        Leave out points that fail with one error at every attempt, instead of ending the sweep.
    budget
        Limit at which the run stops cleanly; earlier runs of this sweep count.
    """

    engine: EngineName = "ray"
    address: str | None = None
    num_cpus: int | None = None
    view: View = no_view
    say: Callable[[str], None] = lambda text: None
    skip_corrupt: bool = False
    keep_going: bool = False
    budget: Budget = field(default=NO_BUDGET)


def run_sweep(
    spec: SweepSpec,
    location: str,
    workload: Workload,
    options: RunOptions,
    *,
    program: ProgramMaker | None = None,
    compared_with: str | None = None,
    reseeded: Workload | None = None,
) -> Progress:
    """Run every point that a dataset does not hold yet.

    Parameters
    ----------
    spec, location
        The sweep and the place of its dataset.
    workload
        The workload that runs the points.
    options
        Engine, budget and views.
    program
        Makes the planner from the frames that zooms have chosen; None for the stages of the spec.
    compared_with
        Location of a dataset whose runs these will be compared with: refused where it has another
        fingerprint.
    reseeded
        The workload of that dataset, if these runs have another seed: their fingerprint may cover
        it, and their batches need losses of the untouched model of their own.

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
    spec = with_device_of_dataset(spec, compared_with or location)
    if spec.workload.loading_note:
        options.say(f"{spec.workload.loading_note} ...")
    prepared = workload.prepare()
    if compared_with is not None:
        check_same_origin(Store(compared_with), prepared, reseeded)
    store = Store(location)
    begun = read_header(store) is not None
    header = own_header(spec, store, prepared.fingerprint, workload.recipe, prepared.sources)
    if compared_with is not None and reseeded is not None:
        header |= origin_of(Store(compared_with))
    if facts := data_facts(store, prepared.data_facts):
        header["data"] = facts

    def check_start() -> None:
        if isinstance(workload, StartChecked):
            with _announced(options.say, f"{spec.workload.start_note} ..."):
                # Checks of older runs are a part of their dataset.
                workload.check_start(prepared.shared, new=not begun and compared_with is None)

    if not begun:
        check_start()  # before the lease, which makes the folder
    with hold_lease(store) as claim:
        if options.skip_corrupt and (damaged := set_aside(store)):
            warnings.warn(set_aside_line(damaged), Note, stacklevel=2)
        dispatcher_spec = _dispatcher_spec(
            spec,
            location,
            workload,
            prepared.fingerprint,
            options,
            claim,
            header["recipe"],
            program or functools.partial(make_program, spec),
            spec.label_rule(read_baseline(store)),
        )
        dispatcher = Dispatcher(dispatcher_spec)
        complete = dispatcher.close() if dispatcher.is_complete() else None
        if begun and complete is None:
            check_start()
        if complete is not None:  # no cluster is started, and no model is loaded
            write_header(store, header)
            write_sources(store, prepared.sources)
            options.view(complete)
            return complete

        def begin(cards: Cards) -> tuple[DispatcherSpec, ResourcesSpec]:
            """Choose the device, and write what stands beside the rows, before the first run."""
            chosen = with_device(spec, workload, prepared, cards, options.say)
            budget = options.budget
            if budget.gpu_hours is not None:
                budget = replace(budget, gpu=chosen.resources.cards)
                budget.check()
            header["spec"]["resources"]["gpu"] = chosen.resources.gpu
            write_header(store, header)
            write_sources(store, prepared.sources)
            rule = dispatcher_spec.rule
            # Checks are judged by the baseline of the dataset that they are compared with.
            own_batches = compared_with is None or reseeded is not None
            if own_batches and add_baseline(chosen, store, workload, prepared, options.say):
                rule = spec.label_rule(read_baseline(store))
            return replace(dispatcher_spec, rule=rule, budget=budget), chosen.resources

        # The dispatcher of the run is made anew from the Parquet dataset: on a cluster it lives in
        # another process, and has to come back in this way after a loss anyhow.
        del dispatcher
        if options.engine == "local":
            from fractal_ray.engine.local import run_local

            begun, resources = begin(local_cards(workload))
            device = "cuda" if resources.gpu else "cpu"
            return run_local(
                Dispatcher(begun), workload, prepared, device=device, view=options.view
            )
        from fractal_ray.engine.cluster.run import run_on_ray

        return run_on_ray(
            begin,
            workload,
            prepared,
            spec.resources,
            address=options.address,
            num_cpus=options.num_cpus,
            trials=spec.trials,
            tables=None if store.is_remote else Path(location) / "tune",
            view=options.view,
            say=options.say,
        )


@contextmanager
def _announced(say: Callable[[str], None], text: str) -> Iterator[None]:
    """Say one line if the block takes longer than `_SILENT_SECONDS`."""
    timer = threading.Timer(_SILENT_SECONDS, say, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _dispatcher_spec(
    spec: SweepSpec,
    location: str,
    workload: Workload,
    fingerprint: str,
    options: RunOptions,
    claim: Claim,
    fixed: Mapping[str, Any],
    program: ProgramMaker,
    rule: LabelRule,
) -> DispatcherSpec:
    lease = spec.resources.lease_seconds
    tile = spec.points_per_tile if isinstance(spec.points_per_tile, int) else None
    together = spec.resources.points_per_trial
    return DispatcherSpec(
        program=program,
        location=location,
        metadata={
            "axes": spec.axes.model_dump(),
            "label": spec.label.model_dump(),
            "fingerprint": fingerprint,
            "recipe": dict(fixed),
            "fractal_ray": VERSION,
            "python": platform.python_version(),
        },
        fingerprint=fingerprint,
        recipe=dict(workload.recipe),
        x_param=spec.axes.x.param,
        y_param=spec.axes.y.param,
        rule=rule,
        points_per_tile=1 if spec.trials == "points" else tile,
        together=1 if together == "auto" else together,
        skip_corrupt=options.skip_corrupt,
        keep_going=options.keep_going,
        lease_seconds=None if lease == "auto" else lease,
        lease_note=spec.workload.lease_note,
        homogeneous=spec.resources.homogeneous,
        storage_patience=spec.resources.storage_patience,
        budget=options.budget,
        claim=claim,
    )
