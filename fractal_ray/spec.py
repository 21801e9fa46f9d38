"""The plan language: a sweep's YAML, validated before anything starts.

Every mistake is reported at once, one line each: where it stands, what was given, what is allowed.
"""

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from fractal_ray.errors import SweepError, nearest
from fractal_ray.outcome import Criterion
from fractal_ray.space import Axis, Frame, Scale
from fractal_ray.workloads.known_sets import known_set
from nanochat.recipe import DERIVED, Recipe
from nanochat.sources import check_source

Side = Literal["x", "y"]


LARGEST_LATTICE = 8192
"""Cells along a side of the finest lattice: its raster has to fit in memory."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSpec(_Model):
    """Conversations to fine-tune on."""

    source: str
    """`stdlib_qa` (shipped), a .jsonl or .parquet file, a folder with `<split>.jsonl`, or with
    shards, or `hf:repo[:config][@rev]`."""
    split: str = "train"
    max_seq_len: int = Field(default=1024, ge=2)
    limit: int | None = Field(default=None, ge=1)
    """Use only the first so many conversations."""


class NanochatSpec(_Model):
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


class MapSpec(_Model):
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
_KINDS: Mapping[str, type[_Model]] = {"nanochat": NanochatSpec, "map": MapSpec}
WorkloadSpec = Annotated[
    Annotated[NanochatSpec, Tag("nanochat")] | Annotated[MapSpec, Tag("map")],
    Discriminator(_kind),
]


class AxisSpec(_Model):
    """One axis in real values."""

    param: str
    scale: Scale = "log"
    min: float
    max: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.scale == "log" and self.min <= 0:
            raise ValueError(f"a log axis needs min > 0; min is {self.min:g}")
        if self.min >= self.max:
            raise ValueError(f"min must be below max; min is {self.min:g}, max is {self.max:g}")
        return self


class AxesSpec(_Model):
    """The plane: x to the right, y upwards."""

    x: AxisSpec
    y: AxisSpec

    @model_validator(mode="after")
    def _different(self) -> Self:
        if self.x.param == self.y.param:
            raise ValueError(f"x and y both sweep {self.x.param!r}; the axes must differ")
        return self


class GridStage(_Model):
    """Every node of a lattice over the axes."""

    points: int | tuple[int, int]
    """Nodes along each side, or [along x, along y]; at least 2."""

    @field_validator("points", mode="before")
    @classmethod
    def _whole(cls, points: Any) -> Any:
        pair = isinstance(points, list | tuple)
        sides = points if pair else [points]
        if (pair and len(points) != 2) or not all(type(side) is int for side in sides):
            raise ValueError(f"takes a whole number, or [along x, along y]; given {points!r}")
        return points

    @property
    def shape(self) -> tuple[int, int]:
        """Nodes along x and along y."""
        return (self.points, self.points) if isinstance(self.points, int) else self.points

    @model_validator(mode="after")
    def _two(self) -> Self:
        if min(self.shape) < 2:
            raise ValueError(f"points must be at least 2 along each side; given {self.points}")
        return self


class RefineStage(_Model):
    """Follow the border of the frame of the grid before it, down to a finer lattice."""

    levels: int = Field(ge=1, le=30)
    """How often the grid is halved."""
    halo: Literal[0, 1, 2] = 1
    """What is spent on islands that no point has touched: nothing, the usual, more."""
    audit: float = Field(default=0.02, ge=0, le=1)
    """Share of the cells that is run although nothing calls for it, to measure what is missed."""
    seed: int = Field(default=0, ge=0)
    """Another seed audits other cells."""


class TransectsStage(_Model):
    """Random lines across the frame of the grid before it, bisected where labels flip."""

    count: int = Field(default=16, ge=1)
    """Lines."""
    levels: int = Field(default=10, ge=1, le=48)
    """Each line has 2**levels intervals at the finest."""
    dense: int = Field(default=7, ge=0)
    """Up to this level every position is run."""
    audit: float = Field(default=0.5, gt=0, le=1)
    """Share of the intervals whose ends agree that is bisected all the same."""
    seed: int = Field(default=0, ge=0)


class PairsStage(_Model):
    """Random pairs of points at distances 2**-k of the sides of the frame of the grid before it."""

    count: int = Field(default=1000, ge=1)
    """Pairs at each distance."""
    distances: tuple[Annotated[int, Field(ge=1, le=48)], ...] = Field(
        default=tuple(range(3, 13)), min_length=1
    )
    """The k of each distance."""
    seed: int = Field(default=0, ge=0)

    @field_validator("distances")
    @classmethod
    def _different(cls, distances: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(distances)) < len(distances):
            raise ValueError(f"distances must differ; given {list(distances)}")
        return distances


class StageSpec(_Model):
    """One step of the plan: exactly one of its kinds."""

    grid: GridStage | None = None
    refine: RefineStage | None = None
    transects: TransectsStage | None = None
    pairs: PairsStage | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            kinds = ", ".join(type(self).model_fields)
            raise ValueError(f"a stage is exactly one of {kinds}; given {given or 'none'}")
        return self

    @property
    def name(self) -> str:
        """The stage's kind."""
        return next(kind for kind in type(self).model_fields if getattr(self, kind) is not None)

    @property
    def on_lattice(self) -> bool:
        """Whether its points are nodes of its frame's lattice."""
        return self.grid is not None or self.refine is not None


class LabelSpec(_Model):
    """The yes/no drawn on the map, and the rule behind `trained`."""

    boundary: Literal["trainable", "stable"] = "trainable"
    window: int = Field(default=20, ge=1)
    threshold: float = Field(default=1.0, gt=0)

    @property
    def criterion(self) -> Criterion:
        """The rule that labels a loss curve."""
        return Criterion(self.window, self.threshold)


class ResourcesSpec(_Model):
    """What one slot takes of the cluster, and how many slots there are."""

    cpu: float = Field(default=1.0, gt=0)
    gpu: float = Field(default=0.0, ge=0)
    slots: int | Literal["auto"] = "auto"
    """Workers for the whole sweep; auto: as many as the cluster has room for at the start."""

    @field_validator("gpu")
    @classmethod
    def _whole_above_one(cls, gpu: float) -> float:
        if gpu > 1 and gpu != int(gpu):
            raise ValueError(f"gpu above 1 must be a whole number; given {gpu:g}")
        return gpu

    @field_validator("slots")
    @classmethod
    def _some(cls, slots: int | str) -> int | str:
        if isinstance(slots, int) and slots < 1:
            raise ValueError(f"slots must be at least 1 or auto; given {slots}")
        return slots


class CostSpec(_Model):
    """What `plan` reckons with. An estimate of yours, never used by a run."""

    tokens_per_second: float = Field(gt=0)
    """All tokens, prompts included, that one slot trains on in a second."""
    supervised_fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of tokens that carry a label; `num_tokens` counts only those."""


class SweepSpec(_Model):
    """A whole sweep."""

    name: str
    workload: WorkloadSpec
    axes: AxesSpec
    stages: tuple[StageSpec, ...] = Field(min_length=1)
    label: LabelSpec = LabelSpec()
    resources: ResourcesSpec = ResourcesSpec()
    points_per_tile: int | Literal["auto"] = "auto"
    """Points a slot takes at a time; auto: by measured time, about 2 s of work."""
    trials: Literal["slots", "points"] = "slots"
    """One Tune trial per slot, or (small grids) one per point with Tune's own tables."""
    storage: str = "results"
    """Folder or pyarrow URI that holds sweeps, one folder each."""
    cost: CostSpec | None = None

    @field_validator("name")
    @classmethod
    def _folder_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValueError(f"name becomes a folder: letters, digits, . _ - only; given {name!r}")
        return name

    @field_validator("points_per_tile")
    @classmethod
    def _some(cls, points: int | str) -> int | str:
        if isinstance(points, int) and points < 1:
            raise ValueError(f"points_per_tile must be at least 1 or auto; given {points}")
        return points

    @model_validator(mode="after")
    def _sweepable(self) -> Self:
        if self.stages[0].grid is None:
            raise ValueError(f"the first stage must be a grid; given {self.stages[0].name}")
        for index, (before, stage) in enumerate(pairwise(self.stages)):
            if stage.refine is not None and before.grid is None:
                raise ValueError(
                    f"stages.{index + 1}: refine must follow a grid; to go deeper, give the stage"
                    f" before more levels"
                )
        if isinstance(self.workload, MapSpec):
            self._check_plane()
        else:
            self._check_recipe(self.workload)
        for index in range(len(self.stages)):
            self._check_lattice(index)
        return self

    def _check_lattice(self, index: int) -> None:
        frame, level = self.frame(index), self.level(index)
        if not self.stages[index].on_lattice and (frame.x.integer or frame.y.integer):
            raise ValueError(
                f"stages.{index}: {self.stages[index].name} needs axes without gaps, and an axis"
                " of whole numbers has them"
            )
        cells = max(frame.cells_x, frame.cells_y) << level
        if level and cells > LARGEST_LATTICE:
            raise ValueError(
                f"stages.{index}: {level} levels make {cells:,} cells a side; at most"
                f" {LARGEST_LATTICE:,}"
            )
        for axis, along in ((frame.x, frame.cells_x), (frame.y, frame.cells_y)):
            if level and axis.distinct(along << level) <= along << level:
                raise ValueError(
                    f"stages.{index}: {level} levels divide {axis.param} finer than its values"
                    f" differ ({axis.distinct(along << level):,} of {(along << level) + 1:,})"
                )

    def _check_plane(self) -> None:
        for side, axis in self._sides():
            if axis.param != side:
                raise ValueError(
                    f"axes.{side}.param: a map has its own plane, so the param of axis {side} is"
                    f" {side}; given {axis.param!r}"
                )
        if self.resources.gpu:
            raise ValueError(
                f"a map is evaluated on the CPU; resources.gpu must be 0, not"
                f" {self.resources.gpu:g}"
            )

    def _sides(self) -> tuple[tuple[Side, AxisSpec], ...]:
        return (("x", self.axes.x), ("y", self.axes.y))

    def _check_recipe(self, workload: NanochatSpec) -> None:
        recipe = Recipe.from_mapping(workload.recipe)
        fields = Recipe.numeric_fields()
        for side, axis in self._sides():
            if axis.param not in fields:
                raise ValueError(
                    f"axes.{side}.param: {axis.param!r} is not a numeric recipe field"
                    f"{nearest(axis.param, fields)}; allowed: {', '.join(sorted(fields))}"
                )
            if fields[axis.param] is int and not (axis.min.is_integer() and axis.max.is_integer()):
                raise ValueError(
                    f"axes.{side}: {axis.param} takes whole numbers; given"
                    f" {axis.min!r} to {axis.max!r}"
                )
            if axis.param == "seed" and not recipe.shuffle:
                raise ValueError(
                    f"axes.{side}: seed changes nothing while the data stay in file order;"
                    " set recipe.shuffle: true"
                )
            if getattr(Recipe(), axis.param) == DERIVED and axis.min <= 0:
                raise ValueError(
                    f"axes.{side}: {axis.param} must stay above 0; min is {axis.min:g}"
                    " (-1 in a recipe means 'not given')"
                )
            for value in self._values(side):
                recipe.with_values({axis.param: value})

    def _values(self, side: Side) -> list[float]:
        """Values that a recipe must allow: the ends, and on an integer axis all that are used."""
        axis = self.axis(side)
        if not axis.integer:
            return [axis.min, axis.max]
        frames = [(self.frame(index), self.level(index)) for index in range(len(self.stages))]
        sides = {(f.cells_x if side == "x" else f.cells_y) << level for f, level in frames}
        return sorted({value for cells in sides for value in axis.values(cells).tolist()})

    def axis(self, side: Side) -> Axis:
        """The axis `x` or `y` in lattice form."""
        given = self.axes.x if side == "x" else self.axes.y
        integer = self.workload.kind == "nanochat" and (Recipe.numeric_fields()[given.param] is int)
        return Axis(given.param, given.scale, given.min, given.max, integer)

    def frame(self, index: int) -> Frame:
        """The frame that stage number `index` fills.

        A grid has its own, a refinement that of the grid before. Lines and pairs have one with
        the lattice of the stage before and a number of its own, since their addresses are no nodes.
        """
        stage, grid = self.stages[index], self.stages[index].grid
        if grid is None:
            before = self.frame(index - 1)
            return before if stage.on_lattice else replace(before, id=index)
        nx, ny = grid.shape
        return Frame(index, self.axis("x"), self.axis("y"), nx - 1, ny - 1)

    @property
    def last_lattice(self) -> int:
        """Number of the last stage whose points are nodes of a lattice."""
        return max(index for index, stage in enumerate(self.stages) if stage.on_lattice)

    def level(self, index: int) -> int:
        """The finest level at which stage number `index` asks for points."""
        refine = self.stages[index].refine
        return 0 if refine is None else refine.levels


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-6 is a number, as every reader of a learning rate expects."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str) -> Any:
    """Parse YAML text; 1e-6 is a float."""
    return yaml.load(text, Loader=_Loader)


def load_spec(path: str | Path, overrides: Iterable[str] = ()) -> SweepSpec:
    """Read and validate a spec.

    Parameters
    ----------
    path
        The YAML file.
    overrides
        ``"axes.x.max=0.1"``: dotted key, then a YAML value; applied in order before validation.

    Raises
    ------
    SweepError
        Naming every mistake, one a line.
    """
    file = Path(path)
    if not file.is_file():
        shipped = ", ".join(sorted(str(p) for p in Path("sweeps").glob("*.yaml")))
        raise SweepError(f"no spec at {file}" + (f"; here: {shipped}" if shipped else ""))
    try:
        raw = parse_yaml(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SweepError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise SweepError(f"{file} must hold a mapping (name, workload, axes, stages, ...)")
    return parse_spec(raw, overrides, origin=str(file))


def parse_spec(
    raw: Mapping[str, Any], overrides: Iterable[str] = (), *, origin: str = "spec"
) -> SweepSpec:
    """Validate a mapping after overrides; raises `SweepError` naming every mistake, one a line."""
    changed = copy.deepcopy(dict(raw))
    for override in overrides:
        _apply(changed, override)
    try:
        return SweepSpec.model_validate(changed)
    except ValidationError as error:
        # pydantic also counts a list as empty when none of its items is valid.
        problems = [p for p in error.errors() if not (p["type"] == "too_short" and p["input"])]
        lines = [f"  {_explain(problem)}" for problem in problems]
        raise SweepError("\n".join([f"{origin} is not a valid sweep:", *lines])) from error


def _apply(raw: dict[str, Any], override: str) -> None:
    key, sep, text = override.partition("=")
    if not sep:
        raise SweepError(f"--set takes key=value, for example axes.x.max=0.1; given {override!r}")
    try:
        value = parse_yaml(text)
    except yaml.YAMLError as error:
        raise SweepError(f"--set {key}: {text!r} is not a valid YAML value") from error
    *path, last = key.strip().split(".")
    node: Any = raw
    for part in path:
        node = _child(node, part, key)
    if isinstance(node, list):
        node[_index(node, last, key)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise SweepError(f"--set {key}: there is nothing to set below a plain value")


def _child(node: Any, part: str, key: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, part, key)]
    if not isinstance(node, dict):
        raise SweepError(f"--set {key}: there is nothing to set below a plain value")
    if node.get(part) is None:
        node[part] = {}
    return node[part]


def _index(node: list[Any], part: str, key: str) -> int:
    if part.isdecimal() and int(part) < len(node):
        return int(part)
    raise SweepError(f"--set {key}: {part!r} is not one of the list's places 0..{len(node) - 1}")


def _explain(problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    # pydantic puts the workload's kind between its key and the keys below.
    spoken = location[:1] + location[2:] if location[:1] == ["workload"] else location
    where = ".".join(spoken) or "sweep"
    if problem["type"] == "union_tag_invalid":
        tag, kinds = problem["ctx"]["tag"], ", ".join(_KINDS)
        return f"workload.kind: {tag!r} is no workload{nearest(tag, _KINDS)}; allowed: {kinds}"
    if problem["type"] == "extra_forbidden":
        allowed = _keys_at(location[:-1])
        known = f"; allowed: {', '.join(sorted(allowed))}" if allowed else ""
        return f"{where}: unknown key{nearest(location[-1], allowed)}{known}"
    if problem["type"] == "missing":
        return f"{where}: missing"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if problem["type"] == "value_error":
        return message if message.startswith("axes.") else f"{where}: {message}"
    return f"{where}: {message}; given {problem['input']!r}"


def _keys_at(location: list[str]) -> list[str]:
    """Keys that the model at a place of the spec allows."""
    model: type[_Model] = SweepSpec
    if location[:1] == ["workload"]:
        model, location = _KINDS[location[1]], location[2:]
    schema: Any = model.model_json_schema()
    definitions = schema.get("$defs", {})
    for part in location:
        schema = _resolve(schema, definitions)
        items = schema.get("items") if part.isdigit() else schema.get("properties", {}).get(part)
        if items is None:
            return []
        schema = items
    return list(_resolve(schema, definitions).get("properties", {}))


def _resolve(schema: Any, definitions: Any) -> Any:
    for option in [schema, *schema.get("anyOf", []), *schema.get("allOf", [])]:
        if "$ref" in option:
            return definitions[option["$ref"].rsplit("/", 1)[-1]]
    return schema
