"""``nanochat probe-batch-size``: the largest batch that fits."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from nanochat.cli.settings_options import Out, new_folder, with_settings
from nanochat.errors import NanochatError
from nanochat.finetune_run.settings import parse_settings

_DEFAULTS = {
    "learning_rate": "3e-4",
    "seed": "999",
    "num_iterations": "100",
    "num_tokens": "5000",
    "eval_every": "33",
    "eval_batches": "4",
    "log_every": "10",
}


@with_settings(_DEFAULTS, leave_out=("device_batch_size", "target_examples_per_step"))
def probe_batch_size_command(
    given: dict[str, Any],
    start: Annotated[int, typer.Option("--bs-start", min=1, help="Smallest to try.")] = 32,
    stop: Annotated[int, typer.Option("--bs-max", min=1, help="Largest to try.")] = 256,
    stride: Annotated[int, typer.Option("--bs-stride", min=1, help="Between two.")] = 8,
    out: Out = Path("results/probe_batch_size"),
) -> None:
    """Find the largest batch that the device takes, by fine-tunes that grow until one fails.

    Each runs in a process of its own, so one that is killed for want of memory does no harm. Exit
    status 1 if not even the smallest fits.
    """
    parse_settings(given, os.environ)
    if stop < start:
        raise NanochatError(f"bs-max must be at least bs-start ({start}), not {stop}")
    folder = new_folder(out)
    from nanochat.finetune_run.batch_size_probe import probe_batch_size

    def report(attempt: Any) -> None:
        verdict = "fits" if attempt.fits else "does not fit"
        typer.echo(f"batch {attempt.batch_size}: {verdict} ({attempt.outcome})")

    best = probe_batch_size(given, range(start, stop + 1, stride), folder, report)
    if best is None:
        typer.echo(f"error: not even {start} fits; try --bs-start with less", err=True)
        raise typer.Exit(1)
    typer.echo(f"largest that fits: --device-batch-size {best}")
