"""Interactive map for notebooks: a rectangle dragged on it is run as a new sweep.

    %matplotlib widget
    from fractal_ray.figures.zoom_map import ZoomMap
    ZoomMap(sweep, engine="local")

Dragging needs ipympl (`pip install -e '.[notebook]'`); under any other backend of matplotlib the
map is a picture, and `Sweep.zoom` runs a rectangle from a cell.
"""

import textwrap
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, Self

from fractal_ray.errors import SweepError, SweepStoppedError
from fractal_ray.figures.coloring import colormap
from fractal_ray.figures.notebook import Map
from fractal_ray.figures.panels import label_panel
from fractal_ray.figures.ruler import Ruler
from fractal_ray.figures.tiles import rulers
from fractal_ray.plane.axes import Axis
from fractal_ray.plane.cut_axis import coordinate_at, value_at
from fractal_ray.spec.frames import SweepFrame

if TYPE_CHECKING:
    from matplotlib.backend_bases import MouseEvent
    from matplotlib.widgets import RectangleSelector

_SMALLEST = 0.005  # of a side: a smaller rectangle counts as a click


class ZoomableSweep(Protocol):
    """The methods of `fractal_ray.Sweep` that a `ZoomMap` calls."""

    def frame(self, number: int | None = None) -> SweepFrame:
        """Return a frame; None for the last."""
        ...

    def map(self, frame: int | None = None) -> Map:
        """Return the map of a frame; None for the last."""
        ...

    def zoom(self, x: tuple[float, float], y: tuple[float, float], **options: Any) -> Self:
        """Run a rectangle of a frame as a new sweep."""
        ...


class ZoomMap:
    """Map of a frame; a rectangle that is dragged on it is run and becomes the map.

    Parameters
    ----------
    sweep
        A finished sweep.
    frame
        Number of the frame to begin with; None for the last.
    how
        Options of `Sweep.zoom` for every rectangle: `points`, `levels`, `storage`, `engine`, ...
    """

    def __init__(self, sweep: ZoomableSweep, frame: int | None = None, **how: Any) -> None:
        from matplotlib import pyplot

        self._how = how
        self._shown: list[tuple[ZoomableSweep, int]] = [(sweep, sweep.frame(frame).frame.id)]
        self.figure, self._axes = pyplot.subplots(figsize=(7, 6), layout="constrained")
        self._selector: RectangleSelector | None = None
        self._draw()

    @property
    def sweep(self) -> ZoomableSweep:
        """Return the sweep of the current map."""
        return self._shown[-1][0]

    @property
    def frame(self) -> int:
        """Return the number of the frame of the current map."""
        return self._shown[-1][1]

    def back(self) -> None:
        """Show the previous map again."""
        if len(self._shown) > 1:
            self._shown.pop()
            self._draw()

    def selected(self, press: "MouseEvent", release: "MouseEvent") -> None:
        """Run the rectangle between two events and show it; the selector calls this."""
        frame = self.sweep.frame(self.frame).frame
        x = _range(frame.x, self._rulers[0], (press.xdata, release.xdata))
        y = _range(frame.y, self._rulers[1], (press.ydata, release.ydata))
        if x is None or y is None:
            return
        self._say("running ...")
        try:
            closer = self.sweep.zoom(x, y, frame=self.frame, **self._how)
        except SweepError as error:
            self._say(str(error))
            return
        except SweepStoppedError:
            self._say("the zoom has stopped; its error is below the map, or in the log")
            raise
        self._shown.append((closer, closer.frame().frame.id))
        self._draw()

    def _draw(self) -> None:
        from matplotlib.widgets import RectangleSelector

        current, axes = self.sweep.map(self.frame), self._axes
        self._rulers = rulers(current.raster)
        if self._selector is not None:
            self._selector.disconnect_events()  # the box that it draws goes with the old map
        axes.clear()
        label_panel(axes, current.raster, current.boundary, colormap("label"))
        # The reference is needed: a selector without one stops answering.
        self._selector = RectangleSelector(axes, self.selected, useblit=True)
        self._say(current.title)

    def _say(self, text: str) -> None:
        self._axes.set_title("\n".join(textwrap.wrap(text, 70)), fontsize=10)
        self.figure.canvas.draw_idle()
        self.figure.canvas.flush_events()


def _range(
    axis: Axis, along: Ruler, places: tuple[float | None, float | None]
) -> tuple[float, float] | None:
    """Return the values between two places of a picture; None for a click or off the map."""
    first, last = places
    if first is None or last is None:
        return None
    # A ruler is affine in the axis's own coordinate, in which shares of a frame count.
    low, high = (along.position_at(end) for end in axis.ends())
    shares = sorted(min(max((place - low) / (high - low), 0.0), 1.0) for place in (first, last))
    if shares[1] - shares[0] < _SMALLEST:
        return None
    values = (value_at(axis, coordinate_at(axis, Decimal(share))) for share in shares)
    lower, upper = (min(max(value, axis.min), axis.max) for value in values)
    return lower, upper
