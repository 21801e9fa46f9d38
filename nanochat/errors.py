"""Exception for bad input, hints for misspelt names, panics of Rust, steps that may fail alone."""

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator
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


def is_panic(error: BaseException) -> bool:
    """Return True for a panic of a library that is written in Rust.

    Each such library raises a class ``PanicException`` of its own. None of them is an `Exception`,
    so that ``except Exception`` lets them through.
    """
    kind = type(error)
    return (kind.__module__, kind.__name__) == ("pyo3_runtime", "PanicException")


@contextlib.contextmanager
def panics_as_errors(describe: Callable[[str], str]) -> Iterator[None]:
    """Turn a panic of a Rust library into a NanochatError; every other exception passes.

    Parameters
    ----------
    describe
        Function of the panic's first line that returns the message.
    """
    try:
        yield
    except BaseException as error:
        if not is_panic(error):
            raise
        raise NanochatError(describe(first_line(error))) from error


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
