"""Rules of Weights & Biases for names and settings, and errors for what breaks them."""

import re
from collections.abc import Mapping
from typing import Final

LONGEST_NAME: Final = 128
"""Largest length of the name of a project, an artifact, a group or a run, in characters."""
LONGEST_TAG: Final = 64
NOT_IN_PROJECTS: Final = r"/\#?%:"
"""Characters that W&B refuses in the name of a project."""
_LONGEST_SHOWN = 100  # characters of a value in an error
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|HEADERS|IDENTITY")
# Variables of fractal-llm beside those of wandb, by the setting that they end in.
_OTHER_VARIABLES = {"run_tags": "FINETUNE_WANDB_TAGS"}


def name_fault(
    origin: str,
    name: str,
    *,
    form: str = "NAME",
    longest: int = LONGEST_NAME,
    forbidden: str = "",
) -> str | None:
    """Return the reason for which W&B would refuse a name, or None.

    Parameters
    ----------
    origin
        Option, key or variable that sets the name.
    form
        Name that W&B gets, made of the name in the place of NAME.
    longest
        Largest length of the name that W&B gets.
    forbidden
        Characters that W&B refuses in it.

    Examples
    --------
    >>> print(name_fault("--run", "a" * 117, form="NAME-ft-artifact")[100:])
    aaa…' has 117 characters; W&B takes 116 at most, for it gets NAME-ft-artifact; shorten it
    """
    most = longest - len(form) + len("NAME")
    if len(name) > most:
        reason = "" if form == "NAME" else f", for it gets {form}"
        return (
            f"{origin} {_shown(name)} has {len(name)} characters; W&B takes {most} at most{reason};"
            " shorten it"
        )
    if wrong := [character for character in name if character in forbidden]:
        return f"{origin} {_shown(name)} has {wrong[0]!r}; W&B takes none of {' '.join(forbidden)}"
    return None


def refused_setting(error: Exception, environment: Mapping[str, str]) -> str | None:
    """Describe the setting whose value made wandb raise, without keys.

    Parameters
    ----------
    error
        Error of a call of wandb.
    environment
        Variables at the time of the call.

    Returns
    -------
    One line that names the variable and its value; None for an error of another cause.
    """
    if type(error).__module__.partition(".")[0] not in ("wandb", "pydantic_core"):
        return None  # wandb itself may be what does not work
    from pydantic import ValidationError

    for name, value in environment.items():
        if name.startswith("WANDB_") and (reason := _refusal_of(name, value)):
            return _described(name, value, reason)
    if not isinstance(error, ValidationError):  # for example without a login
        return None
    # The variable is not one of wandb's, or two values do not go together.
    setting = str(next(iter(error.errors()[0]["loc"]), "settings"))
    variable = _OTHER_VARIABLES.get(setting, "")
    if variable in environment:
        return _described(variable, environment[variable], _reason(error))
    return f"wandb refuses {setting} ({_reason(error)})"


def _refusal_of(name: str, value: str) -> str | None:
    """Return the reason for which wandb refuses one variable alone, or None."""
    import wandb

    try:
        wandb.Settings().update_from_env_vars({name: value})
    except Exception as error:
        return _reason(error)
    return None


def _reason(error: Exception) -> str:
    from pydantic import ValidationError

    text = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
    return " ".join(text.removeprefix("Value error, ").split()) or type(error).__name__


def _described(name: str, value: str, reason: str) -> str:
    if _SECRET.search(name) or "@" in value:  # a URL may hold a password
        return f"wandb refuses the value of {name}, which is not shown"
    return f"{name} is {_shown(value)}, which wandb refuses ({reason})"


def _shown(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…")
