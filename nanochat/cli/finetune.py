"""The commands that fine-tune once: ``finetune``, and two that are built on it.

Every setting of `finetune_run/settings.py` and of the recipe is an option of all three. Values
come as text and are checked there, so that ``--learning-rate 1`` and ``--num-tokens 5e5`` are
numbers of the right kind.
"""

import dataclasses
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from nanochat.errors import NanochatError
from nanochat.finetune_run.settings import (
    RECIPE_HELP,
    SETTING_HELP,
    SWEEP_SETTINGS,
    Settings,
    parse_settings,
)
from nanochat.train.recipe import DERIVED, Recipe

SHOWN = 3  # samples in the table on the screen
LONGEST_CELL = 160  # characters of a text in it
BIG_GPU = 120 * 2**30  # bytes from which the larger batch is the default
BIG_GPU_BATCH = 48

_NAMES = {
    "model": ("--model", "--model-id"),
    "model_step": ("--model-step", "--step"),
    "trainable_param_groups": ("--trainable-param-groups", "--trainable"),
}
_SHORT = {"preset": "Short for --model preset:NAME.", "dataset_id": "Short for --data hf:NAME."}
_REPRO = {
    "learning_rate": "3e-4",
    "num_tokens": "5000",
    "seed": "999",
    "device_batch_size": "8",
    "eval_every": "5",
}
_PROBE = {
    "learning_rate": "3e-4",
    "seed": "999",
    "num_iterations": "100",
    "num_tokens": "5000",
    "eval_every": "33",
    "eval_batches": "4",
    "log_every": "10",
}
_Out = Annotated[Path, typer.Option(help="Folder for the result.")]


def with_settings(
    defaults: Mapping[str, str], leave_out: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command every setting as an option.

    Parameters
    ----------
    defaults : mapping of str to str
        Defaults of this command that differ from the settings' own.
    leave_out : tuple of str
        Settings that the command decides itself.

    Returns
    -------
    decorator
        The command's first parameter then is a dict of what was given and of these defaults.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command).parameters.values())[1:]
        options = [option for option in _options(defaults) if option.name not in leave_out]
        names = [option.name for option in options]

        def wrapped(**values: Any) -> None:
            given = {name: values.pop(name) for name in names}
            given = {name: value for name, value in given.items() if value is not None}
            # Where two names stand for one setting, what was given beats a default.
            command({**defaults, **given}, **values)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in [*options, *own]]
        wrapped.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
        wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
        wrapped.__doc__ = command.__doc__
        return wrapped

    return decorate


def _options(defaults: Mapping[str, str]) -> list[inspect.Parameter]:
    return [
        *(_option(name, str, help, "") for name, help in _SHORT.items()),
        *_options_of(Settings, SETTING_HELP, defaults),
        *_options_of(Recipe, RECIPE_HELP, defaults),
        # Hidden: they are answered with the command that does what they ask for.
        *(_option(name, bool if name == "grid" else str, "", "", True) for name in SWEEP_SETTINGS),
    ]


def _options_of(
    kind: type, help: Mapping[str, str], defaults: Mapping[str, str]
) -> list[inspect.Parameter]:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    return [
        _option(name, fields[name].type, text, defaults.get(name, fields[name].default))
        for name, text in help.items()
    ]


def _option(
    name: str, kind: Any, help: str, default: Any, hidden: bool = False
) -> inspect.Parameter:
    dashed = name.replace("_", "-")
    flag = kind is bool
    names = _NAMES.get(name, (f"--{dashed}/--no-{dashed}" if flag else f"--{dashed}",))
    shown = ",".join(default) if isinstance(default, tuple) else str(default)
    if not flag and shown and default != DERIVED:
        help = f"{help} [{shown}]"
    option = typer.Option(
        *names,
        help=help,
        metavar=None if flag else "TEXT" if kind is str else "N",
        show_default=False,
        hidden=hidden,
    )
    annotation = Annotated[bool | None if flag else str | None, option]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


@with_settings({})
def finetune_command(given: dict[str, Any], out: _Out = Path("results")) -> None:
    """Fine-tune a model once, and tell whether it trained.

    Every value may be written with = or a space, every name with dashes or underscores. The result
    is a JSON file in the output folder, with a record to repeat the run by. A run that diverges is
    a result too; the exit status is 0.
    """
    settings, recipe = parse_settings(given, os.environ)
    from nanochat.finetune_run.repro_record import fix_environment

    if recipe.deterministic:
        fix_environment(os.environ)
    import torch

    from nanochat.finetune_run.inputs import load_subject
    from nanochat.finetune_run.run import make_folder, run_finetune

    if "device_batch_size" not in given and settings.device != "cpu":
        recipe = _for_a_big_gpu(recipe)
    try:
        make_folder(out)  # before the model is loaded: a bad one should be told at once
        subject = load_subject(settings, recipe, typer.echo)
        done = run_finetune(settings, recipe, subject, out, typer.echo)
    except torch.OutOfMemoryError as error:
        typer.echo(
            f"error: out of GPU memory at device_batch_size {recipe.device_batch_size}; "
            "`nanochat probe-batch-size` finds one that fits, --gradient-checkpointing needs less",
            err=True,
        )
        raise typer.Exit(1) from error
    typer.echo(f"result: {done.path}")
    if done.model_folder is not None:
        typer.echo(f"model: {done.model_folder}")
    if settings.visualize and done.answers is not None:
        _show(done.answers)


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

    text = " ".join(text.split())
    return Text(text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…")


@with_settings(_REPRO)
def repro_check_command(
    given: dict[str, Any],
    runs: Annotated[int, typer.Option(min=2, help="How often.")] = 8,
    parallel: Annotated[
        int, typer.Option(min=0, help="Runs at a time; 0: one per GPU, or per processor core.")
    ] = 0,
    out: _Out = Path("results/repro_check"),
) -> None:
    """Run the same fine-tune several times, each in a process of its own, and compare.

    Final losses must agree to six decimals. Exit status: 0 if they do, 2 if not, 1 if a run has
    left no result. With GPUs the runs take them in turn.
    """
    settings, recipe = parse_settings(given, os.environ)
    from nanochat.finetune_run.repro_check import curve_hash, repro_check, visible_gpus

    gpus = visible_gpus(0 if settings.device == "cpu" else _count_gpus())
    at_a_time = parallel or min(runs, len(gpus) or os.cpu_count() or 1)
    folder = _fresh(out)
    typer.echo(
        f"{runs} runs, {at_a_time} at a time, on {f'{len(gpus)} GPUs' if gpus else 'the CPU'}"
        f"{'' if recipe.deterministic else ' (deterministic is off)'}; in {folder}"
    )

    def tell(number: int, child: Any) -> None:
        if child.finished:
            loss = child.fields["final_loss"]
            shown = "not finite" if loss is None else f"{loss:.6f}"
            told = f"final loss {shown}, curve {curve_hash(child)[:12]}"
        else:
            told = f"no result (exit status {child.code}): {child.reason}"
        typer.echo(f"run {number}: {told}")

    check = repro_check(given, runs, at_a_time, folder, gpus, tell)
    if check.missing:
        typer.echo(f"error: no result of runs {check.missing}; see output.log of each", err=True)
        raise typer.Exit(1)
    bits = "the same to the bit" if check.equal_bits else "not the same to the bit"
    if not check.equal:
        typer.echo(f"error: final losses differ; the loss curves are {bits}", err=True)
        raise typer.Exit(2)
    typer.echo(f"all {runs} final losses agree to 6 decimals; the loss curves are {bits}")


@with_settings(_PROBE, leave_out=("device_batch_size", "target_examples_per_step"))
def probe_batch_size_command(
    given: dict[str, Any],
    start: Annotated[int, typer.Option("--bs-start", min=1, help="Smallest to try.")] = 32,
    stop: Annotated[int, typer.Option("--bs-max", min=1, help="Largest to try.")] = 256,
    stride: Annotated[int, typer.Option("--bs-stride", min=1, help="Between two.")] = 8,
    out: _Out = Path("results/probe_batch_size"),
) -> None:
    """Find the largest batch that the device takes, by fine-tunes that grow until one fails.

    Each runs in a process of its own, so one that is killed for want of memory does no harm. Exit
    status 1 if not even the smallest fits.
    """
    parse_settings(given, os.environ)
    if stop < start:
        raise NanochatError(f"bs-max must be at least bs-start ({start}), not {stop}")
    folder = _fresh(out)
    from nanochat.finetune_run.batch_size_probe import probe_batch_size

    def tell(attempt: Any) -> None:
        verdict = "fits" if attempt.fits else "does not fit"
        typer.echo(f"batch {attempt.batch_size}: {verdict} ({attempt.told})")

    best = probe_batch_size(given, range(start, stop + 1, stride), folder, tell)
    if best is None:
        typer.echo(f"error: not even {start} fits; try --bs-start with less", err=True)
        raise typer.Exit(1)
    typer.echo(f"largest that fits: --device-batch-size {best}")


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _fresh(out: Path) -> Path:
    """A folder of this call's own, so that results of an earlier one are not taken for new."""
    import datetime

    from nanochat.finetune_run.run import make_folder

    return make_folder(out / f"{datetime.datetime.now():%Y%m%d_%H%M%S_%f}")
