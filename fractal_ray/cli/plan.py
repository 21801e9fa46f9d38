"""``fractal-ray plan``: the points and the cost of a sweep, before it is run."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from fractal_ray.cli.options import (
    JsonOption,
    SetOption,
    SpecArgument,
    StorageOption,
    note_on_repeats,
    overrides,
)

if TYPE_CHECKING:
    from fractal_ray.plane.axes import Axis
    from fractal_ray.spec.cost import Cost, StageCost
    from fractal_ray.spec.sweep_spec import SweepSpec
    from fractal_ray.sweep import Sweep


def plan(
    spec: SpecArgument,
    tokens_per_second: Annotated[
        float | None,
        typer.Option(help="Tokens that one slot trains on in a second; default: the spec's."),
    ] = None,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the points and the cost of a sweep. Needs no model, network or GPU."""
    from fractal_ray.dataset.store import inside
    from fractal_ray.errors import SweepError
    from fractal_ray.spec.cost import estimate_cost
    from fractal_ray.spec.idle import check_new_dataset
    from fractal_ray.spec.yaml_file import load_spec

    if tokens_per_second is not None and not 0 < tokens_per_second < float("inf"):
        raise SweepError(f"--tokens-per-second must be above 0; given {tokens_per_second:g}")
    sweep = load_spec(spec, overrides(settings, storage))
    try:
        sweep.workload.check_inputs()
    except ValueError as error:
        raise SweepError(str(error)) from error
    check_new_dataset(sweep, inside(sweep.storage, sweep.name))
    made = _dataset_of(sweep)
    crossed = None if made is None else _boundary_cells_of_the_grid(made)
    cost = estimate_cost(sweep, tokens_per_second, crossed)
    if as_json:
        print(
            json.dumps(
                {
                    "name": sweep.name,
                    "stages": [
                        {
                            "stage": stage.name,
                            "nodes": stage.nodes,
                            "points": stage.runs,
                            "supervised_tokens": stage.supervised_tokens,
                            "points_by_dimension": stage.by_dimension,
                            "frames": stage.frames,
                            **({"probes": stage.probes} if stage.probes else {}),
                        }
                        for stage in cost.stages
                    ],
                    "points": cost.runs,
                    "supervised_tokens": cost.supervised_tokens,
                    "disk_bytes_without_curves": cost.disk_bytes,
                    "tokens_per_second": cost.tokens_per_second,
                    "supervised_fraction": cost.supervised_fraction,
                    "slot_hours": cost.slot_hours,
                    "gpu_hours": _gpu_hours(cost.slot_hours, sweep.resources.cards),
                }
            )
        )
        return
    print(
        "\n".join(
            [
                *_what(sweep, made),
                *_stages(cost, crossed),
                *_depths(sweep),
                *_sum(sweep, cost, crossed),
            ]
        )
    )


def _what(spec: "SweepSpec", made: "Sweep | None") -> list[str]:
    from fractal_ray.spec.idle import idle_seeds
    from fractal_ray.spec.windows import window_note

    lines = [f"{spec.name}: {spec.workload.title}"]
    for side in ("x", "y"):
        axis = spec.plan.axis(side)
        ends = f"{axis.scale} from {axis.min!r} to {axis.max!r}"
        lines.append(f"  {side}: {axis.param}, {ends}{_effective(spec, axis)}")
    if note := note_on_repeats(spec):
        lines.append(f"  {note}")
    lines += [f"  {line}" for line in spec.workload.notes_on_runs(spec.planned_runs)]
    lines += _steps(made)
    window = window_note(spec)
    notes = [*idle_seeds(spec), *([window] if window else []), *spec.workload.plan_notes()]
    return [*lines, *(f"  note: {line}" for line in notes)]


def _effective(spec: "SweepSpec", axis: "Axis") -> str:
    """Return the rates of the optimizer at both ends of an axis, if it scales them."""
    from fractal_ray.workloads.section import SCALING

    ends = [spec.workload.effective_rates({axis.param: end}, None) for end in (axis.min, axis.max)]
    if not ends[0]:
        scaled = axis.param in spec.workload.effective_rates({axis.param: 1.0}, 1)
        return f" (nominal; effective: x {SCALING})" if scaled else ""
    ranges = (
        f"{'' if name == axis.param else f'{name} '}{low:.4g} to {ends[1][name]:.4g}"
        for name, low in ends[0].items()
    )
    return f" (effective {', '.join(ranges)})"


def _stages(cost: "Cost", crossed: int | None) -> list[str]:
    lines = []
    for index, stage in enumerate(cost.stages):
        nodes = "" if stage.nodes is None else "{} x {} nodes, ".format(*stage.nodes)
        if stage.name == "zoom" or stage.frames > 1:
            nodes = f"{_frames(stage.frames)}{' of ' + nodes if nodes else ', '}"
        # Where labels flip, lines take more than can be told before.
        about = {"refine": "about ", "transects": "at least "}.get(stage.name, "")
        lines.append(
            f"  stage {index} {stage.name}: {nodes}{about}{stage.runs:,} points to run"
            + _tokens(", with at most" if cost.bound else ", about", stage.supervised_tokens)
        )
        if stage.by_dimension is None:
            continue
        lines += _probes(stage)
        each = ", ".join(f"{n:,} for D = {d}" for d, n in stage.by_dimension.items())
        if crossed is None:
            crosses = "the frame" if stage.frames == 1 else "each frame"
            lines.append(f"    a border that crosses {crosses} once takes {each}; longer ones more")
        elif index == 1:
            lines.append(f"    from the {crossed:,} boundary cells of the grid, run before: {each}")
        else:
            lines.append(f"    for a border as dense as that of the grid, run before: {each}")
    return lines


def _probes(stage: "StageCost") -> list[str]:
    """Return a line about the runs of the probes of a refinement; none without probes."""
    from fractal_ray.planners.probes import FACTOR_OF_MORE, HITS_FOR_MORE

    if not stage.probes:
        return []
    frame = "" if stage.frames == 1 else " a frame"
    first = 4 * stage.probes
    more = f"{FACTOR_OF_MORE * first:,} more if {HITS_FOR_MORE} of the cells hold border"
    return [f"    {first:,} of them{frame} probe {stage.probes:,} random finest cells; {more}"]


def _depths(spec: "SweepSpec") -> list[str]:
    from fractal_ray.plane.precision import deepest_level, depth_text
    from fractal_ray.spec.limits import deepest_frame

    lines = [f"  {depth_text(spec.plan.frame(0), spec.arithmetics)}"]
    for index, stage in enumerate(spec.stages):
        if stage.zoom is not None:
            level = deepest_level(deepest_frame(spec.plan, index), spec.arithmetics)
            where = "" if stage.zoom.pick == "center" else ", wherever they lie,"
            lines.append(f"  the deepest frames of stage {index}{where} resolve level {level}")
    return lines


def _sum(spec: "SweepSpec", cost: "Cost", crossed: int | None) -> list[str]:
    curves = ", and 4 bytes for each stored loss" if spec.workload.records_losses else ""
    low, high = (cost.runs_for(dimension) for dimension in (1.0, 1.6))
    guessed = any(stage.name in ("refine", "zoom", "transects") for stage in cost.stages)
    runs = f"about {cost.runs:,}" if guessed else f"{cost.runs:,}"
    if low < high:
        at_least = "" if crossed is not None else ", more where the border crosses more than once"
        runs += f" points, {low:,} to {high:,} for D = 1.0 to 1.6{at_least}"
    else:
        runs += " points"
    lines = [
        f"  in all: {runs}" + _tokens("; at most" if cost.bound else ";", cost.supervised_tokens),
        *([f"    {cost.bound}"] if cost.bound else []),
        f"  dataset: {spec.storage}/{spec.name}, about {_size(cost.disk_bytes)}{curves}",
    ]
    if not cost.supervised_tokens:
        return lines
    if cost.slot_hours is None:
        return [*lines, "  no throughput stated: give --tokens-per-second, or cost in the spec"]
    gpu = spec.resources.cards
    hours = _gpu_hours(cost.slot_hours, gpu)
    what = f"{hours:,.1f} GPU-hours (slots of {gpu:g} GPU)" if gpu else f"{hours:,.1f} core-hours"
    if spec.resources.gpu is None and spec.workload.takes_card:
        what = f"{hours:,.1f} hours of slots (a card each where there are any, else a CPU)"
    speed = f"at {cost.tokens_per_second:,.0f} tokens/s a slot"
    if cost.bound:
        return [*lines, f"  estimate: at most {what} {speed}"]
    return [
        *lines,
        f"  estimate: {what} {speed}, {cost.supervised_fraction:.0%} of them supervised",
    ]


def _dataset_of(spec: "SweepSpec") -> "Sweep | None":
    """Return the sweep if it has a dataset on this machine."""
    if "://" in spec.storage:
        return None
    from fractal_ray.errors import SweepError
    from nanochat.errors import user_path

    if not (user_path(spec.storage, SweepError) / spec.name).is_dir():
        return None
    from fractal_ray.sweep import Sweep

    sweep = Sweep(spec)
    return sweep if sweep.is_of_this_spec() else None


def _boundary_cells_of_the_grid(sweep: "Sweep") -> int | None:
    """Count the boundary cells of the first grid; None unless it was completed."""
    from fractal_ray.plane.boundary import boundary_cells, labels

    raster = sweep.raster(sweep.store().read(skip_corrupt=True), frame=0, coarse=True)
    if not raster.known.all():
        return None
    return boundary_cells(labels(raster, sweep.spec.label.boundary)).n_mixed


def _steps(sweep: "Sweep | None") -> list[str]:
    """Return a line with the steps of runs that were counted when the dataset was begun."""
    if sweep is None or sweep.spec.workload.window_fit(sweep.spec.planned_runs) is not None:
        return []
    counts = [curve.size for curve in sweep.rule.baseline.curves.values()]
    return [f"  steps: at most {max(counts):,} a run in {sweep.location}"] if counts else []


def _gpu_hours(slot_hours: float | None, gpu: float) -> float | None:
    return None if slot_hours is None else slot_hours * (gpu or 1.0)


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"up to {count} frames"


def _size(count: int) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count = round(count / 1000)
    return f"{count:,} {unit}"


def _tokens(before: str, count: int) -> str:
    return f"{before} {count:,} supervised tokens" if count else ""
