"""Options of the commands that fine-tune: every setting, and every field of the recipe.

Values arrive as text and are checked by `parse_settings`, so that ``--learning-rate 1`` and
``--num-tokens 5e5`` become numbers of the right kind.
"""

import dataclasses
import datetime
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from nanochat.cli.output_options import check_folder
from nanochat.finetune_run.settings import RECIPE_HELP, SETTING_HELP, SWEEP_SETTINGS, Settings
from nanochat.train.recipe import DERIVED, Recipe

Out = Annotated[Path, typer.Option(callback=check_folder, help="Folder for the result.")]

_NAMES = {
    "model": ("--model", "--model-id"),
    "model_step": ("--model-step", "--step"),
    "trainable_param_groups": ("--trainable-param-groups", "--trainable"),
}
_SHORT = {"preset": "Short for --model preset:NAME.", "dataset_id": "Short for --data hf:NAME."}


def with_settings(
    defaults: Mapping[str, str], leave_out: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command every setting as an option.

    Parameters
    ----------
    defaults
        Defaults of this command that differ from the settings' own.
    leave_out
        Settings that the command decides itself.

    Returns
    -------
    Callable
        Decorator. The first parameter of the command is then a dict of `defaults`, updated with
        the options of the command line.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command).parameters.values())[1:]
        options = [option for option in _options(defaults) if option.name not in leave_out]
        names = [option.name for option in options]

        def wrapped(**values: Any) -> None:
            given = {name: values.pop(name) for name in names}
            given = {name: value for name, value in given.items() if value is not None}
            # Where two names stand for one setting, an option beats a default.
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
        # Hidden: `parse_settings` refuses them and names the command to use instead.
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
    default_text = ",".join(default) if isinstance(default, tuple) else str(default)
    if not flag and default_text and default != DERIVED:
        help = f"{help} [{default_text}]"
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


def new_folder(out: Path) -> Path:
    """Make a folder for this call alone, so that no earlier result is taken for one of it."""
    from nanochat.finetune_run.run import make_folder

    return make_folder(out / f"{datetime.datetime.now():%Y%m%d_%H%M%S_%f}")
