"""Progress and clean stops of the commands that run points."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

import typer

from nanochat.cli.escapes import escaped
from nanochat.cli.stop_signals import INTERRUPTED, raise_if_stopped

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
        raise_if_stopped()
        if not quiet:
            print(escaped(text), file=sys.stderr, flush=True)

    try:
        with (
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
        raise typer.Exit(INTERRUPTED) from None


def note_rest(spent: str, gave_up: int, location: str) -> None:
    """Print why points are missing: the budget, or failures; nothing where none are.

    Parameters
    ----------
    spent
        The budget at which the run stopped; "" if it did not.
    gave_up
        Number of points that failed again and again.
    location
        The dataset with their errors.
    """
    if spent:
        print(
            f"stopped at the budget of {spent}; the same command with a larger one, or with none,"
            " goes on",
            file=sys.stderr,
        )
    if gave_up:
        print(
            f"{gave_up} points failed again and again and are unknown on the map;"
            f" see why: fractal-ray status --errors {shlex.quote(location)};"
            " the same command tries them again",
            file=sys.stderr,
        )


@contextmanager
def _view(title: str, *, hide: bool) -> Iterator[Any]:
    """Choose the view of the progress: a screen, plain lines, or nothing."""
    from fractal_ray.cli.screen import best_view

    if hide:
        yield lambda progress: None
        return
    with best_view(title, sys.stderr) as view:
        yield view
