"""The workload that a spec names."""

from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.workloads.base import Workload


def workload_of(spec: SweepSpec) -> Workload:
    """Make the workload of a spec; its kind decides the class."""
    return spec.workload.make(
        spec.planned_runs,
        spec.label.criterion,
        threads=max(1, int(spec.resources.cpu)),
        points_per_trial=spec.resources.points_per_trial,
    )
