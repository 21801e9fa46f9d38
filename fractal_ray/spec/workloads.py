"""The kinds of workload that a spec can name: one line for each."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Discriminator, Tag

from fractal_ray.workloads.function.spec import FunctionSpec
from fractal_ray.workloads.maps.spec import MapSpec
from fractal_ray.workloads.mlp.spec import MlpSpec
from fractal_ray.workloads.model import kind_of
from fractal_ray.workloads.nanochat.spec import NanochatSpec
from fractal_ray.workloads.section import WorkloadSection

# A tag for each kind instead of a plain union, so that the message about a mistake names only the
# kind that the spec names, not all kinds.
WorkloadSpec = Annotated[
    Annotated[NanochatSpec, Tag("nanochat")]
    | Annotated[MapSpec, Tag("map")]
    | Annotated[MlpSpec, Tag("mlp")]
    | Annotated[FunctionSpec, Tag("function")],
    Discriminator(kind_of),
]
KINDS: Mapping[str, type[WorkloadSection]] = {
    section.kind_name(): section for section in (NanochatSpec, MapSpec, MlpSpec, FunctionSpec)
}
