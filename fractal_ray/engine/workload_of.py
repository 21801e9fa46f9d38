"""The workload that a spec names."""

from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.spec.workloads import MapSpec, MlpSpec
from fractal_ray.workloads.base import Workload


def workload_of(spec: SweepSpec) -> Workload:
    """Make the workload that a spec names; its imports are deferred."""
    named = spec.workload
    if isinstance(named, MapSpec):
        from fractal_ray.workloads.maps.workload import MapWorkload

        return MapWorkload(named.set, named.parameters)
    if isinstance(named, MlpSpec):
        from fractal_ray.workloads.mlp.workload import MlpWorkload

        return MlpWorkload.from_spec(spec)
    from fractal_ray.workloads.nanochat.workload import NanochatWorkload

    return NanochatWorkload.from_spec(spec)
