"""The sets with smooth borders of dimension 1: the straight line and the circle."""

import math

from fractal_ray.workloads.maps.sets.base import KnownSet, from_inside


def line(angle: float = 30.0, offset: float = 0.0) -> KnownSet:
    """Return a half-plane.

    Parameters
    ----------
    angle
        Angle between the x axis and the border, in degrees.
    offset
        Distance of the border from (0, 0), to the left of its direction. Points on its right
        train.
    """
    across = math.radians(angle)
    dx, dy = -math.sin(across), math.cos(across)
    return KnownSet(
        name="line",
        parameters={"angle": angle, "offset": offset},
        rule=lambda x, y: from_inside(dx * x + dy * y < offset),
        window=(-1.0, 1.0, -1.0, 1.0),
        dimension=1.0,
        source="exact: a smooth curve",
    )


def disc(radius: float = 1.0, centre_x: float = 0.0, centre_y: float = 0.0) -> KnownSet:
    """Return a disc without its rim.

    Parameters
    ----------
    radius
        Radius of the disc, above 0.
    centre_x, centre_y
        Centre of the disc.

    Raises
    ------
    ValueError
        If `radius` is not above 0.
    """
    if not radius > 0:
        raise ValueError(f"radius must be above 0; given {radius:g}")
    side = 1.5 * radius
    return KnownSet(
        name="disc",
        parameters={"radius": radius, "centre_x": centre_x, "centre_y": centre_y},
        rule=lambda x, y: from_inside((x - centre_x) ** 2 + (y - centre_y) ** 2 < radius**2),
        window=(centre_x - side, centre_x + side, centre_y - side, centre_y + side),
        dimension=1.0,
        source="exact: a smooth curve",
    )
