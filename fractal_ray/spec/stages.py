"""The section `stages` of a spec: one class for each kind of stage."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from fractal_ray.workloads.model import Model
from nanochat.errors import quoted


def _shape(points: int | tuple[int, int]) -> tuple[int, int]:
    return (points, points) if isinstance(points, int) else points


def _whole(points: Any) -> Any:
    pair = isinstance(points, list | tuple)
    sides = points if pair else [points]
    if (pair and len(points) != 2) or not all(type(side) is int for side in sides):
        raise ValueError(f"takes a whole number, or [along x, along y]; given {quoted(points)}")
    return points


def _two(points: int | tuple[int, int]) -> int | tuple[int, int]:
    if min(_shape(points)) < 2:
        raise ValueError(f"must be at least 2 along each side; given {points}")
    return points


Points = Annotated[int | tuple[int, int], BeforeValidator(_whole), AfterValidator(_two)]
"""Number of nodes along each side, or [along x, along y]; at least 2."""


class GridStage(Model):
    """A stage that runs every node of a lattice over the axes."""

    points: Points

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of nodes along x and along y."""
        return _shape(self.points)


class Place(Model):
    """A point of the plane in real values."""

    x: float
    y: float


Rule = Literal["densest", "diverse", "boundary-point", "center"]


class ZoomStage(Model):
    """A stage that runs every node of new, smaller frames around the border of earlier frames.

    It cuts them from the frames of the stage before it. Each frame of a chain lies in the one
    before. The rules `densest` and `diverse` read labels: they choose the next frame of a chain
    after the stages that follow have filled the last one. The rules `boundary-point` and `center`
    zoom to a fixed point, so they set all frames of a chain at once.
    """

    points: Points
    factor: float = Field(default=8.0, gt=1, le=1e6)
    """Ratio of the width of a frame to the width of the next, narrower frame."""
    windows: int = Field(default=1, ge=1)
    """Number of chains; each begins with a window of its own."""
    depth: int = Field(default=1, ge=1)
    """Number of frames in a chain."""
    pick: Rule = "densest"
    center: Place | None = None
    """Point to zoom to, for the rule center only."""
    direction: Literal["in", "out"] = "in"
    """Order of the frames of a chain; out: from the deepest frame to one as wide as the frame in
    which the chain began."""
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _center_is_a_rule(cls, section: Any) -> Any:
        """Accept `pick: {center: {x, y}}`, and `center` alone, as short forms of the two keys."""
        if not isinstance(section, Mapping):
            return section
        pick = section.get("pick")
        if isinstance(pick, Mapping) and list(pick) == ["center"]:
            if "center" in section:
                raise ValueError("center is given twice: as a key, and in pick")
            return {**section, "pick": "center", "center": pick["center"]}
        return {"pick": "center", **section} if "center" in section else section

    @model_validator(mode="after")
    def _together(self) -> Self:
        if (self.pick == "center") != (self.center is not None):
            raise ValueError(f"pick: center and center: {{x, y}} go together; pick is {self.pick}")
        if self.pick == "center" and self.windows > 1:
            raise ValueError(f"a center has one window; given windows: {self.windows}")
        if self.direction == "out" and self.chosen_again:
            raise ValueError(
                f"direction: out needs a point that is known before, pick: boundary-point or"
                f" center; given {self.pick}"
            )
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of nodes of each frame along x and along y."""
        return _shape(self.points)

    @property
    def chosen_again(self) -> bool:
        """Return True if each frame of a chain is chosen from the labels of the one before."""
        return self.pick in ("densest", "diverse")

    @property
    def frames(self) -> int:
        """Return the largest number of frames that are cut from each earlier frame."""
        return self.windows * (self.depth + (self.direction == "out"))

    @property
    def idle_seed(self) -> str | None:
        """Return the reason for which the seed changes no frame; None if it is used."""
        if self.pick in ("diverse", "boundary-point"):
            return None
        return f"pick: {self.pick} draws nothing by chance"


class RefineStage(Model):
    """A stage that follows the border of the frames of the grid or zoom before it.

    It goes down to finer lattices.
    """

    levels: int = Field(ge=1, le=30)
    """Number of times that the cells of the grid are halved."""
    halo: Literal[0, 1, 2] = 1
    """Effort to find islands that no point has touched: 0 none, 1 the usual, 2 more."""
    audit: float = Field(default=0.02, ge=0, le=1)
    """Share of the cells away from the border that is run too, to measure how much is missed."""
    probes: int | None = Field(default=None, ge=0)
    """Number of random finest cells that are run, to bound the border that is missed.

    None: half of the cells along the longer side of the finest lattice; 0 if `audit` is 0. Five
    times as many follow if five of them are boundary cells.
    """
    seed: int = Field(default=0, ge=0)
    """Seed of the audit and the probes; another seed takes other cells."""

    @property
    def idle_seed(self) -> str | None:
        """Return the reason for which the seed changes no point; None if it is used."""
        if self.audit or self.probes:
            return None
        return "it draws the cells of the audit, and audit is 0"

    @model_serializer(mode="wrap")
    def _without_default(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A spec that names no probes is still dumped as it was before this key existed.
        return {k: v for k, v in dump(self).items() if k != "probes" or v is not None}


class TransectsStage(Model):
    """A stage that bisects random lines where labels flip.

    The lines cross the frames of the grid or zoom before it.
    """

    count: int = Field(default=16, ge=1)
    """Number of lines."""
    levels: int = Field(default=10, ge=1, le=48)
    """Finest level of a line, where it has 2**levels intervals."""
    dense: int = Field(default=7, ge=0)
    """Level up to which every position of a line is run."""
    audit: float = Field(default=0.5, gt=0, le=1)
    """Share of the intervals with equal labels at both ends that is bisected too."""
    seed: int = Field(default=0, ge=0)


class PairsStage(Model):
    """A stage that runs random pairs of points.

    Their distances are 2**-k of the sides of the frames of the grid or zoom before it.
    """

    count: int = Field(default=1000, ge=1)
    """Number of pairs at each distance."""
    distances: tuple[Annotated[int, Field(ge=1, le=48)], ...] = Field(
        default=tuple(range(3, 13)), min_length=1
    )
    """The exponents k of the distances."""
    seed: int = Field(default=0, ge=0)

    @field_validator("distances")
    @classmethod
    def _different(cls, distances: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(distances)) < len(distances):
            raise ValueError(f"distances must differ; given {list(distances)}")
        return distances


StageKind = GridStage | RefineStage | ZoomStage | TransectsStage | PairsStage


class StageSpec(Model):
    """One stage of a sweep: a mapping with exactly one key, its kind."""

    grid: GridStage | None = None
    refine: RefineStage | None = None
    zoom: ZoomStage | None = None
    transects: TransectsStage | None = None
    pairs: PairsStage | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        names = [name for name, _ in self._parts()]
        if len(names) != 1:
            kinds = ", ".join(type(self).model_fields)
            raise ValueError(f"a stage is exactly one of {kinds}; given {names or 'none'}")
        return self

    def _parts(self) -> list[tuple[str, StageKind]]:
        parts = [
            ("grid", self.grid),
            ("refine", self.refine),
            ("zoom", self.zoom),
            ("transects", self.transects),
            ("pairs", self.pairs),
        ]
        return [(name, part) for name, part in parts if part is not None]

    @property
    def name(self) -> str:
        """Return the key of the stage's kind."""
        return self._parts()[0][0]

    @property
    def part(self) -> StageKind:
        """Return the settings of the stage; their class is its kind."""
        return self._parts()[0][1]

    @property
    def on_lattice(self) -> bool:
        """Return True if the stage's points are nodes of its frame's lattice."""
        return isinstance(self.part, GridStage | ZoomStage | RefineStage)

    @property
    def base(self) -> GridStage | ZoomStage | None:
        """Return the settings of a stage that makes frames; None for a stage that uses them."""
        part = self.part
        return part if isinstance(part, GridStage | ZoomStage) else None
