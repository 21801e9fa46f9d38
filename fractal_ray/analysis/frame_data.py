"""The one reader of a frame: rows of the dataset, their raster, and the replay of its stages."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fractal_ray.analysis.estimates import estimates
from fractal_ray.analysis.rasters import fill_raster
from fractal_ray.analysis.replay import Replayed
from fractal_ray.analysis.sweep_data import SweepData, label_of
from fractal_ray.dimension.recommend import Data
from fractal_ray.dimension.result import Estimate
from fractal_ray.plane.boundary import Raster, labels
from fractal_ray.spec.frames import SweepFrame


@dataclass(frozen=True)
class FrameData:
    """The data of one frame under the spec's label.

    `replayed` is None where the frame's grid or its refinement is not finished.
    """

    sweep: SweepData
    lattice: SweepFrame
    table: pa.Table
    raster: Raster
    replayed: Replayed | None

    def labels(self) -> NDArray[np.int8]:
        """Return labels on the finest lattice, (ny, nx) int8: 1, 0 and -1 (not known)."""
        return labels(self.raster, self.sweep.spec.label.boundary)

    def estimates(self) -> dict[Data, Estimate]:
        """Estimate the dimension by every estimator that the frame's stages allow."""
        if self.replayed is None:
            return {}
        return estimates(self.replayed, label_of(self.sweep))


def read_frame(
    sweep: SweepData,
    frame: int | None = None,
    *,
    table: pa.Table | None = None,
    coarse: bool = False,
) -> FrameData:
    """Read a frame of a dataset; the last one by default.

    Parameters
    ----------
    frame
        Its number.
    table
        Rows of `points/`; None reads them.
    coarse
        Read the frame's grid instead of its refinement.
    """
    lattice = sweep.frame(frame)
    if coarse:
        lattice = grid_of(lattice)
    table = sweep.table() if table is None else table
    return fill_frame(sweep, lattice, table, sweep.store().read_failures(skip_corrupt=True))


def fill_frame(
    sweep: SweepData, lattice: SweepFrame, table: pa.Table, failures: pa.Table
) -> FrameData:
    """Make the data of a frame from rows of `points/` and `failures/`."""
    return FrameData(sweep, lattice, table, *fill_raster(sweep.spec, lattice, table, failures))


def grid_of(lattice: SweepFrame) -> SweepFrame:
    """Return the grid of a frame, without its refinement."""
    return replace(lattice, level=0, refinement=None)
