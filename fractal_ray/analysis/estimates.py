"""Dimensions of one frame, by every estimator that its stages allow."""

from collections.abc import Callable, Mapping
from typing import Final

from fractal_ray.analysis.replay import Replayed
from fractal_ray.dimension import levels, transects, uncertainty
from fractal_ray.dimension.recommend import Data, recommended
from fractal_ray.dimension.result import Estimate
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.inferred_labels import labels_of
from fractal_ray.planners.pairs import disagreements
from fractal_ray.planners.refine import RefinePlanner
from fractal_ray.planners.transects import count_flips

_LARGEST_RASTER: Final = 2049
"""Nodes along a side; levels and lines say more where a lattice is finer."""


def estimates(replayed: Replayed, label: Callable[[Outcome], bool]) -> dict[Data, Estimate]:
    """What each kind of data that a frame has says of its border.

    Parameters
    ----------
    replayed
        The frame's stages.
    label
        Which outcomes are labelled yes: the rule that the stages followed.
    """
    found: dict[Data, Estimate] = {}
    if replayed.transects:
        found["transects"] = transects.from_flips([count_flips(p) for p in replayed.transects])
    if replayed.pairs:
        windows = [disagreements(results, label) for results in replayed.pairs]
        found["pairs"] = uncertainty.from_pairs(windows)
    if isinstance(replayed.field, RefinePlanner):
        found["refined levels"] = levels.from_refinement(replayed.field, replayed.audit)
    given = labels_of(replayed.field, label)[0]
    if max(given.shape) <= _LARGEST_RASTER:
        found["raster"] = transects.from_raster(given)
    return found


def best(found: Mapping[Data, Estimate]) -> Data | None:
    """The recommended of those that have a value; of none, the recommended of all.

    However wide its interval is: what a better estimator cannot tell, a worse one does not know.
    """
    given = [data for data, estimate in found.items() if estimate.value is not None]
    return recommended(given or list(found)).data if found else None
