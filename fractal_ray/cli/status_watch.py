"""``fractal-ray status --watch``: the screen of `run` for a sweep that runs elsewhere."""

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fractal_ray.cli.options import open_sweep
from fractal_ray.dataset.plain_json import to_json

if TYPE_CHECKING:
    from fractal_ray.engine.base import Progress
    from fractal_ray.sweep import Sweep


def follow(
    path: str,
    settings: list[str],
    storage: str | None,
    *,
    every: float,
    as_json: bool,
    skip_corrupt: bool,
) -> None:
    """Show a sweep until it is complete; waits for one that has not begun.

    Parameters
    ----------
    path, settings, storage
        As in `open_sweep`; a folder or a URI may be one that a sweep is still to be written to.
    every
        Seconds between two looks.
    as_json
        One JSON object a line in place of a screen or of lines.
    skip_corrupt
        Leave out parts that cannot be read instead of raising.

    Raises
    ------
    typer.Exit
        With 130 at Ctrl-C, with 1 where a complete sweep has points that were given up.
    """
    try:
        sweep = _begun(path, settings, storage, every)
        last = _show(sweep, every, as_json=as_json, skip_corrupt=skip_corrupt)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if last.gave_up:
        print(
            f"{last.gave_up} points failed again and again; see why: fractal-ray status --errors"
            f" {shlex.quote(sweep.location)}; run the sweep again to try them again",
            file=sys.stderr,
        )
        raise typer.Exit(1)


def check_watch(*, watch: bool, errors: bool, frames: bool, every: float | None) -> None:
    """Refuse options of `status` that do not go together."""
    from fractal_ray.errors import SweepError

    beside = [name for name, given in (("--errors", errors), ("--frames", frames)) if given]
    if watch and beside:
        raise SweepError(f"{' and '.join(beside)} cannot be watched; ask without --watch")
    if every is not None and not watch:
        raise SweepError("--every is how often --watch looks; give that as well")
    if every is not None and not 0.1 <= every <= 86_400:
        raise SweepError(f"--every takes 0.1 to 86400 seconds; given {every:g}")


def _show(sweep: "Sweep", every: float, *, as_json: bool, skip_corrupt: bool) -> "Progress":
    from fractal_ray.engine.watch import Watch

    watch = Watch(sweep, skip_corrupt=skip_corrupt)
    with _view(sweep.spec.name, as_json=as_json) as view:
        while True:
            progress = watch.look()
            view(progress)
            if progress.finished:
                return progress
            time.sleep(every)


def _begun(path: str, settings: list[str], storage: str | None, every: float) -> "Sweep":
    """The sweep, as soon as its dataset is there."""
    from fractal_ray.dataset.store import Store
    from fractal_ray.errors import SweepError
    from fractal_ray.sweep import HEADER

    # A spec's YAML says where its dataset will be; anything else is that place itself.
    sweep = None
    if "://" not in path and (Path(path).is_file() or Path(path).suffix in (".yaml", ".yml")):
        sweep = open_sweep(path, settings, storage)
    place = path if sweep is None else sweep.location
    store = Store(place)
    if store.read_text(HEADER) is None:
        shown = place if "://" in place else Path(place).expanduser().absolute()
        print(f"waiting: there is no sweep at {shown} yet", file=sys.stderr, flush=True)
        while store.read_text(HEADER) is None:
            time.sleep(every)
    if sweep is None:
        return open_sweep(path, settings, storage)
    if not sweep.is_of_this_spec():
        raise SweepError(
            f"{place} holds runs of other axes or another workload than {path} says; to watch what"
            f" is there: fractal-ray status --watch {shlex.quote(place)}"
        )
    return sweep


@contextmanager
def _view(title: str, *, as_json: bool) -> Iterator[Callable[["Progress"], None]]:
    """On stdout: what is shown is what was asked for."""
    from fractal_ray.cli.screen import best_view

    if as_json:
        yield lambda progress: print(to_json(_plain(progress)), flush=True)
        return
    with best_view(title, sys.stdout) as view:
        yield view


def _plain(progress: "Progress") -> dict[str, object]:
    """What the screen shows but for its map."""
    shown = asdict(progress) | {"rate": progress.rate, "eta": progress.eta}
    for name in ("map", "running", "spent", "error", "slots"):
        del shown[name]
    return shown
