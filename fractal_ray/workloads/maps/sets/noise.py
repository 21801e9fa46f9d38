"""The set of random labels without a border: every point is drawn independently."""

from fractal_ray.plane.hashing import uniform_at
from fractal_ray.workloads.maps.sets.base import KnownSet, from_inside


def noise(p: float = 0.5, seed: int = 0) -> KnownSet:
    """Return the set of independent labels; D = 2 at every scale, and no scale resolves them.

    The label of a point is a hash of the bits of its x and y, so a lattice and the lattice with
    halved cells agree at their common nodes.

    Parameters
    ----------
    p
        Share of points that train, between 0 and 1.
    seed
        Seed of the labels; labels of two seeds are independent.

    Raises
    ------
    ValueError
        If `p` is not between 0 and 1.
    """
    if not 0 < p < 1:
        raise ValueError(f"p must lie between 0 and 1; given {p:g}")
    return KnownSet(
        name="noise",
        parameters={"p": p, "seed": seed},
        rule=lambda x, y: from_inside(uniform_at(x, y, seed) < p),
        window=(0.0, 1.0, 0.0, 1.0),
        dimension=2.0,
        source="exact: independent labels fill every box",
    )
