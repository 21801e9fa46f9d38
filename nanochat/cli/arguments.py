"""Spellings of options, normalised to those that Typer reads.

nanochat's commands have been called with dashes and with underscores, with ``--key=value`` and
``--key value``, and with flags as words (``--deterministic=False``). All of them are accepted.
"""

import re
from collections.abc import Collection, Sequence

_FLAG_WORDS = {"true": True, "false": False}


def normalise(
    arguments: Sequence[str], flags: Collection[str] = (), many: Collection[str] = ()
) -> list[str]:
    """Return the arguments in the spelling that the commands declare.

    Parameters
    ----------
    arguments
        Without the name of the program. What follows a bare ``--`` is left as it is.
    flags
        Options, as declared, that take no value, their ``--no-`` forms left out.
    many
        Options, as declared, that take several values in a row: ``--budgets 10 20`` becomes
        ``--budgets 10 --budgets 20``.

    Returns
    -------
    list of str
        Names of options with dashes; for a flag, ``--x true`` and ``--x=true`` as ``--x``,
        ``--x false`` and ``--x=false`` as ``--no-x``, in any case of letters.
    """
    done: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*done, word, *rest]
        option = re.fullmatch(r"--([A-Za-z][\w-]*)(=.*)?", word, re.DOTALL)
        if option is None:
            done.append(word)
            continue
        name = option[1].replace("_", "-")
        value = option[2][1:] if option[2] else None
        is_flag = f"--{name}" in flags
        if is_flag and value is None and rest and rest[0].lower() in _FLAG_WORDS:
            value = rest.pop(0)
        if f"--{name}" in many:
            values = [] if value is None else [value]
            while rest and not rest[0].startswith("-"):
                values.append(rest.pop(0))
            done += [part for each in values for part in (f"--{name}", each)] or [f"--{name}"]
        elif is_flag and value is not None and value.lower() in _FLAG_WORDS:
            done.append(f"--{name}" if _FLAG_WORDS[value.lower()] else f"--no-{name}")
        else:
            done.append(f"--{name}" if value is None else f"--{name}={value}")
    return done
