"""Errors for bad input: quoted values, readers' faults, misspelt names, steps."""

import contextlib
import difflib
import itertools
import os
import reprlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
INTERRUPTED = 130  # exit code after Ctrl-C

_SYNONYMS = (
    ("learning_rate", "eta", "lr", "base_lr", "step_size"),
    ("device_batch_size", "batch_size", "batch", "bs", "micro_batch_size", "mini_batch_size",
     "train_batch_size", "per_device_batch_size", "per_device_train_batch_size"),
    ("target_examples_per_step", "global_batch_size", "total_batch_size", "effective_batch_size",
     "gradient_accumulation_steps", "grad_accum_steps", "accumulation_steps"),
    ("num_iterations", "steps", "num_steps", "max_steps", "iterations", "iters", "max_iters",
     "train_steps", "epochs", "num_epochs", "max_epochs", "num_train_epochs"),
    ("num_tokens", "tokens", "token_budget", "train_tokens"),
    ("weight_decay", "wd", "decay"),
    ("warmup_frac", "warmup", "warmup_ratio", "warmup_steps", "num_warmup_steps"),
    ("seed", "random_seed", "rng_seed", "random_state", "manual_seed"),
    ("dtype", "precision", "torch_dtype", "fp16", "bf16", "amp"),
    ("max_seq_len", "sequence_len", "seq_len", "max_length", "max_len", "context_length",
     "block_size"),
    ("gradient_checkpointing", "grad_checkpointing", "activation_checkpointing", "checkpointing"),
    ("depth", "layers", "n_layer", "n_layers", "num_layers"),
    ("model_dim", "width", "n_embd", "d_model", "hidden_size"),
    ("model", "model_name", "model_path", "model_name_or_path", "base_model", "checkpoint", "ckpt"),
    ("data", "dataset", "dataset_name", "train_data", "train_file"),
    ("val_data", "validation_data", "eval_data", "val_file", "validation_file", "eval_dataset"),
    ("val_share", "val_split", "validation_split", "val_ratio", "val_frac", "test_size"),
    ("eval_every", "eval_interval", "eval_steps", "eval_freq", "val_every"),
    ("log_every", "log_interval", "logging_steps", "log_freq", "print_every"),
    ("run", "run_name", "wandb_run", "wandb_name", "wandb_run_name", "wandb"),
    ("out", "output", "out_dir", "out_path", "output_dir", "output_path", "save_dir", "save_path"),
    ("num_cpus", "cpus", "num_workers", "workers", "n_jobs", "jobs"),
    ("gpu", "gpus", "num_gpus", "n_gpus"),
    ("points", "resolution", "nodes"),
    ("param", "parameter", "hyperparameter"),
    ("min", "low", "lower", "minimum", "start"),
    ("max", "high", "upper", "maximum", "stop", "end"),
    ("set", "override", "overrides"),
)  # fmt: skip
"""Groups of names that other programs and this one give to one setting, preferred names first."""


class NanochatError(ValueError):
    """Error for input that cannot be used; its message is one line for the user."""


class Note(UserWarning):
    """Category of this project's notes; a command prints each as one line ``note: ...``."""


_MOST_QUOTED = 400  # letters of a quoted value


class _ShortRepr(reprlib.Repr):
    """The maker of a value's repr that looks at no more of the value than it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 8
        self.maxstring = self.maxother = 120
        self.repr_bytes = self.repr_str

    def repr_int(self, x: int, level: int) -> str:
        """Return the digits of a number; Python refuses to write out a very long one."""
        return repr(x) if abs(x) < 10**60 else f"<whole number of {x.bit_length()} bits>"

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """Return the first keys with their values, in their order (reprlib sorts them)."""
        if level <= 0:
            return "{...}"
        shown = [
            f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}"
            for key, value in itertools.islice(x.items(), self.maxlist)
        ]
        return "{" + ", ".join([*shown, *(["..."] if len(x) > self.maxlist else [])]) + "}"


_SHORT_REPR = _ShortRepr()


def quoted(value: Any) -> str:
    """Return the repr of a value of the user, shortened; a long one is never built whole.

    Examples
    --------
    >>> quoted("matrix_lr"), quoted([1, 2])
    ("'matrix_lr'", '[1, 2]')
    >>> len(quoted("x" * 10**6))
    120
    """
    return shortened(_SHORT_REPR.repr(value))


def shortened(text: object, most: int = _MOST_QUOTED) -> str:
    """Return a text on one line, with "..." in place of the middle of a long one.

    Examples
    --------
    >>> shortened("a" * 100, 9)
    'aaa...aaa'
    """
    line = " ".join(str(text).split())
    half = (most - 3) // 2
    return line if len(line) <= most else f"{line[:half]}...{line[-half:]}"


@contextlib.contextmanager
def reading(
    name: object,
    remedy: str = "",
    *,
    as_error: type[ValueError] = NanochatError,
    also: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Turn every error that a user's file can cause into one line with the file's name.

    These are errors of the system, bytes that are no text, values that cannot be parsed, deep
    nesting, and want of memory. This project's own errors pass, and so do those that only a bug
    raises.

    Parameters
    ----------
    name
        Path or name of what is read.
    remedy
        End of the message: the command or the step that mends the file.
    as_error
        Class of the error to raise.
    also
        Further classes that the content can cause, such as KeyError where keys are looked up.

    Examples
    --------
    >>> import json
    >>> with reading("sweep.json", "; restore it from a copy"):
    ...     json.loads("[")
    Traceback (most recent call last):
    nanochat.errors.NanochatError: sweep.json is damaged (...); restore it from a copy
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, as_error | NanochatError) or not _is_of_input(error, also):
            raise
        raise as_error(f"{shortened(name)} {_fault(error)}{remedy}") from error


def user_path(text: str | Path, as_error: type[ValueError] = NanochatError) -> Path:
    """Return the path that a user names, with ``~`` replaced; nothing needs to be there.

    Parameters
    ----------
    text
        The path as given.
    as_error
        Class of the error to raise.

    Raises
    ------
    NanochatError
        For a text that no path can be, an unknown user after ``~``, a name that is too long, and a
        folder that may not be looked into. `as_error` replaces the class.

    Examples
    --------
    >>> user_path("out/model").name
    'model'
    """
    try:
        path = Path(text).expanduser()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(path)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: no home of this user
        reason = getattr(error, "strerror", None) or error
        raise as_error(f"{quoted(str(text))} cannot be used as a path: {reason}") from error
    return path


def _is_of_input(error: Exception, also: tuple[type[Exception], ...]) -> bool:
    of_arrow = type(error).__module__ == "pyarrow.lib"  # its errors have several bases
    kinds = (OSError, ValueError, OverflowError, RecursionError, MemoryError, *also)
    return of_arrow or isinstance(error, kinds)


def _fault(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "cannot be read: this machine has not enough free memory for it"
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if isinstance(error, OSError):
        return f"cannot be read: {shortened(error.strerror or error)}"
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8 text (byte {error.start} is 0x{error.object[error.start]:02x})"
    reason = f"no {error.args[0]!r}" if isinstance(error, KeyError) else error
    return f"is damaged ({shortened(reason)})"


def nearest_name(given: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name that a user most likely meant; None if no name is near.

    A synonym that other programs use comes before a name with similar letters.

    Parameters
    ----------
    given
        The name as given; case, and dashes or underscores between words, do not matter.
    allowed
        Every name that would have been accepted, options of a command with their dashes.

    Examples
    --------
    >>> nearest_name("lr", ["matrix_lr", "learning_rate"])
    'learning_rate'
    >>> nearest_name("--bs", ["--model", "--device-batch-size"])
    '--device-batch-size'
    >>> nearest_name("lr", ["model", "preset"]) is None
    True
    """
    names = list(allowed)
    by_words = {_words(name): name for name in reversed(names)}
    key = _words(given)
    same = [each for group in _SYNONYMS if key in group for each in group]
    for candidate in (key, *same):
        if candidate in by_words:
            return by_words[candidate]
    close = difflib.get_close_matches(key, by_words, n=1, cutoff=0.5)
    return by_words[close[0]] if close else None


def _words(name: str) -> str:
    return name.lstrip("-").replace("-", "_").lower()


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
    near = nearest_name(given, names)
    hint = f"; did you mean {near!r}?" if near else ""
    return NanochatError(f"unknown {kind} {quoted(given)}{hint} (allowed: {', '.join(names)})")


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
