"""Catalog of figures by name: it decides how each figure is drawn from a sweep's dataset.

Modules such as matplotlib are imported only when a figure is drawn, so the command line can list
the figures quickly.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from fractal_ray.errors import SweepError, nearest
from fractal_ray.plane.color_schemes import Colors, color_scheme
from nanochat.errors import quoted

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure

    from fractal_ray.analysis.frame_data import FrameData
    from fractal_ray.analysis.sweep_data import SweepData
    from fractal_ray.figures.curves import Floats, Rows
    from fractal_ray.plane.boundary import Raster

KINDS: Final = {
    "panels": "label and loss as one number, final loss, and label, side by side",
    "panels4": "the three panels and stability",
    "heatmap": "label and loss as one number, alone",
    "loss": "log10(final loss + 0.1) of every run",
    "stability": "which points diverged",
    "outcomes": "the outcomes, with the boundary cells outlined",
    "boundary": "the boundary cells",
    "measured": "nodes that were run and nodes that were inferred",
    "zooms": "the places of the frames of zooms, by default in the first frame",
    "rank": "how fast runs converge or diverge, as arXiv 2402.06184 colours it",
    "convergence": "after how many steps the outcome no longer changes",
    "curves": "loss curves along a line across the frame",
    "advice": "the best point, the safe region and the margins to the cliff, with slices",
    "critical": "the critical rate against the amount of data, with the power law",
    "levels": "boundary cells over the levels of a refinement",
    "scaling": "the counts of each estimator at each scale; with a verification sheet its fit",
    "against-zoom": "the dimension of every frame",
    "against-steps": "the dimension, had training stopped earlier",
    "against-threshold": "the dimension under other thresholds of the label",
}
"""Kinds of figures with their descriptions."""

FILLABLE: Final = (
    "panels", "panels4", "heatmap", "loss", "stability", "outcomes", "zooms", "rank", "convergence"
)  # fmt: skip
"""Kinds of maps whose missing points may be painted like their neighbours."""

FINE: Final = ("heatmap", "loss", "stability", "boundary", "scaling")
"""Kinds of figures that fractal-llm writes with 300 pixels per inch."""

_FIRST_FRAME: Final = ("zooms", "advice", "critical")
"""Kinds that draw the first frame by default, not the last."""

_SPLITS: Final = ("outcomes", "zooms", "advice", "critical")
"""Kinds that tell `too_slow` from `degraded` whatever border the sweep follows."""
_COUNTS: Final = ("levels", "scaling")
"""Kinds of counts alone, without axes of the sweep."""

_AGAINST: Final[dict[str, Literal["zoom", "steps", "threshold"]]] = {
    "against-zoom": "zoom",
    "against-steps": "steps",
    "against-threshold": "threshold",
}


def title_of(sweep: "SweepData", frame: int | None = None) -> str:
    """Return the heading of a figure: sweep, workload, and the frame unless it is the first."""
    number = sweep.frame(frame).frame.id
    suffix = f", frame {number}" if number else ""
    return f"{sweep.spec.name}: {sweep.spec.workload.title}{suffix}"


def frame_of(sweep: "SweepData", kind: str, frame: int | None = None) -> int | None:
    """Return the frame that a kind draws for the frame of a user; None means the last, or all."""
    if kind == "against-zoom":
        return None
    if frame is not None or kind not in _FIRST_FRAME:
        return frame
    frames = sweep.frames
    return min(frames) if kind == "zooms" or len(frames) > 1 else None


def dpi_of(kind: str) -> int:
    """Return the default pixels per inch of a kind."""
    return 300 if kind in FINE else 150


def draw(
    sweep: "SweepData",
    kind: str,
    *,
    frame: int | None = None,
    colors: Colors = "safe",
    fill: bool = False,
    line: str | None = None,
    force: bool = False,
) -> "Figure":
    """Draw a figure of a sweep from its dataset.

    Parameters
    ----------
    sweep
    kind
        One of `KINDS`.
    frame
        Number of the frame; None: the last, or for "zooms", "advice" and "critical" the first.
        "against-zoom" shows all frames.
    colors
        "safe": colours that differ in every common form of colour blindness; "fractal-llm": the
        reds, blues and greens of fractal-llm and, for "rank", the colours of arXiv 2402.06184.
    fill
        For maps: paint points without an outcome in the colour of the nearest point with one. They
        carry dots, and heading and legend give their number. Labels, counts and dimensions ignore
        the painted points.
    line
        For "curves": the line, as for `fractal_ray.figures.profile.line_of`.
    force
        For "scaling" and "against-...": draw dimensions without a verification sheet too, marked.

    Raises
    ------
    SweepError
        For a kind that does not exist, an option that the kind does not have, or a dataset without
        the data for the figure. The message gives the reason.
    """
    if kind not in KINDS:
        raise SweepError(
            f"there is no figure {quoted(kind)}{nearest(kind, KINDS)}; there are {', '.join(KINDS)}"
        )
    takes = {
        "--fill": (fill, FILLABLE),
        "--line": (line is not None, ("curves",)),
        "--force": (force, ("scaling", *_AGAINST)),
        "--frame": (frame is not None, tuple(each for each in KINDS if each != "against-zoom")),
    }
    for option, (is_set, kinds) in takes.items():
        if is_set and kind not in kinds:
            raise SweepError(f"{option} is of the figures {', '.join(kinds)}, not of {kind!r}")
    scheme = color_scheme(colors)
    scene = _Scene(sweep, frame_of(sweep, kind, frame), scheme, fill, line, force)
    return _draw(scene, kind)


def draw_all(
    sweep: "SweepData",
    *,
    frame: int | None = None,
    colors: Colors = "safe",
    fill: bool = False,
    line: str | None = None,
    force: bool = False,
) -> Iterator[tuple[str, "Figure | SweepError"]]:
    """Draw all kinds in turn; yield each figure, or the error if the dataset lacks its data.

    Parameters are those of `draw`, and go to the kinds that have them.

    Raises
    ------
    SweepError
        For a frame or a line that does not exist.
    """
    sweep.frame(frame)
    scene = _Scene(sweep, frame, color_scheme(colors), fill, line, force)
    if line is not None:
        from fractal_ray.figures.profile import line_of

        line_of(scene.data, line)
    for kind in KINDS:
        kind_scene = scene
        if frame_of(sweep, kind, frame) != frame:
            kind_scene = replace(scene, frame=frame_of(sweep, kind, frame))
        if kind not in FILLABLE and fill:
            kind_scene = replace(kind_scene, fill=False)
        try:
            yield kind, _draw(kind_scene, kind)
        except SweepError as error:
            yield kind, error


@dataclass(frozen=True)
class _Scene:
    """Options of a figure, and the dataset, read once."""

    sweep: "SweepData"
    frame: int | None
    colors: Colors
    fill: bool
    line: str | None
    force: bool

    @functools.cached_property
    def table(self) -> "pa.Table":
        return self.sweep.table()

    @functools.cached_property
    def data(self) -> "FrameData":
        from fractal_ray.analysis.frame_data import read_frame

        return read_frame(self.sweep, self.frame, table=self.table)

    @functools.cached_property
    def raster(self) -> "Raster":
        """Return the frame's map, filled if the options say so."""
        from fractal_ray.figures.tiles import Filled

        return Filled(**vars(self.data.raster)) if self.fill else self.data.raster

    @functools.cached_property
    def title(self) -> str:
        from fractal_ray.figures.tiles import filled

        title, painted = title_of(self.sweep, self.frame), filled(self.raster)
        note = f"\n{painted:,} points without an outcome painted like the nearest that has one"
        return title + note if painted else title


def _draw(scene: _Scene, kind: str) -> "Figure":
    from fractal_ray.figures.notes import add_foot, notes_on

    figure = _figure(scene, kind)
    if kind not in (*_AGAINST, *_COUNTS):
        add_foot(figure, notes_on(scene.sweep, scene.raster, splits=kind in _SPLITS))
    return figure


def _figure(scene: _Scene, kind: str) -> "Figure":
    from fractal_ray.figures import curve_maps, curves, maps, single_maps

    spec, colors, boundary = scene.sweep.spec, scene.colors, scene.sweep.spec.label.boundary
    if kind in _AGAINST:
        return _against(scene, _AGAINST[kind])
    raster, title = scene.raster, scene.title
    match kind:
        case "panels":
            return maps.three_panel(raster, title=title, label=boundary, colors=colors)
        case "panels4":
            return maps.four_panel(raster, title=title, label=boundary, colors=colors)
        case "heatmap":
            return single_maps.heat_map(raster, title=title, boundary=boundary, colors=colors)
        case "loss":
            return single_maps.loss_map(raster, title=title, boundary=boundary)
        case "stability":
            return single_maps.stability_map(raster, title=title, colors=colors)
        case "outcomes":
            return maps.outcome_map(raster, title=title, boundary=boundary)
        case "boundary":
            return single_maps.boundary_map(raster, title=title, boundary=boundary)
        case "measured":
            return maps.measured_map(raster, title=title, boundary=boundary)
        case "zooms":
            return _zooms(scene)
        case "rank":
            ranked = _of_rows(scene, curves.measures)
            return curve_maps.rank_figure(
                raster, ranked, title=title, boundary=boundary, colors=colors
            )
        case "convergence":
            steps = _of_rows(scene, curves.settled)
            return curve_maps.settled_map(raster, steps, title=title, boundary=boundary)
        case "curves":
            from fractal_ray.figures.profile import line_of
            from fractal_ray.figures.profile_plot import curves_figure

            line = line_of(scene.data, scene.line)
            return curves_figure(line, spec.label.criterion, title=title, boundary=boundary)
        case "levels":
            return _levels(scene)
        case "advice" | "critical":
            return _advice(scene, kind)
        case _:
            return _scaling(scene)


def _of_rows(scene: _Scene, rows: "Rows") -> "Floats":
    from fractal_ray.figures.curves import on_lattice

    data = scene.data
    return on_lattice(scene.sweep.rule, data.lattice, data.table, data.raster, rows)


def _zooms(scene: _Scene) -> "Figure":
    from fractal_ray.figures.nesting import no_zooms
    from fractal_ray.figures.zoom_boxes import zoom_boxes

    lattices = scene.sweep.frames
    if all(lattice.zoom is None for lattice in lattices.values()):
        raise no_zooms(scene.sweep)
    number, boundary = scene.data.lattice.frame.id, scene.sweep.spec.label.boundary
    return zoom_boxes(scene.raster, lattices, number, title=scene.title, boundary=boundary)


def _advice(scene: _Scene, kind: str) -> "Figure":
    from fractal_ray.analysis.advice.advise import advise
    from fractal_ray.figures.advice import advice_figure
    from fractal_ray.figures.critical import critical_figure

    figure = advice_figure if kind == "advice" else critical_figure
    return figure(advise(scene.data), title=scene.title)


def _levels(scene: _Scene) -> "Figure":
    from fractal_ray.figures.scaling_plots import levels_figure

    _finished(scene)
    audit = scene.data.replayed.audit if scene.data.replayed else None
    if audit is None:
        number = scene.data.lattice.frame.id
        raise SweepError(f"frame {number} was not refined: it has one level only")
    boundary = scene.sweep.spec.label.boundary
    return levels_figure(audit, title=scene.title, boundary=boundary)


def _scaling(scene: _Scene) -> "Figure":
    from fractal_ray.analysis.replay import best
    from fractal_ray.analysis.verify.kept_sheet import read_sheet
    from fractal_ray.analysis.verify.sheet import UNVERIFIED
    from fractal_ray.figures.scaling_plots import scaling_figure

    _finished(scene)
    estimates, sheet = scene.data.estimates(), read_sheet(scene.data)
    verified = sheet is not None and sheet["dimension"] is not None
    note = f"verdict: {UNVERIFIED if sheet is None else sheet['verdict']}"
    if not verified:
        note += "; dimensions are not verified" if scene.force else "; no dimension is given"
    return scaling_figure(
        estimates,
        title=scene.title,
        note=note,
        dimensions=verified or scene.force,
        recommended=best(estimates),
    )


def _against(scene: _Scene, against: Literal["zoom", "steps", "threshold"]) -> "Figure":
    from fractal_ray.analysis import series
    from fractal_ray.figures.against import against_figure

    sweep, label = scene.sweep, scene.sweep.spec.label
    title = title_of(sweep, scene.frame)
    if against == "zoom":
        first = title_of(sweep, min(sweep.frames))
        entries = series.against_zoom(sweep, force=scene.force)
        return against_figure(entries, "zoom", title=first)
    measure, own = series.against_threshold, label.threshold
    if against == "steps":
        measure, own = series.against_steps, None
    entries = measure(sweep, scene.frame, force=scene.force)
    return against_figure(entries, against, title=title, own=own)


def _finished(scene: _Scene) -> None:
    if scene.data.replayed is None:
        raise SweepError(
            f"frame {scene.data.lattice.frame.id} of {scene.sweep.location} is not finished; run"
            f" it first: {scene.sweep.run_command}"
        )
