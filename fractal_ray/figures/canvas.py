"""Functions that make empty figures and write figures and movies to files.

Figures are plain `matplotlib.figure.Figure` objects on an Agg canvas, without pyplot, so they can
be made in any thread and need no screen.
"""

import contextlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from fractal_ray.errors import SweepError
from fractal_ray.figures.style import shared_style
from nanochat.errors import user_path
from nanochat.files.atomic import temporary_beside
from nanochat.files.outputs import output_file, writing

FORMATS: Final = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
"""Suffixes that `save` writes, each with the metadata to leave out, so equal figures give equal
bytes."""


def new_figure(inches: tuple[float, float], title: str, note: str = "") -> Figure:
    """Make an empty figure with a heading and its second line."""
    figure = Figure(figsize=inches, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{title}\n{note}" if note else title)
    return figure


def set_scales(axes: Axes, x_scale: str, y_scale: str) -> None:
    """Set the scales of both axes, with plain numbers at the ticks of a log axis."""
    axes.set_xscale(x_scale)
    axes.set_yscale(y_scale)
    for axis, scale in ((axes.xaxis, x_scale), (axes.yaxis, y_scale)):
        if scale == "log":
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())


def color_patch(name: str, color: Any) -> Patch:
    """Make the legend entry of a colour."""
    return Patch(facecolor=color, edgecolor="black", linewidth=0.5, label=name)


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 150) -> Path:
    """Write a figure whole or not at all, and free its memory.

    Parameters
    ----------
    figure
        A figure of this package; it is empty afterwards.
    path
        Local file whose suffix is one of `FORMATS`: PNG, SVG or PDF. Missing folders are made.
    dpi
        Dots per inch, in SVG and PDF of the maps in them.

    Returns
    -------
    The path written.

    Raises
    ------
    SweepError
        If the suffix is another, or the file cannot be written.
    """
    target = user_path(os.fspath(path), SweepError)
    suffix = target.suffix.lower()
    if suffix not in FORMATS:
        raise SweepError(f"cannot write {target.name!r}: use one of {', '.join(FORMATS)}")
    try:
        with whole_file(target) as part, shared_style():
            figure.savefig(part, format=suffix[1:], dpi=dpi, metadata=FORMATS[suffix])
    finally:
        figure.clear()
    return target


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Open a temporary path that is renamed to `target` at the end; missing folders are made.

    Raises
    ------
    SweepError
        If the file cannot be written.
    """
    output_file(target, SweepError)
    part = temporary_beside(target, f"{uuid.uuid4().hex}.part")
    try:
        with writing(target, SweepError):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield part
            part.replace(target)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
