"""Views of a sweep in a notebook: its points, a frame's map, its dimension, and a summary.

The methods of `fractal_ray.sweep.Sweep` call this module at use, so that pandas and matplotlib are
loaded only for a view.
"""

import base64
import io
import sys
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fractal_ray.analysis.frame_data import FrameData, read_frame
from fractal_ray.analysis.summary import Analysis, analyze_frame
from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.dataset.relabel import outcomes, ratios
from fractal_ray.dataset.secrets import without_secrets
from fractal_ray.errors import SweepError
from fractal_ray.plane.boundary import BoundaryCells, Raster, boundary_cells, label, labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

_ORDER = ["frame", "level", "iy", "ix"]


@dataclass(frozen=True, repr=False)
class Map:
    """Outcomes of a frame on its finest lattice; a notebook shows them as a picture.

    Parameters
    ----------
    name, frame
        Name of the sweep, and the frame's number.
    boundary
        "trainable" or "stable": the label of `labels` and `boundary_cells`.
    raster
        Outcomes, losses and axis values, (ny, nx); nodes that were run and inferred nodes.
    notes
        Notes at the foot of the picture, on rates and on the outcomes.
    """

    name: str
    frame: int
    boundary: str
    raster: Raster
    notes: tuple[str, ...] = ()

    @property
    def labels(self) -> NDArray[np.int8]:
        """Return the labels, (ny, nx): 1 (yes), 0 (no), -1 (not known)."""
        return labels(self.raster, self.boundary)

    @property
    def boundary_cells(self) -> BoundaryCells:
        """Return the cells whose corners disagree."""
        return boundary_cells(self.labels)

    @property
    def title(self) -> str:
        """Return the names of sweep and frame."""
        return f"{self.name}, frame {self.frame}" if self.frame else self.name

    def figure(self) -> "Figure":
        """Draw the picture."""
        from fractal_ray.figures.maps import outcome_map
        from fractal_ray.figures.notes import add_foot

        figure = outcome_map(self.raster, title=self.title, boundary=self.boundary)
        add_foot(figure, self.notes)
        return figure

    def __repr__(self) -> str:
        """Return the size of the map and the numbers of its nodes as one line, and the notes."""
        raster, cells = self.raster, self.boundary_cells
        ny, nx = raster.outcome.shape
        run, known = int(raster.measured.sum()), int(raster.known.sum())
        parts = [f"{nx} x {ny} nodes", f"{run:,} run", f"{known - run:,} inferred"]
        parts += [f"{nx * ny - known:,} not known"] if known < nx * ny else []
        line = f"{self.title}: {', '.join(parts)}; {cells.n_mixed:,} boundary cells"
        return "\n  ".join([line, *self.notes])

    def _repr_png_(self) -> bytes:
        return _png(self.figure(), dpi=80)


@dataclass(frozen=True, repr=False)
class Dimension:
    """Dimension of a border with its verdict.

    Parameters
    ----------
    name, frame
        Name of the sweep, and the frame's number.
    value, interval
        The dimension and its 95 % interval; None unless a verification sheet allows one.
    method
        The estimator and its range of scales, in words; None like `value`.
    verdict
        Verdict of the sheet, or "unverified".
    reasons
        Reasons of the verdict; without a sheet, the command that makes one.
    """

    name: str
    frame: int
    value: float | None
    interval: tuple[float, float] | None
    method: str | None
    verdict: str
    reasons: tuple[str, ...]

    @property
    def line(self) -> str:
        """Return number and verdict as one line."""
        if self.value is None:
            return f"no dimension: {self.verdict}"
        within = "" if self.interval is None else " (95 %: {:.3f} to {:.3f})".format(*self.interval)
        return f"D = {self.value:.3f}{within}: {self.verdict}"

    def __repr__(self) -> str:
        """Return all fields as text."""
        lines = [f"{self.name}, frame {self.frame}: {self.line}", *self.reasons]
        return "\n  ".join([*lines, self.method] if self.method else lines)

    def _repr_html_(self) -> str:
        head, *rest = str(self).split("\n")
        return "<br>".join([f"<b>{escape(head)}</b>", *map(escape, rest)])


def points_of(sweep: SweepData) -> "DataFrame":
    """Return all evaluations as a pandas DataFrame; `Sweep.points` describes it."""
    table = _rows(sweep, None).table
    rule = sweep.rule
    row_outcomes = outcomes(table, rule)
    points = table.drop_columns(["tail_loss"]).to_pandas()
    points["outcome"] = [outcome.stored.value for outcome in row_outcomes]
    now = ratios(table, rule)
    points["ratio"] = np.where(np.isnan(now), points["ratio"], now)
    place = points.columns.get_loc("outcome") + 1
    points.insert(place, "detail", [outcome.value for outcome in row_outcomes])
    points.insert(place, "label", [label(outcome, rule.boundary) for outcome in row_outcomes])
    return points.sort_values(_ORDER, kind="stable", ignore_index=True)


def map_of(sweep: SweepData, frame: int | None) -> Map:
    """Return the map of a frame; None for the last frame."""
    return _map(_rows(sweep, frame))


def dimension_of(sweep: SweepData, frame: int | None) -> Dimension:
    """Return the dimension that `analyze` allows for a frame, by default the last."""
    data = _rows(sweep, frame)
    return _dimension(data, analyze_frame(data))


def figure_of(sweep: SweepData, kind: str, frame: int | None, **options: Any) -> "Figure":
    """Draw a figure by its kind."""
    from fractal_ray.figures.catalog import draw

    figure = draw(sweep, kind, frame=frame, **options)
    _let_notebooks_show(type(figure))
    return figure


def page_of(sweep: SweepData) -> str:
    """Return counts, stages, a small map and the dimension, as HTML without scripts."""
    spec = sweep.spec
    stages = ", ".join(stage.name for stage in spec.stages)
    axes = f"{spec.axes.x.param} × {spec.axes.y.param}"
    lines = [f"<b>{escape(spec.name)}</b>", escape(spec.workload.title), escape(axes)]
    lines += [
        f"stages: {escape(stages)}",
        f"dataset: <code>{escape(without_secrets(sweep.location))}</code>",
    ]
    if sweep.store().is_empty():
        return "<br>".join([*lines, "nothing has been run yet"])
    data = read_frame(sweep)
    analysis, number = analyze_frame(data), data.lattice.frame.id
    counts = ", ".join(f"{n:,} {escape(name)}" for name, n in analysis.outcomes.items())
    lines.append(f"{analysis.points:,} points: {counts}")
    frames = len(sweep.frames)
    below = f"frame {number}, the last of {frames}: " if frames > 1 else ""
    cells = f"{analysis.boundary_cells:,} boundary cells ({escape(analysis.boundary)})"
    lines += [f"{below}{cells}", escape(_dimension(data, analysis).line)]
    small_map = _map(data)
    lines += map(escape, small_map.notes)
    picture = base64.b64encode(_png(small_map.figure(), dpi=50)).decode()
    image = f'<img alt="{escape(small_map.title)}" src="data:image/png;base64,{picture}">'
    return "<br>".join([*lines, image])


def _dimension(data: FrameData, analysis: Analysis) -> Dimension:
    # Without `force` there are estimates only if a sheet allows a number.
    chosen = analysis.estimates.get(analysis.recommended or "")
    reasons = analysis.reasons
    if data.replayed is None or data.replayed.unfinished:
        command = data.sweep.run_command
        reasons = (f"the frame is not finished; run it first: sweep.run(), or {command}",)
    return Dimension(
        name=analysis.name,
        frame=analysis.frame,
        value=analysis.dimension,
        interval=None if chosen is None else chosen.interval,
        method=None if chosen is None else str(chosen),
        verdict=analysis.verdict,
        reasons=reasons,
    )


def _map(data: FrameData) -> Map:
    from fractal_ray.figures.notes import notes_on

    spec = data.sweep.spec
    notes = tuple(notes_on(data.sweep, data.raster, splits=True))
    return Map(spec.name, data.lattice.frame.id, spec.label.boundary, data.raster, notes)


def _let_notebooks_show(figure: type) -> None:
    """Register matplotlib's figures with IPython.

    IPython itself does so only for figures of pyplot, when the first of them is made.
    """
    if "IPython" not in sys.modules:
        return
    from IPython.core.getipython import get_ipython
    from IPython.core.pylabtools import select_figure_formats

    shell = get_ipython()
    formatter = getattr(shell, "display_formatter", None)
    if formatter is None:
        return
    known = (form.type_printers for form in formatter.formatters.values())
    if not any(figure in printers for printers in known if printers is not None):
        select_figure_formats(shell, {"png"})


def _rows(sweep: SweepData, frame: int | None) -> FrameData:
    if sweep.store().is_empty():
        raise SweepError(
            f"nothing of {sweep.spec.name} has been run yet: there is no dataset at"
            f" {sweep.location}; run it: sweep.run(), sweep.run(engine='local') in this process, or"
            f" {sweep.run_command}"
        )
    return read_frame(sweep, frame)


def _png(figure: "Figure", dpi: int) -> bytes:
    from fractal_ray.figures.style import shared_style

    picture = io.BytesIO()
    with shared_style():
        figure.savefig(picture, format="png", dpi=dpi)
    return picture.getvalue()
