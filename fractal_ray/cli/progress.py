"""Progress and clean stops of the commands that run points."""

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

import typer

from nanochat.cli.escapes import escaped

if TYPE_CHECKING:
    from fractal_ray.sweep import Sweep


@contextmanager
def watched(sweep: "Sweep", *, quiet: bool, as_json: bool) -> Iterator[dict[str, Any]]:
    """Show the progress of `Sweep.run` and stop cleanly on Ctrl-C.

    Yields
    ------
    The arguments `view` and `say` of `Sweep.run`.
    """

    def say(text: str) -> None:
        if not quiet:
            print(escaped(text), file=sys.stderr, flush=True)

    try:
        with (
            _stop_signals(),
            # Ray prints its notices of lost workers on stdout, which belongs to --json.
            redirect_stdout(sys.stderr),
            _view(sweep.spec.name, hide=quiet or as_json) as view,
        ):
            yield {"view": view, "say": say}
    except KeyboardInterrupt:
        done = sweep.store().read(["point_id"], skip_corrupt=True).num_rows
        command = shlex.join(["fractal-ray", *sys.argv[1:]])
        print(
            f"\nstopped; {done} points are in {sweep.location}.\nTo go on: {command}",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None


@contextmanager
def _view(title: str, *, hide: bool) -> Iterator[Any]:
    """Choose the view of the progress: a screen, plain lines, or nothing."""
    from fractal_ray.cli.screen import best_view

    if hide:
        yield lambda progress: None
        return
    with best_view(title, sys.stderr) as view:
        yield view


@contextmanager
def _stop_signals() -> Iterator[None]:
    """Let SIGTERM (a stopped Ray job) end a sweep as cleanly as Ctrl-C does."""

    def stop(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    # A process that a script starts in the background ignores SIGINT, and so do its children, a
    # Ray head and its jobs among them. `ray job stop` may send SIGINT.
    ignored = (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN and "RAY_JOB_STOP_SIGNAL" in os.environ
    )
    if ignored:
        signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
