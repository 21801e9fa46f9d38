"""Colours and settings of all figures.

matplotlib's global state is not changed for good: `shared_style` applies the settings for the
length of a ``with`` block, one thread at a time.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import matplotlib
from matplotlib.colors import LinearSegmentedColormap

_VALUE_STOPS: Final = (
    (0.00, "#8B0000"),
    (0.10, "#B22222"),
    (0.20, "#CD5C5C"),
    (0.30, "#FA8072"),
    (0.40, "#FFC0CB"),
    (0.50, "#FFFFFF"),
    (0.55, "#E0FFFF"),
    (0.65, "#ADD8E6"),
    (0.75, "#87CEEB"),
    (0.85, "#4169E1"),
    (0.92, "#0000CD"),
    (1.00, "#00008B"),
)

VALUE_COLORS: Final = LinearSegmentedColormap.from_list("fractal_value", list(_VALUE_STOPS), N=1024)
"""Red (does not train) over white to blue (trains), fractal-llm's twelve stops (features V1)."""

LINE_COLOR: Final = "#0072B2"
MARK_COLOR: Final = "#D55E00"
"""Colours of numbers in diagrams, and of marks over them: blue and vermilion as above."""

BLANK_COLOR: Final = "#D9D9D9"
"""Colour of known points that a panel has no value for."""

MISSING_COLOR: Final = "#F7F7F7"
MISSING_HATCH: Final = "////"
MISSING_EDGE: Final = "#969696"

_SETTINGS: Final[dict[Any, Any]] = {
    "axes.labelsize": 12,
    "axes.titlesize": 13,
    "figure.titlesize": 15,
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "hatch.linewidth": 0.8,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "savefig.dpi": 150,
    # Without a salt the SVG of one figure differs from run to run.
    "svg.hashsalt": "fractal-ray",
}
_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def shared_style() -> Iterator[None]:
    """Apply the shared settings, then restore those of the caller.

    Settings of the caller, such as ``text.usetex`` in a matplotlibrc, do not reach the figures.
    matplotlib keeps its settings in one global, so the block is held by one thread at a time.
    """
    with _ONE_AT_A_TIME, matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield
