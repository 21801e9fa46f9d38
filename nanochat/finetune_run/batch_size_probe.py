"""Search for the largest batch that fits on a device."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanochat.errors import NanochatError
from nanochat.finetune_run.subprocess_run import Child, finetune_in_child


@dataclass(frozen=True)
class Attempt:
    """Result of one tried batch size.

    Attributes
    ----------
    fits
        The run came to its end with finite losses.
    outcome
        End of the run, in words.
    last
        Nothing larger is worth trying.
    """

    batch_size: int
    fits: bool
    outcome: str
    last: bool


def probe_batch_size(
    given: Mapping[str, Any],
    sizes: range,
    out: Path,
    on_attempt: Callable[[Attempt], None],
) -> int | None:
    """Try batch sizes upwards, each in a process of its own, until one does not fit.

    Parameters
    ----------
    given
        Settings by name, without ``device_batch_size``.
    sizes
        Ascending.
    out
        Each try has ``batch_<size>`` in it.
    on_attempt
        Called with each attempt when it ends.

    Returns
    -------
    int or None
        The largest that fits; None where not even the first does.

    Raises
    ------
    NanochatError
        Where a try says nothing of memory: the data is too small, or something else failed.
    """
    best = None
    for size in sizes:
        settings = {**given, "device_batch_size": size}
        child = finetune_in_child(settings, out / f"batch_{size}", os.environ, None)
        attempt = _judge(size, child)
        on_attempt(attempt)
        best = size if attempt.fits else best
        if attempt.last:
            break
    return best


def _judge(size: int, child: Child) -> Attempt:
    if child.code < 0:
        return Attempt(size, False, f"killed by signal {-child.code}", last=True)
    if not child.finished:
        if "memory" not in child.reason.lower():
            raise NanochatError(f"batch {size}: failed, and not for lack of memory: {child.reason}")
        return Attempt(size, False, child.reason, last=True)
    if not child.fields["stable"]:  # not a matter of memory: a larger batch may be stable
        return Attempt(size, False, child.fields["error"], last=False)
    assert child.content is not None
    examples = child.content["repro"]["examples"]
    if examples < size:
        raise NanochatError(
            f"batch {size}: the data has only {examples} conversations; give more, or --bs-max "
            f"{examples}"
        )
    return Attempt(size, True, f"loss {child.fields['final_loss']:.6f}", last=False)
