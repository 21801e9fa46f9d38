"""Two sweeps point by point: what differs in their settings, and what that does to the map.

Nodes that coincide are those whose values are the same float64, whatever grids and levels they
come from; both sides are labelled by A's rule. `disagreement.py` has the statistics of labels. The
difference of two dimensions takes its interval from theirs (MOVER: Zou and Donner, Stat. Med. 27,
1693 (2008)), which is wider than need be where both err alike.
"""

import shlex
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
from fractal_ray.analysis.verify.kept_sheet import read_sheet
from fractal_ray.dimension import transects
from fractal_ray.dimension.recommend import PREFERRED
from fractal_ray.dimension.result import Estimate
from fractal_ray.errors import SweepError
from fractal_ray.plane.boundary import UNKNOWN, boundary_cells, labels
from fractal_ray.spec.yaml_file import parse_spec


def compare(a: SweepData, b: SweepData, *, frame: int | None = None) -> Comparison:
    """Compare two sweeps where they meet.

    Parameters
    ----------
    a, b
        The sweeps; only their datasets are read. The rule that labels A labels B as well, from
        the stored curves.
    frame
        Number of the frame in both; None for the last that is the same in both, or the last of
        each where none is.

    Raises
    ------
    SweepError
        If a side holds no runs, the axes are others, the frames have no nodes in common, or B's
        runs cannot be labelled by A's rule.
    """
    _check_axes(a, b)
    other, notes = _labelled_as(a, b)
    lattices, chosen = choose_frames(a, b, frame)
    read = (
        read_side("A", a, lattices[0]),
        read_side("B", other, lattices[1]),
    )
    notes += chosen + read[0].notes + read[1].notes
    data = read[0].data, read[1].data
    common = common_rasters(*data)
    boundary = a.spec.label.boundary
    labelled = labels(common[0], boundary), labels(common[1], boundary)
    both = (labelled[0] >= 0) & (labelled[1] >= 0)
    # Where one side has not run there is nothing that the other's border could be far from.
    shared = [np.where(both, each, UNKNOWN).astype(np.int8) for each in labelled]
    changed = both & (labelled[0] != labelled[1])
    to_yes = int((changed & (labelled[1] == 1)).sum())
    dimensions, why = _dimensions(read, shared)
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


# What is compared ---------------------------------------------------------------------------


def _check_axes(a: SweepData, b: SweepData) -> None:
    for side in ("x", "y"):
        ours, theirs = (getattr(sweep.spec.axes, side) for sweep in (a, b))
        if (ours.param, ours.scale) != (theirs.param, theirs.scale):
            raise SweepError(
                f"axis {side} is {ours.param} ({ours.scale}) in {a.location} and {theirs.param}"
                f" ({theirs.scale}) in {b.location}; sweeps are compared over the same axes"
            )


def _labelled_as(a: SweepData, b: SweepData) -> tuple[SweepData, tuple[str, ...]]:
    """B under A's label, and what to say of that; B itself where it has that label."""
    rule = a.spec.label
    if b.spec.label == rule:
        return b, ()
    raw = {**b.spec.model_dump(mode="json", exclude_none=True), "label": rule.model_dump()}
    spec = parse_spec(raw, origin=f"{b.location} under the label of {a.location}")
    return SweepData(spec, b.location, b.given_workload, b.skip_corrupt), (
        "B has another label than A and is labelled by A's, from its stored curves",
    )


def _settings(sweep: SweepData, table: pa.Table) -> dict[str, Any]:
    """What may differ, flat: the recipe with its defaults, and where the runs were made."""
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


# What is found ------------------------------------------------------------------------------


def _side(
    data: FrameData, given: NDArray[np.int8], both: NDArray[np.bool_], changed: NDArray[np.bool_]
) -> Side:
    frame, raster = data.lattice.frame, data.raster
    steps = steps_to_border(given)
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
        yes_share=float((given[both] == 1).mean()) if both.any() else None,
        flips=(flips[0], flips[1], flips[2], flips[3]),
        reruns=_reruns(data, flips[0]),
    )


def _reruns(data: FrameData, border: Share) -> tuple[tuple[str, Share, str], ...]:
    """The flips on a border beside those of the reruns on its own verification sheet."""
    sheet = read_sheet(data)
    found = []
    for each in [] if sheet is None else sheet["evidence"]["flips"]:
        if each["low"] is None or border.low is None or border.high is None:
            continue
        verdict = "no more"
        if border.low > each["high"] or border.high < each["low"]:
            verdict = "more" if border.low > each["high"] else "fewer"
        share = Share(each["flips"], each["runs"], each["low"], each["high"])
        found.append((each["check"], share, verdict))
    return tuple(found)


# Dimensions ---------------------------------------------------------------------------------


def _dimensions(
    read: tuple[SideFrame, SideFrame], shared: list[NDArray[np.int8]]
) -> tuple[Dimensions | None, str]:
    """D of both where both sheets allow one, else why not."""
    lacking = [said for each in read if (said := _no_dimension(each))]
    if lacking:
        return None, "; ".join(dict.fromkeys(lacking))
    data = read[0].data, read[1].data
    found = data[0].estimates(), data[1].estimates()
    for choice in PREFERRED:
        pair = found[0].get(choice.data), found[1].get(choice.data)
        if pair[0] is not None and pair[1] is not None and _same_scales(data, pair[0], pair[1]):
            return _difference(pair[0], pair[1]), ""
    here = [transects.from_raster(given) for given in shared]
    if here[0].value is None or here[1].value is None or here[0].fit_scales != here[1].fit_scales:
        return None, (
            "no estimator has the same scales on both sides, and their common lattice is too small"
            " for one of its own"
        )
    return _difference(here[0], here[1]), ""


def _no_dimension(read: SideFrame) -> str:
    data = read.data
    sheet, frame = read_sheet(data), data.lattice.frame.id
    where = f"frame {frame} of {data.sweep.location}"
    if not read.finished:
        return f"{where} is not finished; go on with it: fractal-ray run"
    if sheet is None:
        label = data.sweep.spec.label
        header = data.sweep.header() or {}
        theirs = header.get("spec", {}).get("label", {})
        settings = "".join(
            f" --set {shlex.quote(f'label.{key}={value}')}"
            for key, value in label.model_dump().items()
            if theirs.get(key, value) != value
        )
        return (
            f"{where} has no verification sheet (fractal-ray verify"
            f" {shlex.quote(data.sweep.location)} --frame {frame}{settings})"
        )
    if sheet["dimension"] is None:
        return f"the verdict on {where} is {sheet['verdict']!r}, which gives no dimension"
    return ""


def _same_scales(data: tuple[FrameData, FrameData], a: Estimate, b: Estimate) -> bool:
    """Whether two estimates are of the same scales of one place."""
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
    assert a.value is not None
    assert b.value is not None
    of_a, of_b = a.interval or (0.0, 2.0), b.interval or (0.0, 2.0)
    value = b.value - a.value
    below = np.hypot(b.value - of_b[0], of_a[1] - a.value)
    above = np.hypot(of_b[1] - b.value, a.value - of_a[0])
    return Dimensions(a, b, Interval(value, value - float(below), value + float(above)))
