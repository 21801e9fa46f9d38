"""``nanochat finetune``: one fine-tune."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import typer

from nanochat.cli.escapes import escaped
from nanochat.cli.settings_options import Out, with_settings
from nanochat.finetune_run.settings import parse_settings
from nanochat.train.recipe import Recipe

SHOWN = 3  # samples in the table on the screen
LONGEST_CELL = 160  # characters of a text in it
BIG_GPU = 120 * 2**30  # bytes from which the larger batch is the default
BIG_GPU_BATCH = 48


@with_settings({})
def finetune_command(given: dict[str, Any], out: Out = Path("results")) -> None:
    """Fine-tune a model once, and tell whether it trained.

    Every value may be written with = or a space, every name with dashes or underscores. The result
    is a JSON file in the output folder, with a record to repeat the run by. A run that diverges is
    a result too; the exit status is 0. It is 1 if the result or the model could not be saved.
    """
    settings, recipe = parse_settings(given, os.environ)
    from nanochat.finetune_run.repro_record import fix_environment

    if recipe.deterministic:
        fix_environment(os.environ)
    import torch

    from nanochat.finetune_run.inputs import load_run_inputs
    from nanochat.finetune_run.run import make_folder, run_finetune

    if "device_batch_size" not in given and settings.device != "cpu":
        recipe = _for_a_big_gpu(recipe)
    try:
        make_folder(out)  # before the model is loaded: a bad folder is refused at once
        inputs = load_run_inputs(settings, recipe, typer.echo)
        done = run_finetune(settings, recipe, inputs, out, typer.echo)
    except torch.OutOfMemoryError as error:
        typer.echo(
            f"error: out of GPU memory at device_batch_size {recipe.device_batch_size}; "
            "`nanochat probe-batch-size` finds one that fits, --gradient-checkpointing needs less",
            err=True,
        )
        raise typer.Exit(1) from error
    if done.path is not None:
        typer.echo(f"result: {done.path}")
    if done.model_folder is not None:
        typer.echo(f"model: {done.model_folder}")
    if settings.visualize and done.answers is not None:
        done.later.run("show the answers", _show, done.answers)
    raise typer.Exit(done.later.exit_code)


def _for_a_big_gpu(recipe: Recipe) -> Recipe:
    import torch

    if torch.cuda.is_available() and torch.cuda.mem_get_info(0)[1] >= BIG_GPU:
        size = recipe.target_examples_per_step
        if size % BIG_GPU_BATCH == 0:
            return dataclasses.replace(recipe, device_batch_size=BIG_GPU_BATCH)
    return recipe


def _show(answers: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_lines=True)
    for column in ("question", "expected", "before", "after"):
        table.add_column(column, overflow="fold", ratio=1)
    rows = zip(answers.samples, answers.before, answers.after, strict=True)
    for sample, before, after in list(rows)[:SHOWN]:
        table.add_row(*map(_cell, (sample.question, sample.expected, before, after)))
    Console().print(table)


def _cell(text: str) -> Any:
    from rich.text import Text

    # Escaped before the table is laid out, so that its columns stay straight.
    encoding = sys.stdout.encoding or "utf-8"
    text = escaped(" ".join(text.encode(encoding, "backslashreplace").decode(encoding).split()))
    return Text(text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…")
