"""Runs beside those of a sweep, in datasets of their own: checks of labels, and other seeds."""

from collections.abc import Callable
from dataclasses import replace

from fractal_ray.analysis.advice.advise import plan_seed_runs
from fractal_ray.analysis.advice.seed_runs import spent_elsewhere
from fractal_ray.analysis.frame_data import read_frame
from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.analysis.verify.label_checks import Sample, check_runs
from fractal_ray.engine.progress import Progress
from fractal_ray.engine.run import RunOptions, run_sweep
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.workloads.base import Workload

WorkloadMaker = Callable[[SweepSpec], Workload]
"""Function that makes the workload of a spec."""


def run_checks(
    sweep: SweepData, frame: int | None, sample: Sample, options: RunOptions, make: WorkloadMaker
) -> list[Progress]:
    """Run the checks of a sample of border points that are not in their datasets yet."""
    return [
        run_sweep(
            runs.data.spec,
            runs.data.location,
            make(runs.data.spec),
            options,
            program=runs.program,
            compared_with=sweep.location,
        )
        for runs in check_runs(sweep, sweep.frame(frame), sample)
    ]


def run_seeds(
    sweep: SweepData, frame: int, seeds: int, options: RunOptions, make: WorkloadMaker
) -> list[tuple[str, Progress]]:
    """Run what the advice on a frame lacks for a number of seeds, one seed after the other.

    Parameters
    ----------
    options
        The budget counts the runs of all seeds.
    make

    Returns
    -------
    list
        For each seed with runs that were lacking, its dataset and the state at the end.
    """
    states: list[tuple[str, Progress]] = []
    for runs in plan_seed_runs(read_frame(sweep, frame), seeds):
        options.say(f"seed {runs.seed}: {runs.lacking} points")
        points, seconds = spent_elsewhere(sweep, runs.seed)
        budget = replace(options.budget, other_points=points, other_seconds=seconds)
        state = run_sweep(
            runs.data.spec,
            runs.data.location,
            make(runs.data.spec),
            replace(options, budget=budget),
            program=runs.program,
            compared_with=sweep.location,
            reseeded=make(sweep.spec),
        )
        states.append((runs.data.location, state))
        if state.spent:
            break
    return states
