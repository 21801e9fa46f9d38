"""Base class of trackers: a view of a sweep's progress that also receives its result."""

from typing import TYPE_CHECKING

from fractal_ray.engine.progress import Progress, View

if TYPE_CHECKING:
    from fractal_ray.analysis.summary import Analysis
    from fractal_ray.plane.boundary import Raster


class Tracker:
    """View of a sweep. This base class keeps nothing: it serves sweeps that are not tracked."""

    def __call__(self, progress: Progress) -> None:
        """Receive a state of the running sweep; returns at once."""

    def end(
        self, result: "Analysis", raster: "Raster", progress: Progress, figure: str | None
    ) -> None:
        """Receive the result of a sweep that has ended.

        Parameters
        ----------
        result, raster
            Results of `fractal_ray.analysis.summary.analyze`.
        progress
            The last state.
        figure
            Path of the map's picture within the sweep's folder; None without a picture.
        """


def both(first: View, second: View) -> View:
    """Combine two views into one."""

    def view(progress: Progress) -> None:
        first(progress)
        second(progress)

    return view
