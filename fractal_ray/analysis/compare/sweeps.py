"""Comparison of two sweeps point by point: the settings that differ and the effect on the map.

Nodes of A and B coincide if their values are equal float64 numbers, whatever grids and levels they
come from. Both sides are labelled by A's rule. `disagreement.py` has the statistics of labels. The
interval of the difference of two dimensions is computed from their intervals (MOVER: Zou and
Donner, Stat. Med. 27, 1693 (2008)); it is wider than necessary if both have a common error.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fractal_ray.analysis.compare.common_frames import (
    SideFrame,
    choose_frames,
    common_rasters,
    read_side,
    same_place,
)
from fractal_ray.analysis.compare.disagreement import (
    FAR,
    apart,
    correlation,
    outcome_table,
    steps_to_border,
    wilson,
    yes_difference,
)
from fractal_ray.analysis.compare.result import (
    Comparison,
    Difference,
    Dimensions,
    Interval,
    Share,
    Side,
)
from fractal_ray.analysis.frame_data import FrameData
from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.analysis.verify.kept_sheet import read_sheet, verify_command
from fractal_ray.dimension import transects
from fractal_ray.dimension.recommend import PREFERRED
from fractal_ray.dimension.result import Estimate
from fractal_ray.errors import SweepError
from fractal_ray.plane.boundary import UNKNOWN, boundary_cells, labels
from fractal_ray.spec.yaml_file import parse_spec
from nanochat.errors import quoted


def compare(a: SweepData, b: SweepData, *, frame: int | None = None) -> Comparison:
    """Compare two sweeps on the nodes that they have in common.

    Parameters
    ----------
    a, b
        The sweeps; only their datasets are read. The rule that labels A labels B as well, from
        the stored curves.
    frame
        Number of the frame in both; None for the last frame that is one rectangle in both, or the
        last frame of each if there is none.

    Raises
    ------
    SweepError
        If a side holds no runs, the axes differ, the frames have fewer than 2 x 2 nodes in common,
        or B's runs cannot be labelled by A's rule.
    """
    _check_axes(a, b)
    other, notes = _labelled_as(a, b)
    lattices, chosen = choose_frames(a, b, frame)
    side_frames = (
        read_side("A", a, lattices[0]),
        read_side("B", other, lattices[1]),
    )
    notes += chosen + side_frames[0].notes + side_frames[1].notes
    data = side_frames[0].data, side_frames[1].data
    common = common_rasters(*data)
    boundary = a.spec.label.boundary
    labelled = labels(common[0], boundary), labels(common[1], boundary)
    both = (labelled[0] >= 0) & (labelled[1] >= 0)
    # Borders are compared on nodes that both sides know: elsewhere one of them has no counterpart.
    shared = [np.where(both, each, UNKNOWN).astype(np.int8) for each in labelled]
    changed = both & (labelled[0] != labelled[1])
    to_yes = int((changed & (labelled[1] == 1)).sum())
    dimensions, why = _dimensions(side_frames, shared)
    sides = [_side(data[i], labelled[i], both, changed) for i in (0, 1)]
    run = common[0].measured & common[1].measured
    if inferred := int((both & ~run).sum()):
        notes += (f"{inferred:,} nodes were not run in both: their cell's label stands for them",)
    return Comparison(
        a=sides[0],
        b=sides[1],
        differences=_differences(_settings(a, data[0].table), _settings(b, data[1].table)),
        lattice=(common[0].x.size, common[0].y.size),
        label=a.spec.label.model_dump(),
        run_in_both=int(run.sum()),
        outcomes=outcome_table(common[0].outcome[run], common[1].outcome[run]),
        agree=wilson(int((both & ~changed).sum()), int(both.sum())),
        to_yes=to_yes,
        to_no=int(changed.sum()) - to_yes,
        correlation=correlation(labelled[0][both], labelled[1][both]),
        apart=apart(*(boundary_cells(each).mixed for each in shared)),
        yes_difference=yes_difference(labelled, both),
        dimensions=dimensions,
        no_dimensions=why,
        notes=notes,
        rasters=common,
    )


# Settings -----------------------------------------------------------------------------------


def _check_axes(a: SweepData, b: SweepData) -> None:
    """Raise SweepError if the axes of two sweeps differ in their parameter or scale."""
    for side in ("x", "y"):
        axis_a, axis_b = (getattr(sweep.spec.axes, side) for sweep in (a, b))
        if (axis_a.param, axis_a.scale) != (axis_b.param, axis_b.scale):
            raise SweepError(
                f"axis {side} is {axis_a.param} ({axis_a.scale}) in {a.location} and {axis_b.param}"
                f" ({axis_b.scale}) in {b.location}; sweeps are compared over the same axes"
            )


def _labelled_as(a: SweepData, b: SweepData) -> tuple[SweepData, tuple[str, ...]]:
    """Return B under A's label and a note on the change; B itself if it has A's label."""
    rule = a.spec.label
    if b.spec.label == rule:
        return b, ()
    raw = {**b.spec.model_dump(mode="json", exclude_none=True), "label": rule.model_dump()}
    spec = parse_spec(raw, origin=f"{b.location} under the label of {a.location}")
    return SweepData(spec, b.location, b.given_workload, b.skip_corrupt), (
        "B has another label than A and is labelled by A's, from its stored curves",
    )


def _settings(sweep: SweepData, table: pa.Table) -> dict[str, Any]:
    """Return the settings that may differ, flat: the recipe with its defaults, and the devices."""
    whole = sweep.spec.model_dump(mode="json", exclude_none=True)
    header = sweep.header() or {}
    if "recipe" in whole["workload"]:
        whole["workload"]["recipe"] = header.get("recipe", whole["workload"]["recipe"])
    parts = {name: whole[name] for name in ("workload", "axes", "stages", "label")}
    return {
        **_flat(parts),
        "fingerprint of model, data and code": str(header.get("fingerprint"))[:12],
        "device": ", ".join(sorted(set(table.column("device").to_pylist()))),
    }


def _flat(value: Any, at: str = "") -> dict[str, Any]:
    """Return nested settings as one level, with dotted keys that begin with `at`."""
    if isinstance(value, Mapping):
        items = [(str(key), each) for key, each in value.items()]
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        items = [(str(number), each) for number, each in enumerate(value)]
    else:
        return {at: value}
    flat: dict[str, Any] = {}
    for key, each in items:
        flat |= _flat(each, f"{at}.{key}" if at else key)
    return flat


def _differences(a: dict[str, Any], b: dict[str, Any]) -> tuple[Difference, ...]:
    keys = [*a, *(key for key in b if key not in a)]
    return tuple(
        Difference(key, a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)
    )


# Sides --------------------------------------------------------------------------------------


def _side(
    data: FrameData,
    side_labels: NDArray[np.int8],
    both: NDArray[np.bool_],
    changed: NDArray[np.bool_],
) -> Side:
    """Return one side of the comparison.

    Parameters
    ----------
    data, side_labels
        The side's frame, and its labels on the common lattice.
    both, changed
        (ny, nx), True at nodes whose label is known in both, and at nodes whose labels differ.
    """
    frame, raster = data.lattice.frame, data.raster
    steps = steps_to_border(side_labels)
    flips = [
        wilson(int((changed & (steps == step)).sum()), int((both & (steps == step)).sum()))
        for step in range(FAR + 1)
    ]
    return Side(
        name=data.sweep.spec.name,
        location=data.sweep.location,
        frame=frame.id,
        x=(frame.x.min, frame.x.max),
        y=(frame.y.min, frame.y.max),
        nodes=(raster.x.size, raster.y.size),
        yes_share=float((side_labels[both] == 1).mean()) if both.any() else None,
        flips=(flips[0], flips[1], flips[2], flips[3]),
        reruns=_reruns(data, flips[0]),
        parts_left_out=len(data.sweep.damaged_parts()),
    )


def _reruns(data: FrameData, border: Share) -> tuple[tuple[str, Share, str], ...]:
    """Compare the flips on a side's border with the reruns on its own verification sheet."""
    sheet = read_sheet(data)
    reruns = []
    for each in [] if sheet is None else sheet["evidence"]["flips"]:
        if each["low"] is None or border.low is None or border.high is None:
            continue
        verdict = "no more"
        if border.low > each["high"] or border.high < each["low"]:
            verdict = "more" if border.low > each["high"] else "fewer"
        share = Share(each["flips"], each["runs"], each["low"], each["high"])
        reruns.append((each["check"], share, verdict))
    return tuple(reruns)


# Dimensions ---------------------------------------------------------------------------------


def _dimensions(
    side_frames: tuple[SideFrame, SideFrame], shared: list[NDArray[np.int8]]
) -> tuple[Dimensions | None, str]:
    """Return the dimensions of both sides, or None and the reason why there are none."""
    lacking = [reason for each in side_frames if (reason := _no_dimension(each))]
    if lacking:
        return None, "; ".join(dict.fromkeys(lacking))
    data = side_frames[0].data, side_frames[1].data
    by_data = data[0].estimates(), data[1].estimates()
    for choice in PREFERRED:
        pair = by_data[0].get(choice.data), by_data[1].get(choice.data)
        if pair[0] is not None and pair[1] is not None and _same_scales(data, pair[0], pair[1]):
            return _difference(pair[0], pair[1]), ""
    on_common = [transects.from_raster(node_labels) for node_labels in shared]
    if (
        on_common[0].value is None
        or on_common[1].value is None
        or on_common[0].fit_scales != on_common[1].fit_scales
    ):
        return None, (
            "no estimator has the same scales on both sides, and their common lattice is too small"
            " for one of its own"
        )
    return _difference(on_common[0], on_common[1]), ""


def _no_dimension(side_frame: SideFrame) -> str:
    """Return the reason why a side has no dimension; "" if it has one."""
    data = side_frame.data
    sheet, frame = read_sheet(data), data.lattice.frame.id
    where = f"frame {frame} of {data.sweep.location}"
    if not side_frame.finished:
        return f"{where} is not finished; go on with it: {data.sweep.run_command}"
    if sheet is None:
        return f"{where} has no verification sheet ({verify_command(data)})"
    if sheet["dimension"] is None:
        return f"the verdict on {where} is {quoted(sheet['verdict'])}, which gives no dimension"
    return ""


def _same_scales(data: tuple[FrameData, FrameData], a: Estimate, b: Estimate) -> bool:
    """Return True if two estimates were made over equal scales on frames of one rectangle."""
    one, other = data[0].lattice, data[1].lattice
    steps = [
        (each.frame.cells_x << each.level, each.frame.cells_y << each.level)
        for each in (one, other)
    ]
    return (
        same_place(one, other)
        and a.value is not None
        and b.value is not None
        and (a.unit, a.fit_scales) == (b.unit, b.fit_scales)
        and (a.unit != "cells" or steps[0] == steps[1])
    )


def _difference(a: Estimate, b: Estimate) -> Dimensions:
    """Return two dimensions with their difference, whose interval is MOVER's."""
    assert a.value is not None
    assert b.value is not None
    of_a, of_b = a.interval or (0.0, 2.0), b.interval or (0.0, 2.0)
    value = b.value - a.value
    below = np.hypot(b.value - of_b[0], of_a[1] - a.value)
    above = np.hypot(of_b[1] - b.value, a.value - of_a[0])
    return Dimensions(a, b, Interval(value, value - float(below), value + float(above)))
