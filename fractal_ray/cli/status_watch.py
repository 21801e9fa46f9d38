"""``fractal-ray status --watch``: the screen of `run`, for a sweep of another process."""

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
from nanochat.errors import user_path

if TYPE_CHECKING:
    from fractal_ray.engine.progress import Progress
    from fractal_ray.sweep import Sweep


def follow(
    path: str,
    settings: list[str],
    storage: str | None,
    *,
    interval: float,
    as_json: bool,
    skip_corrupt: bool,
) -> None:
    """Show a sweep until it is complete; wait for a sweep that has not begun.

    Parameters
    ----------
    path, settings, storage
        As in `open_sweep`; a folder or a URI need not hold a sweep yet.
    interval
        Seconds between two looks.
    as_json
        Print one JSON object a line instead of a screen or plain lines.
    skip_corrupt
        Leave out parts that cannot be read instead of raising.

    Raises
    ------
    typer.Exit
        With code 130 at Ctrl-C, with code 1 if the complete sweep has points that were given up.
    """
    try:
        sweep = _begun(path, settings, storage, interval, skip_corrupt)
        last = _show(sweep, interval, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if last.gave_up:
        print(
            f"{last.gave_up} points failed again and again; see why: fractal-ray status --errors"
            f" {shlex.quote(sweep.location)}; run the sweep again to try them again",
            file=sys.stderr,
        )
        raise typer.Exit(1)


def check_watch(*, watch: bool, errors: bool, frames: bool, interval: float | None) -> None:
    """Refuse options of `status` that exclude each other."""
    from fractal_ray.errors import SweepError

    options = [name for name, is_set in (("--errors", errors), ("--frames", frames)) if is_set]
    if watch and options:
        raise SweepError(f"{' and '.join(options)} cannot be watched; ask without --watch")
    if interval is not None and not watch:
        raise SweepError("--every sets how often --watch looks; give --watch as well")
    if interval is not None and not 0.1 <= interval <= 86_400:
        raise SweepError(f"--every takes 0.1 to 86400 seconds; given {interval:g}")


def _show(sweep: "Sweep", interval: float, *, as_json: bool) -> "Progress":
    from fractal_ray.engine.watch import Watch

    watch = Watch(sweep)
    with _view(sweep.spec.name, as_json=as_json) as view:
        while True:
            progress = watch.look()
            view(progress)
            if progress.finished:
                return progress
            time.sleep(interval)


def _begun(
    path: str, settings: list[str], storage: str | None, interval: float, skip_corrupt: bool
) -> "Sweep":
    """Return the sweep as soon as its dataset exists."""
    from fractal_ray.dataset.header import HEADER
    from fractal_ray.dataset.store import Store
    from fractal_ray.errors import SweepError
    from fractal_ray.spec.nearby import no_sweep_in, sweeps_in

    # A spec's YAML names the place of its dataset; any other path is the dataset's own.
    sweep = None
    if "://" not in path and (Path(path).is_file() or Path(path).suffix in (".yaml", ".yml")):
        sweep = open_sweep(path, settings, storage, skip_corrupt=skip_corrupt)
    place = path if sweep is None else sweep.location
    store = Store(place)
    if store.read_text(HEADER) is None:
        if "://" not in place and sweeps_in(Path(place)):
            raise SweepError(no_sweep_in(Path(place)))
        full_path = place if "://" in place else user_path(place, SweepError).absolute()
        print(f"waiting: there is no sweep at {full_path} yet", file=sys.stderr, flush=True)
        while store.read_text(HEADER) is None:
            time.sleep(interval)
    if sweep is None:
        return open_sweep(path, settings, storage, skip_corrupt=skip_corrupt)
    if not sweep.is_of_this_spec():
        raise SweepError(
            f"{place} holds runs of other axes or another workload than {path} says; to watch the"
            f" sweep that is there: fractal-ray status --watch {shlex.quote(place)}"
        )
    return sweep


@contextmanager
def _view(title: str, *, as_json: bool) -> Iterator[Callable[["Progress"], None]]:
    """Open the view on stdout, because the progress is the output of this command."""
    from fractal_ray.cli.screen import best_view

    if as_json:
        yield lambda progress: print(to_json(_plain(progress)), flush=True)
        return
    with best_view(title, sys.stdout) as view:
        yield view


def _plain(progress: "Progress") -> dict[str, object]:
    """Return the numbers and names of the screen, without its map."""
    values = asdict(progress) | {"rate": progress.rate, "eta": progress.eta}
    for name in ("map", "running", "spent", "error", "slots"):
        del values[name]
    return values
