"""What a spec says of its stages, and the base of everything in a spec."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Model(BaseModel):
    """Part of a spec: no unknown keys, no numbers that are not finite, no change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class GridStage(Model):
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


class RefineStage(Model):
    """Follow the border of the frame of the grid before it, down to a finer lattice."""

    levels: int = Field(ge=1, le=30)
    """How often the grid is halved."""
    halo: Literal[0, 1, 2] = 1
    """What is spent on islands that no point has touched: nothing, the usual, more."""
    audit: float = Field(default=0.02, ge=0, le=1)
    """Share of the cells that is run although nothing calls for it, to measure what is missed."""
    seed: int = Field(default=0, ge=0)
    """Another seed audits other cells."""


class TransectsStage(Model):
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


class PairsStage(Model):
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


class StageSpec(Model):
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
