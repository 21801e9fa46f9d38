"""One call of a function: the arguments that it declares, and the result of its run."""

import contextlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from fractal_ray.errors import SweepError
from fractal_ray.workloads.function.recording import (
    Diverged,
    Recorder,
    RunEndedError,
    recording,
)
from fractal_ray.workloads.function.result import Result, ended, result_of
from fractal_ray.workloads.function.settings import DivergenceSpec
from nanochat.errors import quoted

ARGUMENTS: Final = ("params", "seed", "device", "shared", "out_dir")
"""Arguments that a function may declare."""


def declared_arguments(
    function: Any, name: str, allowed: Sequence[str] = ARGUMENTS
) -> tuple[str, ...]:
    """Return the names of the arguments that a function gets.

    Parameters
    ----------
    function
        The function.
    name
        Its name for messages.
    allowed
        Names that it may declare.

    Raises
    ------
    SweepError
        If it is no function, or needs an argument of another name.
    """
    if not callable(function) or inspect.isclass(function):
        kind = "a class" if inspect.isclass(function) else f"{quoted(function)}"
        raise SweepError(f"{name} is {kind}, not a function")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise SweepError(f"{name} is a coroutine; fractal-ray calls plain functions")
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError as error:
        raise SweepError(f"{name} has no signature that can be read: {error}") from error
    names = []
    for each in parameters:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            continue
        if each.name in allowed and each.kind is not each.POSITIONAL_ONLY:
            names.append(each.name)
        elif each.default is each.empty:
            raise SweepError(
                f"{name} needs the argument {quoted(each.name)}; allowed: {', '.join(allowed)}, by"
                " name. Swept values and settings are in params"
            )
    return tuple(names)


def run_function(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    name: str,
    diverges_on: Sequence[DivergenceSpec],
    beat: Callable[[], None],
) -> Result:
    """Call a function and return the result of its run.

    Parameters
    ----------
    function, arguments
        The function, and its arguments by name.
    name
        Name for messages.
    diverges_on
        Exceptions that mean divergence, besides FloatingPointError and `Diverged`.
    beat
        Called after each loss that is yielded or recorded.

    Raises
    ------
    Exception
        Whatever the function raises that is no divergence: a failure.
    """
    recorder = Recorder(beat)
    process = os.getpid()
    with recording(recorder), contextlib.redirect_stdout(sys.stderr):
        try:
            returned = function(**arguments)
            if isinstance(returned, Iterator):
                returned = _exhausted(returned, recorder)
        except RunEndedError:
            returned = None
        except Diverged as error:
            return ended(recorder, error.step, str(error))
        except SystemExit as error:
            raise RuntimeError(f"{name} called sys.exit({error.code!r})") from error
        except Exception as error:
            reason = divergence(error, diverges_on)
            if reason is None:
                raise
            return ended(recorder, None, reason)
        finally:
            if os.getpid() != process:
                os._exit(0)  # a copy of this process that the function made by os.fork
    if inspect.isawaitable(returned):
        raise TypeError(f"{name} returned a coroutine; fractal-ray calls plain functions")
    return result_of(returned, recorder, name)


def run_batch(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    name: str,
    count: int,
    diverges_on: Sequence[DivergenceSpec],
) -> list[Result] | None:
    """Call the form `batch` of a function, which runs many points at once.

    Parameters
    ----------
    function, arguments, name, diverges_on
        As in `run_function`.
    count
        Number of points.

    Returns
    -------
    list of Result or None
        One result for each point; None if an exception that means divergence ended the call for
        all of several points.
    """
    with contextlib.redirect_stdout(sys.stderr):
        try:
            returned = function(**arguments)
        except SystemExit as error:
            raise RuntimeError(f"{name} called sys.exit({error.code!r})") from error
        except Exception as error:
            step = error.step if isinstance(error, Diverged) else None
            reason = str(error) if isinstance(error, Diverged) else divergence(error, diverges_on)
            if reason is None:
                raise
            return None if count > 1 else [ended(Recorder(), step, reason)]
    results = returned if isinstance(returned, list | tuple) else None
    if results is None or len(results) != count:
        kind = f"{len(results)} results" if results is not None else quoted(returned)
        raise TypeError(f"{name} returned {kind} for {count} points; it returns a list of results")
    return [result_of(each, Recorder(), name) for each in results]


def divergence(error: Exception, rules: Sequence[DivergenceSpec]) -> str | None:
    """Return the reason of a divergence that an exception means; None for a failure."""
    names = {kind.__name__ for kind in type(error).__mro__}
    text = f"{type(error).__name__}: {error}".strip()
    if "FloatingPointError" in names:
        return text
    if names & {"MemoryError", "OutOfMemoryError"}:
        return None
    if any(rule.error in names and rule.text in str(error) for rule in rules):
        return text
    return None


def _exhausted(losses: Iterator[Any], recorder: Recorder) -> Any:
    """Take all losses that a function yields; return its last value.

    The first loss that is not finite closes a generator, so that it trains no further.
    """
    recorder.yielded = True
    try:
        while True:
            try:
                loss = next(losses)
            except StopIteration as stop:
                return stop.value
            recorder.add(loss)
    finally:
        close = getattr(losses, "close", None)
        if close is not None:
            close()
