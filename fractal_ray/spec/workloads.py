"""What a spec says of its workload."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)

from fractal_ray.errors import nearest
from fractal_ray.spec.stages import Model
from fractal_ray.workloads.maps.known_sets import known_set
from nanochat.sources.load import check_source
from nanochat.train.kernels import Kernels
from nanochat.train.recipe import Recipe


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
    kernels: tuple[Literal["full_logits", "compile", "cuda_graphs"], ...] = ()
    """Switches of `nanochat.train.kernels.Kernels` that are on."""

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

    @field_validator("kernels", mode="before")
    @classmethod
    def _one_or_more(cls, kernels: Any) -> Any:
        return [kernels] if isinstance(kernels, str) else kernels

    @field_validator("kernels")
    @classmethod
    def _not_both(cls, kernels: tuple[str, ...]) -> tuple[str, ...]:
        if "full_logits" in kernels and len(set(kernels)) > 1:
            raise ValueError("full_logits computes as the source does; it goes with no other")
        return tuple(sorted(set(kernels)))

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Specs that were kept before there was this field are still those of their sweeps.
        fields = dump(self)
        return fields if self.kernels else {k: v for k, v in fields.items() if k != "kernels"}

    @property
    def chosen_kernels(self) -> Kernels:
        """The switches."""
        return Kernels(**dict.fromkeys(self.kernels, True))

    @property
    def stacks(self) -> bool:
        """Whether points can advance side by side."""
        return self.chosen_kernels.stack(Recipe.from_mapping(self.recipe).dtype)

    def in_other_dtype(self) -> "NanochatSpec | None":
        """The same fine-tunes in another dtype, to see which labels that changes."""
        dtype = Recipe.from_mapping(self.recipe).dtype
        other = "bfloat16" if dtype == "float32" else "float32"
        return self.model_copy(update={"recipe": {**self.recipe, "dtype": other}})

    loading_note: ClassVar[str] = "loading the model and tokenising the data"
    """A line that is shown before the workload is prepared; empty where that is quick."""

    @property
    def deterministic(self) -> bool:
        """Whether a repeated run gives the same bits."""
        return Recipe.from_mapping(self.recipe).deterministic

    def in_deterministic_mode(self) -> "NanochatSpec | None":
        """The same fine-tunes with algorithms that repeat to the bit; None where they are so."""
        if self.deterministic:
            return None
        return self.model_copy(update={"recipe": {**self.recipe, "deterministic": True}})

    @property
    def title(self) -> str:
        """What a run is, in words."""
        return f"{self.model} on {self.data.source}"


class MapSpec(Model):
    """The workload `map`: a set with a known answer in place of training."""

    kind: Literal["map"] = "map"
    set: str
    """One of `fractal_ray.workloads.maps.known_sets.SETS`."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Those of the set; what is left out takes its default."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        known_set(self.set, self.parameters)
        return self

    loading_note: ClassVar[str] = ""

    def in_other_dtype(self) -> None:
        """Sets are evaluated in float64 only."""

    def in_deterministic_mode(self) -> None:
        """Return None: sets repeat to the bit."""

    @property
    def title(self) -> str:
        """What a run is, in words."""
        given = ", ".join(f"{key} {value}" for key, value in self.parameters.items())
        return f"the set {self.set}" + (f" with {given}" if given else "")


class MlpSpec(Model):
    """The workload `mlp`: a small network of arXiv 2402.06184 trained at every point.

    The axes sweep `eta0` (rate of the first layer), `eta1` (of the second), `eta` (both) or
    `w0_offset` (added to every weight of the first). What is not swept is given here.
    """

    kind: Literal["mlp"] = "mlp"
    activation: Literal["tanh", "relu", "identity"] = "tanh"
    width: int = Field(default=16, ge=1, le=4096)
    """Inputs, and hidden units."""
    examples: int = Field(default=272, ge=1)
    batch: int | None = Field(default=None, ge=1)
    """Examples of a step, with replacement; all of them if not given."""
    steps: int = Field(default=500, ge=1)
    readout: Literal["mean_field", "standard"] = "mean_field"
    """Factor of the output: 1/width as in the paper, or 1/sqrt(width)."""
    offset_mode: Literal["per_step", "init"] = "per_step"
    """Whether `w0_offset` is added before every step, as the published code does, or once."""
    dtype: Literal["float64", "float32"] = "float64"
    draw: int | str = 0
    """Weights and examples: a seed, `paper` (those of the published notebook), or an .npz file."""
    eta0: float | None = Field(default=None, ge=0)
    eta1: float | None = Field(default=None, ge=0)
    w0_offset: float | None = None
    """0 if not given."""
    kept_losses: int | Literal["all"] = "all"
    """Losses that a row keeps: all, or the first and so many of the last ones."""

    @field_validator("kept_losses")
    @classmethod
    def _some(cls, kept: int | str) -> int | str:
        if isinstance(kept, int) and kept < 1:
            raise ValueError(f"kept_losses must be at least 1 or all; given {kept}")
        return kept

    @field_validator("draw")
    @classmethod
    def _seed(cls, draw: int | str) -> int | str:
        if isinstance(draw, int) and draw < 0:
            raise ValueError(f"a seed is 0 or more; given {draw}")
        return draw

    def check_axes(self, x: str, y: str) -> None:
        """Refuse axes that leave a rate open, or give it twice.

        Raises
        ------
        ValueError
            Naming the axis or the setting.
        """
        for side, param in (("x", x), ("y", y)):
            if param not in MLP_AXES:
                raise ValueError(
                    f"axes.{side}.param: an mlp has no {param!r}{nearest(param, MLP_AXES)};"
                    f" allowed: {', '.join(MLP_AXES)}"
                )
        for rate in ("eta0", "eta1"):
            swept = [param for param in (x, y) if param in (rate, "eta")]
            if len(swept) == 2:
                raise ValueError(f"axes.x and axes.y both set {rate}; eta is eta0 and eta1 at once")
            if not swept and getattr(self, rate) is None:
                raise ValueError(f"workload.{rate} is neither swept nor given")
            if swept and getattr(self, rate) is not None:
                raise ValueError(f"workload.{rate} is swept by {swept[0]}; leave it out")
        if "w0_offset" in (x, y) and self.w0_offset is not None:
            raise ValueError("workload.w0_offset is swept; leave it out")

    @property
    def title(self) -> str:
        """What a run is, in words."""
        data = f"{self.examples} example{'s' if self.examples > 1 else ''}"
        data += f" in batches of {self.batch}" if self.batch else ""
        return f"{self.activation} network of width {self.width} on {data}, {self.steps} steps"

    loading_note: ClassVar[str] = ""

    def in_deterministic_mode(self) -> None:
        """Return None: networks repeat to the bit."""

    def in_other_dtype(self) -> "MlpSpec":
        """The same network in float32, or in float64 if it is in that."""
        other = "float32" if self.dtype == "float64" else "float64"
        return self.model_copy(update={"dtype": other})


MLP_AXES = ("eta0", "eta1", "eta", "w0_offset")


def _kind(workload: Any) -> str:
    """Which workload is meant; `nanochat` where nothing is said."""
    if isinstance(workload, Mapping):
        return str(workload.get("kind", "nanochat"))
    return getattr(workload, "kind", "nanochat")


# A tag per kind rather than a plain union: a mistake is then told in terms of the kind that was
# meant, not of every kind there is.
KINDS: Mapping[str, type[Model]] = {
    "nanochat": NanochatSpec,
    "map": MapSpec,
    "mlp": MlpSpec,
}
WorkloadSpec = Annotated[
    Annotated[NanochatSpec, Tag("nanochat")]
    | Annotated[MapSpec, Tag("map")]
    | Annotated[MlpSpec, Tag("mlp")],
    Discriminator(_kind),
]
