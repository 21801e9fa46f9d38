"""Exception for bad input, suggestions for misspelt names, and steps that may fail alone."""

import contextlib
import difflib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
INTERRUPTED = 130  # exit code after Ctrl-C


class NanochatError(ValueError):
    """Error for input that cannot be used; its message is one line for the user."""


def unknown_name(kind: str, given: str, allowed: Iterable[str]) -> NanochatError:
    """Return the error for a name that does not exist.

    Parameters
    ----------
    kind
        What the name should have named, e.g. ``"setting"``.
    given
        The name as given.
    allowed
        Every name that would have been accepted.

    Returns
    -------
    NanochatError
        Error to raise; its message holds the nearest allowed name, if any, and the list.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return NanochatError(f"unknown {kind} {given!r}{hint} (allowed: {', '.join(names)})")


def missing_library(purpose: str, library: str, extra: str) -> NanochatError:
    """Return the error for a library that a plain installation does not have.

    Parameters
    ----------
    purpose
        Subject of the sentence "... needs LIBRARY", e.g. the command.
    extra
        Extra of pyproject.toml that installs the library.

    Examples
    --------
    >>> print(missing_library("nanochat export", "tokenizers", "export"))
    nanochat export needs tokenizers, which is not installed; pip install 'fractal-ray[export]'
    """
    return NanochatError(
        f"{purpose} needs {library}, which is not installed; pip install 'fractal-ray[{extra}]'"
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type if it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def first_line_with_type(error: BaseException) -> str:
    """Return the first line of an error, after its type unless the error is of this project.

    Examples
    --------
    >>> first_line_with_type(NanochatError("no model at out"))
    'no model at out'
    >>> first_line_with_type(KeyError("loss"))
    "KeyError: 'loss'"
    """
    kind, line = type(error), first_line(error)
    ours = kind.__module__.startswith(("nanochat.", "fractal_ray."))
    return line if ours or line == kind.__name__ else f"{kind.__name__}: {line}"


class LaterSteps:
    """Steps after the main work of a command: a failure or Ctrl-C ends one step and no other.

    Parameters
    ----------
    say
        Called with one line for each step that did not finish.

    Attributes
    ----------
    exit_code
        0 while all needed steps have finished, 1 after a failed one, 130 after Ctrl-C.

    Examples
    --------
    >>> later = LaterSteps(print)
    >>> later.run("draw the map", lambda: 1 / 0)
    could not draw the map: ZeroDivisionError: division by zero
    >>> later.exit_code
    0
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.exit_code = 0

    def run(
        self, action: str, step: Callable[..., T], *arguments: Any, needed: bool = False
    ) -> T | None:
        """Return the result of a step, or None if it did not finish.

        Parameters
        ----------
        action
            Verb and object of the line, e.g. ``"save the model"``.
        step
            Function to call with the `arguments`.
        needed
            True if the command fails without this step.
        """
        try:
            return step(*arguments)
        except KeyboardInterrupt:
            reason = "stopped by Ctrl-C"
            self.exit_code = INTERRUPTED
        except Exception as error:
            reason = first_line_with_type(error)
            if needed:
                self.exit_code = self.exit_code or 1
        self.say(f"could not {action}: {reason}")
        return None

    def say(self, line: str) -> None:
        """Show a line where that is possible: the screen may be a file on a full disk."""
        with contextlib.suppress(OSError):
            self._say(line)
