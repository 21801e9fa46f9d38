"""The kinds of workload that a spec can name: one line for each."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from fractal_ray.workloads.maps.spec import MapSpec
from fractal_ray.workloads.mlp.spec import MlpSpec
from fractal_ray.workloads.nanochat.spec import NanochatSpec
from fractal_ray.workloads.section import WorkloadSection


def _kind(workload: Any) -> str:
    """Return the kind that a section names; `nanochat` where it names none."""
    if isinstance(workload, Mapping):
        return str(workload.get("kind", "nanochat"))
    return getattr(workload, "kind", "nanochat")


# A tag for each kind instead of a plain union, so that the message about a mistake names only the
# kind that the spec names, not all kinds.
WorkloadSpec = Annotated[
    Annotated[NanochatSpec, Tag("nanochat")]
    | Annotated[MapSpec, Tag("map")]
    | Annotated[MlpSpec, Tag("mlp")],
    Discriminator(_kind),
]
KINDS: Mapping[str, type[WorkloadSection]] = {
    section.kind_name(): section for section in (NanochatSpec, MapSpec, MlpSpec)
}
