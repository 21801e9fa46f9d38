"""What follows a sweep from outside: one more view of its progress, told once how it ended."""

from typing import TYPE_CHECKING

from fractal_ray.engine.progress import Progress, View

if TYPE_CHECKING:
    from fractal_ray.analysis.summary import Analysis
    from fractal_ray.plane.boundary import Raster


class Tracker:
    """A view of a sweep. This one keeps nothing: it is for sweeps that are not tracked."""

    def __call__(self, progress: Progress) -> None:
        """Take a state of the running sweep; returns at once."""

    def end(self, result: "Analysis", raster: "Raster", progress: Progress, figure: str) -> None:
        """Take what a sweep that has ended shows.

        Parameters
        ----------
        result, raster
            Of `fractal_ray.analysis.summary.analyze`.
        progress
            The last state.
        figure
            The map as a picture, a path within the sweep's folder.
        """


def both(first: View, second: View) -> View:
    """Two views as one."""

    def view(progress: Progress) -> None:
        first(progress)
        second(progress)

    return view
