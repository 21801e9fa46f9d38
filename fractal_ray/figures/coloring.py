"""Colouring of maps: a number from -1 to 1 for every node, and the colour maps of these numbers.

Nodes without a label are NaN and are drawn as missing. A node of a refined lattice that was not
run has a label but no loss: it takes the number of the nearest run with its label, and a legend
says so.
"""

from collections.abc import Iterable
from typing import Any, Final, Literal

import matplotlib
import numpy as np
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap
from numpy.typing import NDArray

from fractal_ray.figures.style import VALUE_COLORS
from fractal_ray.plane.boundary import Raster, labels
from fractal_ray.plane.color_schemes import Colors
from fractal_ray.plane.palette import MEASURED_COLORS

Shade = Literal["label", "value", "rank"]
Palette = Literal["label", "value", "rank", "stability"]

_NO, _PALE_NO, _YES, _PALE_YES = (MEASURED_COLORS[code] for code in (1, 0, 3, 2))
NO_TO_YES: Final = LinearSegmentedColormap.from_list(
    "no_to_yes", [_NO, _PALE_NO, "#FFFFFF", _PALE_YES, _YES], N=1024
)
"""Vermilion (no) over white to blue (yes), the colours of the labels, for numbers between them."""


def colormap(shade: Palette, colors: Colors = "safe") -> Colormap:
    """Return the colour map of the numbers from -1 to 1.

    "safe": vermilion and blue of Okabe and Ito for labels and stability, and between them over
    white for numbers. These differ in every common form of colour blindness.
    "fractal-llm": red to blue for labels, red to green for stability (features V2), fractal-llm's
    twelve stops for values (V1), and Spectral for ranks (the notebook of Sohl-Dickstein 2024,
    arXiv 2402.06184). Labels have two colours and none between.
    """
    if colors == "safe":
        return ListedColormap([_NO, _YES]) if shade in ("label", "stability") else NO_TO_YES
    if shade in ("label", "stability"):
        return matplotlib.colormaps["RdBu" if shade == "label" else "RdYlGn"].resampled(2)
    return VALUE_COLORS if shade == "value" else matplotlib.colormaps["Spectral"]


def listed(colors: Iterable[Any]) -> Colormap:
    """Return a colour map of these colours in equal shares."""
    return ListedColormap(list(colors))


def loss_colors(count: int) -> Colormap:
    """Return the colour map of losses, yellow (low) to violet (high), in `count` shades."""
    return matplotlib.colormaps["viridis_r"].resampled(count)


def label_map(raster: Raster, boundary: str = "trainable") -> NDArray[np.float64]:
    """Return (ny, nx) float64: 1 where the label is yes, -1 where it is no, NaN where unknown."""
    label = labels(raster, boundary)
    return np.where(label == 1, 1.0, np.where(label == 0, -1.0, np.nan))


def value_map(raster: Raster, boundary: str = "trainable") -> NDArray[np.float64]:
    """Fold label and loss into one number for colouring (features D7).

    Parameters
    ----------
    raster
        Outcomes and losses of a frame.
    boundary
        Label that separates yes from no, as in `fractal_ray.plane.boundary.labels`.

    Returns
    -------
    (ny, nx) float64: -1 where the label is no; ``1 - 0.7 (loss - min) / (max - min)`` where it is
    yes, so 1 at the lowest loss and 0.3 at the highest, with min and max over the yes points; 1 if
    all their losses are equal; NaN where unknown. A yes run whose loss was not recorded counts as
    the highest.
    """
    label = labels(raster, boundary)
    yes = label == 1
    values = np.where(label == 0, -1.0, np.nan)
    values[yes] = 1.0
    finite = yes & np.isfinite(raster.loss)
    if finite.any():
        low, high = raster.loss[finite].min(), raster.loss[finite].max()
        if low < high:
            values[finite] = 1.0 - 0.7 * ((raster.loss[finite] - low) / (high - low))
        values[yes & ~finite] = 0.3
    return fill_inferred(values, raster, boundary)


def rank_map(measure: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spread a signed measure evenly over the colours (`cdf_img` of arXiv 2402.06184).

    Parameters
    ----------
    measure
        (ny, nx) float64, as `fractal_ray.workloads.mlp.measure.measure` gives it: below 0 where
        a run converged; NaN where unknown.

    Returns
    -------
    (ny, nx) float64. Ranks below 0 go to 0.25 (nearest to 0: the fastest) up to 1, others to -0.25
    down to -1; equal measures share a rank; NaN where unknown.
    """
    known = ~np.isnan(measure)
    ordered = np.sort(measure[known])
    below = int(np.count_nonzero(ordered < 0))
    shares = np.r_[np.linspace(-1, -0.25, below), np.linspace(0.25, 1, ordered.size - below)]
    ranks = np.full(measure.shape, np.nan)
    ranks[known] = -shares[np.searchsorted(ordered, measure[known], side="right") - 1]
    return ranks


def fill_inferred(
    values: NDArray[np.float64], raster: Raster, boundary: str
) -> NDArray[np.float64]:
    """Give nodes whose label was inferred the value of the nearest run with that label.

    Parameters
    ----------
    values
        (ny, nx) float64.
    """
    if raster.inferred is None or not raster.inferred.any():
        return values
    from scipy.ndimage import distance_transform_edt  # takes a while to import

    label = labels(raster, boundary)
    filled = values.copy()
    for each in (0, 1):
        run, inferred = raster.measured & (label == each), raster.inferred & (label == each)
        if run.any() and inferred.any():
            at = distance_transform_edt(~run, return_distances=False, return_indices=True)
            filled[inferred] = values[tuple(np.asarray(at))][inferred]
    return filled
