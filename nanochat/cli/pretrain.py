"""``nanochat pretrain``: a small model, made on this machine."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from nanochat.cli.output_options import check_folder

_PLAIN_EVERY = 50  # steps between two lines where there is no terminal for a bar


def pretrain_command(
    preset: Annotated[str, typer.Option(help="Which model to make: tiny.")] = "tiny",
    out: Annotated[
        Path | None,
        typer.Option(
            callback=check_folder,
            help="Folder to make it in. Default: presets/ in $NANOCHAT_BASE_DIR, or in "
            "~/.cache/nanochat, where `preset:NAME` finds it.",
        ),
    ] = None,
) -> None:
    """Base-train a preset's tokenizer and model on the shipped text, and print the folder.

    A model that is already there is not made again.
    """
    from nanochat.train.presets import get_preset

    get_preset(preset)  # before torch is loaded: a misspelt name is refused at once

    from nanochat.train.pretrain import pretrain

    bar, progress = _terminal_bar() if sys.stderr.isatty() else (nullcontext(), _plain_line)
    with bar:
        folder = pretrain(preset, out, progress)
    typer.echo(str(folder))


def _terminal_bar() -> tuple:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("base training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    task = bar.add_task("", total=None, loss=float("nan"))

    def progress(step: int, total: int, loss: float) -> None:
        bar.update(task, completed=step, total=total, loss=loss)

    return bar, progress


def _plain_line(step: int, total: int, loss: float) -> None:
    if step % _PLAIN_EVERY == 0 or step == total:
        typer.echo(f"step {step}/{total} loss {loss:.3f}", err=True)
