"""All that a dispatcher is made of."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fractal_ray.engine.budget import Budget
from fractal_ray.plane.identity import Setting
from fractal_ray.plane.outcome import Criterion
from fractal_ray.plane.zoom import Zoom
from fractal_ray.planners.program import Program


@dataclass(frozen=True)
class DispatcherSpec:
    """All a dispatcher is made of, as plain picklable data.

    `program` makes a fresh planner from the frames that its zooms chose before; it is called again
    when a lost dispatcher is rebuilt.
    """

    program: Callable[[list[Zoom]], Program]
    location: str
    metadata: dict[str, Any]
    fingerprint: str
    recipe: dict[str, Setting]
    x_param: str
    y_param: str
    criterion: Criterion
    points_per_tile: int | None = None
    """None: by measured time."""
    together: int = 1
    """Points that a worker advances at once, of which tiles have multiples."""
    tile_seconds: float = 2.0
    max_attempts: int = 3
    """Runs of a point that may fail before it is given up for this run of the sweep."""
    flush_seconds: float = 2.0
    storage_patience: float = 60.0
    """Seconds for which storage may refuse before the sweep stops."""
    skip_corrupt: bool = False
    lease_seconds: float | None = None
    """For which a worker may hold a tile; None: by measured time (`engine/workers.py`)."""
    keep_going: bool = False
    """Whether points that fail alike at every attempt are left out instead of ending the sweep."""
    homogeneous: bool = False
    """Whether all rows have to come from one kind of device."""
    token: str = ""
    """Of the driver that holds the sweep (`driver_lease.py`); "" where nobody does."""
    budget: Budget = field(default_factory=Budget)
