"""Level sets of a rough random field: borders of any dimension from 1 to 2, with islands.

The field is a sum of octaves ``a_j n_j(2**j x, 2**j y)``, j = 0 .. 47. Each n_j is value noise:
independent numbers in [-1, 1) at the nodes of a unit lattice, smoothly interpolated. Amplitudes
``a_j = 2**(-hurst j)`` make the mean squared increment over a distance d go as ``d**(2 hurst)``,
as that of fractional Brownian motion does (Mandelbrot, Van Ness, SIAM Rev. 10, 422, 1968), so level
sets have dimension ``2 - hurst``. The power law holds from 1/4 down to 2**-47, because octave 0
carries the gradients of the coarser ones that are missing:
``a_0**2 = sum_(j >= 0) 2**(-(2 - 2 hurst) j)``.

Unlike fractional Brownian motion the field is not Gaussian, and beyond a distance of 1 it is
stationary: a frame of many units shows many independent pieces of border.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.plane.hashing import bits_of, key, mixed, uniform
from fractal_ray.workloads.maps.sets.base import KnownSet, from_inside

OCTAVES: Final = 48
"""Number of octaves; the sides of their cells go from 1 down to 2**-47 = 7e-15."""


def fbm(hurst: float = 0.5, seed: int = 0) -> KnownSet:
    """Return the set of points where the field is negative; D = 2 - `hurst`.

    Parameters
    ----------
    hurst
        Hurst exponent, between 0 and 1.
    seed
        Seed of the field.

    Raises
    ------
    ValueError
        If `hurst` is not between 0 and 1.
    """
    if not 0 < hurst < 1:
        raise ValueError(f"hurst must lie between 0 and 1; given {hurst:g}")
    octaves = _octaves(hurst, seed)
    return KnownSet(
        name="fbm",
        parameters={"hurst": hurst, "seed": seed},
        rule=lambda x, y: from_inside(_negative(x, y, octaves)),
        window=(0.0, 4.0, 0.0, 4.0),
        dimension=2 - hurst,
        source="level sets of index-H fields: Adler, The Geometry of Random Fields (1981), ch. 8",
    )


def field(
    x: NDArray[np.float64], y: NDArray[np.float64], hurst: float, seed: int
) -> NDArray[np.float64]:
    """Return the values of the field at (n,) x and y."""
    total = np.zeros(x.size)
    for octave in _octaves(hurst, seed):
        total = total + octave.amplitude * _value_noise(x, y, octave)
    return total


@dataclass(frozen=True)
class _Octave:
    """One octave of the field; `rest` bounds the sum of all finer octaves."""

    amplitude: float
    scale: float
    shift_x: float
    shift_y: float
    salt: np.uint64
    rest: float


def _octaves(hurst: float, seed: int) -> list[_Octave]:
    octaves = []
    for number in range(OCTAVES):
        salt = key(seed, number)
        # Without shifts the lattices would share nodes, and the coarsest one would be visible.
        shift_x, shift_y = uniform(mixed(salt + np.arange(1, 3, dtype=np.uint64))).tolist()
        amplitude = 2.0 ** (-hurst * number)
        rest = amplitude / (2.0**hurst - 1) if number < OCTAVES - 1 else 0.0
        if number == 0:
            amplitude = (1 - 2.0 ** (2 * hurst - 2)) ** -0.5
        octaves.append(_Octave(amplitude, 2.0**number, shift_x, shift_y, salt, rest))
    return octaves


def _negative(
    x: NDArray[np.float64], y: NDArray[np.float64], octaves: list[_Octave]
) -> NDArray[np.bool_]:
    """Return True where the field is below 0; skip octaves that can no longer change its sign."""
    negative = np.empty(x.size, dtype=np.bool_)
    index = np.arange(x.size)
    total = np.zeros(x.size)
    for octave in octaves:
        total = total + octave.amplitude * _value_noise(x, y, octave)
        sure = np.abs(total) >= octave.rest
        negative[index[sure]] = total[sure] < 0
        left = ~sure
        index, total, x, y = index[left], total[left], x[left], y[left]
        if not index.size:
            break
    return negative


def _value_noise(
    x: NDArray[np.float64], y: NDArray[np.float64], octave: _Octave
) -> NDArray[np.float64]:
    """Interpolate the numbers in [-1, 1) of the nodes so that the gradient is continuous."""
    u, v = x * octave.scale + octave.shift_x, y * octave.scale + octave.shift_y
    column, row = np.floor(u), np.floor(v)
    across, up = _eased(u - column), _eased(v - row)
    west, east = mixed(bits_of(column) ^ octave.salt), mixed(bits_of(column + 1) ^ octave.salt)
    south, north = bits_of(row), bits_of(row + 1)
    below = _between(uniform(mixed(west + south)), uniform(mixed(east + south)), across)
    above = _between(uniform(mixed(west + north)), uniform(mixed(east + north)), across)
    return 2 * _between(below, above, up) - 1


def _eased(fraction: NDArray[np.float64]) -> NDArray[np.float64]:
    return fraction * fraction * (3 - 2 * fraction)


def _between(
    a: NDArray[np.float64], b: NDArray[np.float64], fraction: NDArray[np.float64]
) -> NDArray[np.float64]:
    return a + fraction * (b - a)
