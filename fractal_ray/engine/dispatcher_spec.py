"""Settings of a dispatcher."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fractal_ray.dataset.driver_lease import Claim
from fractal_ray.engine.budget import Budget
from fractal_ray.plane.identity import Setting
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.plane.zoom import Zoom
from fractal_ray.planners.program import Program


@dataclass(frozen=True)
class DispatcherSpec:
    """Settings of a dispatcher, as plain picklable data.

    `program` makes a new planner from the frames that zooms have chosen; it is called again when a
    lost dispatcher is rebuilt.
    """

    program: Callable[[list[Zoom]], Program]
    location: str
    metadata: dict[str, Any]
    fingerprint: str
    recipe: dict[str, Setting]
    x_param: str
    y_param: str
    rule: LabelRule
    points_per_tile: int | None = None
    """Number of points in a tile; None: by measured time."""
    together: int = 1
    """Number of points that a worker advances at once; tiles hold a multiple of it."""
    tile_seconds: float = 2.0
    max_attempts: int = 3
    """Number of failed runs of a point after which this run of the sweep gives it up."""
    flush_seconds: float = 2.0
    storage_patience: float = 60.0
    """Seconds of failing storage after which the sweep stops."""
    skip_corrupt: bool = False
    lease_seconds: float | None = None
    """Seconds for which a worker may hold a tile; None: by measured time (`engine/workers.py`)."""
    lease_note: str = "resources.lease_seconds sets how long it may be"
    """Advice in the message about a worker that was silent for too long."""
    keep_going: bool = False
    """True to leave out points that fail with one error at each attempt, instead of stopping."""
    homogeneous: bool = False
    """True if all rows have to come from one kind of device."""
    claim: Claim | None = None
    """Claim of the driver that holds the lease (`driver_lease.py`); None without a lease."""
    budget: Budget = field(default_factory=Budget)
