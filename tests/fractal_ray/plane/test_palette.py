"""Colours of outcomes and labels, as people with each form of colour blindness see them."""

import itertools
import warnings
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from fractal_ray.errors import SweepError
from fractal_ray.plane.color_schemes import COLORS, color_scheme
from fractal_ray.plane.palette import CODE_COLORS, MEASURED_COLORS, OUTCOME_COLORS

# Machado, Oliveira and Fernandes 2009, severity 1.0, for linear RGB.
SIGHT: Final = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_XYZ: Final = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
LEAST: Final = 15.0
"""Smallest distance of two colours of a map in CIE L*a*b*; about 2 can just be seen."""


def seen(color: str, sight: str) -> NDArray[np.float64]:
    """Return a colour as L*, a*, b* under a form of sight."""
    shares = np.array([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(SIGHT[sight] @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def least_distance(colors: set[str], sight: str) -> float:
    """Return the smallest distance of two of the colours."""
    places = [seen(color, sight) for color in sorted(colors)]
    return min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(places, 2))


def test_red_and_green_are_alike_without_green_cones() -> None:
    red, green = "#B22222", "#6B6B00"
    assert least_distance({red, green}, "deuteranopia") < least_distance({red, green}, "all cones")


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("colors", [OUTCOME_COLORS.values(), MEASURED_COLORS, CODE_COLORS.values()])
def test_colours_of_a_map_differ(colors: list[str], sight: str) -> None:
    assert least_distance(set(colors), sight) > LEAST


def test_schemes_and_their_former_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [color_scheme(name) for name in COLORS] == list(COLORS)
    with pytest.warns(DeprecationWarning, match="now called 'fractal-llm'"):
        assert color_scheme("source") == "fractal-llm"
    with pytest.raises(SweepError, match="there are safe, fractal-llm"):
        color_scheme("rainbow")
