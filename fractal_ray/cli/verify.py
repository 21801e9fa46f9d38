"""``fractal-ray verify``: the runs and the verification sheet that a dimension needs."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from fractal_ray.cli.options import (
    AddressOption,
    CpusOption,
    Engine,
    EngineOption,
    FrameOption,
    JsonOption,
    QuietOption,
    SetOption,
    SkipOption,
    StorageOption,
    open_sweep,
)
from fractal_ray.cli.progress import watched
from fractal_ray.dataset.plain_json import to_json

if TYPE_CHECKING:
    from fractal_ray.sweep import Sweep


def verify(
    sweep_path: Annotated[
        str | None, typer.Argument(help="The sweep's YAML, or the folder of its dataset.")
    ] = None,
    frame: FrameOption = None,
    points: Annotated[
        int,
        typer.Option(min=1, help="Number of boundary points to check; all if there are fewer."),
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw of these points.")] = 0,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the runs that verify would make; run nothing.")
    ] = False,
    self_test: Annotated[
        bool,
        typer.Option("--self-test", help="Verify sets with known answers instead of a sweep."),
    ] = False,
    engine: EngineOption = Engine.RAY,
    address: AddressOption = None,
    num_cpus: CpusOption = None,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    skip_corrupt: SkipOption = False,
) -> None:
    """Check the labels at a frame's border and decide if its dimension can be printed.

    Runs a sample of boundary points again, one ulp beside, in another dtype and, where the recipe
    has deterministic: false, in deterministic mode; sends a smooth curve, a bowl and noise through
    the stages of the sweep; and keeps the verification sheet beside the dataset.
    """
    from fractal_ray.analysis.verify.kept_sheet import sheet_path
    from fractal_ray.errors import SweepError

    if self_test:
        _self_test(as_json=as_json)
        return
    if sweep_path is None:
        raise SweepError("verify needs a sweep: its YAML, or the folder of its dataset")
    sweep = open_sweep(sweep_path, settings, storage, skip_corrupt=skip_corrupt)
    if plan:
        _print_plan(sweep, frame, points, seed, as_json=as_json)
        return
    with watched(sweep, quiet=quiet, as_json=as_json) as views:
        sheet = sweep.verify(
            frame,
            points=points,
            seed=seed,
            engine=engine.value,
            address=address,
            num_cpus=num_cpus,
            **views,
        )
    number = sweep.frame(frame).frame.id
    path = sheet_path(sweep, number)
    if as_json:
        left_out = len(sweep.damaged_parts())
        print(to_json({**sheet.to_dict(), "sheet": path, "parts_left_out": left_out}))
        return
    print("\n".join([f"{sweep.spec.name}, frame {number}", *sheet.lines()]))
    print(f"sheet: {path}")


def _print_plan(
    sweep: "Sweep", frame: int | None, points: int, seed: int, *, as_json: bool
) -> None:
    from fractal_ray.analysis.frame_data import read_frame
    from fractal_ray.analysis.verify.kept_sheet import sample_of
    from fractal_ray.analysis.verify.label_checks import applicable
    from fractal_ray.spec.cost import tokens_per_run

    data = read_frame(sweep, frame)
    sample = sample_of(data, points, seed)
    checks = applicable(data.sweep, sample)
    runs = len(sample.points) * len(checks)
    tokens = runs * tokens_per_run(data.sweep.spec)
    if as_json:
        counts = {"runs": runs, "supervised_tokens": tokens}
        counts["parts_left_out"] = len(sweep.damaged_parts())
        print(json.dumps({"checks": list(checks), **counts}))
        return
    axes = data.sweep.spec.axes
    bound = data.sweep.spec.workload.token_bound({axes.x.param, axes.y.param})
    cost = f", {'at most' if bound else 'about'} {tokens:,} supervised tokens" if tokens else ""
    print(
        f"frame {data.lattice.frame.id}: {len(sample.points)} boundary points,"
        f" {', '.join(checks)}: {runs} runs{cost}"
    )


def _self_test(*, as_json: bool) -> None:
    from fractal_ray.cli.self_check import self_test

    results = self_test(lambda tested: None if as_json else print(tested, flush=True))
    if as_json:
        print(to_json([tested.to_dict() for tested in results]))
    if not all(tested.passed for tested in results):
        raise typer.Exit(1)
