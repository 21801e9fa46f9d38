"""What a spec says of its workload."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from fractal_ray.spec_stages import Model
from fractal_ray.workloads.known_sets import known_set
from nanochat.recipe import Recipe
from nanochat.sources import check_source


class DataSpec(Model):
    """Conversations to fine-tune on."""

    source: str
    """`stdlib_qa` (shipped), a .jsonl or .parquet file, a folder with `<split>.jsonl`, or with
    shards, or `hf:repo[:config][@rev]`."""
    split: str = "train"
    max_seq_len: int = Field(default=1024, ge=2)
    limit: int | None = Field(default=None, ge=1)
    """Use only the first so many conversations."""


class NanochatSpec(Model):
    """The workload `nanochat`: fine-tune a checkpoint at every point."""

    kind: Literal["nanochat"] = "nanochat"
    model: str
    """A checkpoint folder, `preset:tiny`, `hf:repo[@rev]`, or `wandb:entity/project/name:v7`."""
    model_step: int | None = Field(default=None, ge=0)
    """Which of several checkpoints; the newest if not given."""
    model_tag: str | None = None
    """Which of several models in `<stage>_checkpoints`; the deepest if not given."""
    source_stage: Literal["base", "mid", "sft", "rl"] | None = None
    """Which stage's checkpoints, where there are several; sft if not given."""
    tokenizer_artifact: str | None = None
    """Where the tokenizer is, if not with the model: in the forms of `model`."""
    data: DataSpec
    recipe: dict[str, Any] = Field(default_factory=dict)

    @field_validator("model", "tokenizer_artifact")
    @classmethod
    def _known_form(cls, source: str | None) -> str | None:
        if source is not None:
            check_source(source)
        return source

    @field_validator("recipe")
    @classmethod
    def _valid_recipe(cls, recipe: dict[str, Any]) -> dict[str, Any]:
        Recipe.from_mapping(recipe)
        return recipe

    @property
    def title(self) -> str:
        """What a run is, in words."""
        return f"{self.model} on {self.data.source}"


class MapSpec(Model):
    """The workload `map`: a set with a known answer in place of training."""

    kind: Literal["map"] = "map"
    set: str
    """One of `fractal_ray.workloads.known_sets.SETS`."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Those of the set; what is left out takes its default."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        known_set(self.set, self.parameters)
        return self

    @property
    def title(self) -> str:
        """What a run is, in words."""
        given = ", ".join(f"{key} {value}" for key, value in self.parameters.items())
        return f"the set {self.set}" + (f" with {given}" if given else "")


def _kind(workload: Any) -> str:
    """Which workload is meant; `nanochat` where nothing is said."""
    if isinstance(workload, Mapping):
        return str(workload.get("kind", "nanochat"))
    return getattr(workload, "kind", "nanochat")


# A tag per kind rather than a plain union: a mistake is then told in terms of the kind that was
# meant, not of every kind there is.
KINDS: Mapping[str, type[Model]] = {"nanochat": NanochatSpec, "map": MapSpec}
WorkloadSpec = Annotated[
    Annotated[NanochatSpec, Tag("nanochat")] | Annotated[MapSpec, Tag("map")],
    Discriminator(_kind),
]
