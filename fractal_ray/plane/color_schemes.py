"""Colour schemes of maps by name. The command line reads this module at its start."""

import warnings
from typing import Final, Literal

from fractal_ray.errors import SweepError, nearest
from nanochat.errors import quoted

Colors = Literal["safe", "fractal-llm"]
COLORS: Final[tuple[Colors, ...]] = ("safe", "fractal-llm")
"""Colour schemes of maps: one that people with any common colour blindness can read, and the reds,
blues and greens of fractal-llm."""
FORMER_COLORS: Final[dict[str, Colors]] = {"source": "fractal-llm"}
"""Former names of colour schemes, which are still read."""


def color_scheme(name: str) -> Colors:
    """Return the colour scheme of a name; a former name is read with a DeprecationWarning.

    Raises
    ------
    SweepError
        If there is no such scheme.
    """
    for scheme in COLORS:
        if name == scheme:
            return scheme
    if name in FORMER_COLORS:
        warnings.warn(former_name(name), DeprecationWarning, stacklevel=3)
        return FORMER_COLORS[name]
    raise SweepError(
        f"there are no colours {quoted(name)}{nearest(name, COLORS)}; there are {', '.join(COLORS)}"
    )


def former_name(name: str) -> str:
    """Return the note on a former name of a colour scheme."""
    return f"the colours {name!r} are now called {FORMER_COLORS[name]!r}; the old name still works"
