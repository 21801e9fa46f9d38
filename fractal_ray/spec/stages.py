"""What a spec says of its stages, and the base of everything in a spec."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

from fractal_ray.workloads.section import Model


def _shape(points: int | tuple[int, int]) -> tuple[int, int]:
    return (points, points) if isinstance(points, int) else points


def _whole(points: Any) -> Any:
    pair = isinstance(points, list | tuple)
    sides = points if pair else [points]
    if (pair and len(points) != 2) or not all(type(side) is int for side in sides):
        raise ValueError(f"takes a whole number, or [along x, along y]; given {points!r}")
    return points


def _two(points: int | tuple[int, int]) -> int | tuple[int, int]:
    if min(_shape(points)) < 2:
        raise ValueError(f"must be at least 2 along each side; given {points}")
    return points


Points = Annotated[int | tuple[int, int], BeforeValidator(_whole), AfterValidator(_two)]
"""Nodes along each side, or [along x, along y]; at least 2."""


class GridStage(Model):
    """Every node of a lattice over the axes."""

    points: Points

    @property
    def shape(self) -> tuple[int, int]:
        """Nodes along x and along y."""
        return _shape(self.points)


class Place(Model):
    """A point of the plane in real values."""

    x: float
    y: float


Rule = Literal["densest", "diverse", "boundary-point", "center"]


class ZoomStage(Model):
    """Every node of new, smaller frames around the border of the frames before it.

    A chain goes deeper: the rules that look at labels are applied again to each new frame, after
    the stages that follow have filled it; a point stays the same, so its frames are known at once.
    """

    points: Points
    factor: float = Field(default=8.0, gt=1, le=1e6)
    """A frame is so many times narrower than the one that it was cut from."""
    windows: int = Field(default=1, ge=1)
    """Chains, each begun by a window of its own."""
    depth: int = Field(default=1, ge=1)
    """Frames in a chain."""
    pick: Rule = "densest"
    center: Place | None = None
    """With the rule center: where to."""
    direction: Literal["in", "out"] = "in"
    """out: the frames of a chain from the deepest to one that is as wide as where it began."""
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _center_is_a_rule(cls, given: Any) -> Any:
        """`pick: {center: {x, y}}`, and `center` alone, say the same as the two keys."""
        if not isinstance(given, Mapping):
            return given
        pick = given.get("pick")
        if isinstance(pick, Mapping) and list(pick) == ["center"]:
            if "center" in given:
                raise ValueError("center is given twice: as a key, and in pick")
            return {**given, "pick": "center", "center": pick["center"]}
        return {"pick": "center", **given} if "center" in given else given

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
        """Nodes along x and along y of each frame."""
        return _shape(self.points)

    @property
    def chosen_again(self) -> bool:
        """Whether each frame of a chain is chosen from the labels of the one before."""
        return self.pick in ("densest", "diverse")

    @property
    def frames(self) -> int:
        """How many frames are made of each frame before, at most."""
        return self.windows * (self.depth + (self.direction == "out"))


class RefineStage(Model):
    """Follow the border of the frames of the grid or zoom before it, down to finer lattices."""

    levels: int = Field(ge=1, le=30)
    """How often the grid is halved."""
    halo: Literal[0, 1, 2] = 1
    """What is spent on islands that no point has touched: nothing, the usual, more."""
    audit: float = Field(default=0.02, ge=0, le=1)
    """Share of the cells that is run although nothing calls for it, to measure what is missed."""
    seed: int = Field(default=0, ge=0)
    """Another seed audits other cells."""


class TransectsStage(Model):
    """Random lines across the frames of the grid or zoom before, bisected where labels flip."""

    count: int = Field(default=16, ge=1)
    """Lines."""
    levels: int = Field(default=10, ge=1, le=48)
    """Each line has 2**levels intervals at the finest."""
    dense: int = Field(default=7, ge=0)
    """Up to this level every position is run."""
    audit: float = Field(default=0.5, gt=0, le=1)
    """Share of the intervals whose ends agree that is bisected all the same."""
    seed: int = Field(default=0, ge=0)


class PairsStage(Model):
    """Random pairs of points at distances 2**-k of the sides of the frames before."""

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
