"""Estimators and lattices for tests of known sets."""

from collections.abc import Sequence

import numpy as np

from fractal_ray.workloads.maps.sets.base import KnownSet


def pair_dimension(
    known: KnownSet,
    window: tuple[float, float, float, float],
    distances: Sequence[float],
    pairs: int = 100_000,
) -> float:
    """Estimate D = 2 - alpha from pairs, with binomial weights.

    Pairs at distance e disagree with probability e**alpha (McDonald et al. 1985).
    """
    low_x, high_x, low_y, high_y = window
    rng = np.random.default_rng(7)
    share = []
    for distance in distances:
        x, y = rng.uniform(low_x, high_x, pairs), rng.uniform(low_y, high_y, pairs)
        angle = rng.uniform(0, 2 * np.pi, pairs)
        beside = known.trained(x + distance * np.cos(angle), y + distance * np.sin(angle))
        share.append((known.trained(x, y) != beside).mean())
    f = np.array(share)
    weights = np.sqrt(f * pairs / (1 - f))
    return 2 - float(np.polyfit(np.log(distances), np.log(f), 1, w=weights)[0])


def square(known: KnownSet, points: int) -> tuple[np.ndarray, np.ndarray]:
    low_x, high_x, low_y, high_y = known.window
    return np.meshgrid(np.linspace(low_x, high_x, points), np.linspace(low_y, high_y, points))
