"""``nanochat repro-check``: the same fine-tune, several times."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from nanochat.cli.settings_options import Out, new_folder, with_settings
from nanochat.finetune_run.settings import parse_settings

_DEFAULTS = {
    "learning_rate": "3e-4",
    "num_tokens": "5000",
    "seed": "999",
    "device_batch_size": "8",
    "eval_every": "5",
}


@with_settings(_DEFAULTS)
def repro_check_command(
    given: dict[str, Any],
    runs: Annotated[int, typer.Option(min=2, help="How often.")] = 8,
    parallel: Annotated[
        int, typer.Option(min=0, help="Runs at a time; 0: one per GPU, or per processor core.")
    ] = 0,
    out: Out = Path("results/repro_check"),
) -> None:
    """Run the same fine-tune several times, each in a process of its own, and compare.

    Final losses must agree to six decimals. Exit status: 0 if they do, 2 if not, 1 if a run has
    left no result. With GPUs the runs take them in turn.
    """
    settings, recipe = parse_settings(given, os.environ)
    from nanochat.finetune_run.repro_check import curve_hash, repro_check, visible_gpus

    gpus = visible_gpus(0 if settings.device == "cpu" else _count_gpus())
    at_a_time = parallel or min(runs, len(gpus) or os.cpu_count() or 1)
    folder = new_folder(out)
    typer.echo(
        f"{runs} runs, {at_a_time} at a time, on {f'{len(gpus)} GPUs' if gpus else 'the CPU'}"
        f"{'' if recipe.deterministic else ' (deterministic is off)'}; in {folder}"
    )

    def report(number: int, child: Any) -> None:
        if child.finished:
            loss = child.fields["final_loss"]
            text = "not finite" if loss is None else f"{loss:.6f}"
            outcome = f"final loss {text}, curve {curve_hash(child)[:12]}"
        else:
            outcome = f"no result (exit status {child.code}): {child.reason}"
        typer.echo(f"run {number}: {outcome}")

    check = repro_check(given, runs, at_a_time, folder, gpus, report)
    if check.missing:
        typer.echo(f"error: no result of runs {check.missing}; see output.log of each", err=True)
        raise typer.Exit(1)
    bits = "the same to the bit" if check.equal_bits else "not the same to the bit"
    if not check.equal:
        typer.echo(f"error: final losses differ; the loss curves are {bits}", err=True)
        raise typer.Exit(2)
    typer.echo(f"all {runs} final losses agree to 6 decimals; the loss curves are {bits}")


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count()
