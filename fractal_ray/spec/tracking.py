"""The section `tracking` of a spec: the services that show the progress of a sweep."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from fractal_ray.workloads.model import Model
from nanochat.errors import quoted

MOST_POINT_RUNS = 1000
"""Largest number of points with runs of their own; W&B advises at most about 10,000 runs in a
project."""

Name = Annotated[str, Field(min_length=1, max_length=128)]
Tag = Annotated[str, Field(min_length=1, max_length=64)]


class WandbSpec(Model):
    """The section `tracking.wandb`: runs in Weights & Biases.

    The environment sets the keys that are missing here (docs/tracking.md).
    """

    project: Name | None = None
    entity: Name | None = None
    group: Name | None = None
    tags: tuple[Tag, ...] | None = None
    mode: Literal["online", "offline", "disabled"] | None = None
    points: str = "none"
    """Points with runs of their own: `none`, or `sample:N` for N points."""

    @field_validator("project")
    @classmethod
    def _in_an_address(cls, project: str | None) -> str | None:
        if project is not None and re.search(r"[/\\#?%:]", project):
            raise ValueError(f"W&B takes no / \\ # ? % : in a project; given {quoted(project)}")
        return project

    @field_validator("tags", mode="before")
    @classmethod
    def _listed(cls, tags: Any) -> Any:
        if not isinstance(tags, list | tuple | None):
            raise ValueError(f"takes a list, [night, d20]; given {quoted(tags)}")
        return tags

    @field_validator("points", mode="before")
    @classmethod
    def _none_or_some(cls, points: Any) -> str:
        match = re.fullmatch(r"none|sample:(\d+)", str(points))
        if match is None or not 1 <= int(match[1] or 1) <= MOST_POINT_RUNS:
            raise ValueError(
                f"takes none or sample:N with N from 1 to {MOST_POINT_RUNS}; given {quoted(points)}"
            )
        return str(points)

    @property
    def sampled(self) -> int:
        """Return the number of points that have runs of their own."""
        return 0 if self.points == "none" else int(self.points.partition(":")[2])


class TrackingSpec(Model):
    """The section `tracking`: services that show a sweep. It does not change the points' ids."""

    wandb: WandbSpec | None = None
