"""``fractal-ray movie``: a zoom movie down a chain of frames, as a GIF and an MP4."""

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fractal_ray.cli.options import (
    ColorsOption,
    QuietOption,
    SetOption,
    SkipOption,
    StorageOption,
    SweepArgument,
    open_sweep,
)
from fractal_ray.figures.catalog import title_of
from nanochat.cli.output_options import check_file

if TYPE_CHECKING:
    from fractal_ray.figures.movie.movie import Movie


_LINE_SECONDS = 5.0


class Shade(StrEnum):
    """Quantity that colours a map."""

    LABEL = "label"
    VALUE = "value"
    RANK = "rank"


def movie(
    sweep_path: SweepArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            callback=check_file,
            help="File to write (.gif or .mp4); default: a GIF, and an MP4 where ffmpeg is found,"
            " in figures/ in the dataset's folder.",
        ),
    ] = None,
    frame: Annotated[
        int | None,
        typer.Option(
            help="Number of the frame at which the movie ends; `fractal-ray status --frames` lists"
            " the numbers. Where zooms made several chains, this chooses the chain. Default: the"
            " end of the last chain."
        ),
    ] = None,
    shade: Annotated[
        Shade,
        typer.Option(
            help="label: yes or no; value: label and loss; rank: how fast runs converge or diverge,"
            " as arXiv 2402.06184 colours it."
        ),
    ] = Shade.LABEL,
    colors: ColorsOption = "safe",
    hold: Annotated[
        int, typer.Option(min=0, help="Number of pictures during which a frame stands still.")
    ] = 12,
    zoom: Annotated[
        int, typer.Option(min=1, help="Number of pictures from one frame to the next.")
    ] = 24,
    crossfade: Annotated[
        int,
        typer.Option(
            min=0, help="Number of these pictures, at the end, that fade over to the next frame."
        ),
    ] = 8,
    fps: Annotated[int, typer.Option(min=1, max=50, help="Pictures a second.")] = 24,
    pad: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Margin around a frame that stands still, as a share of its sides."
        ),
    ] = 0.02,
    width: Annotated[int, typer.Option(min=200, max=4000, help="Pixels of a picture.")] = 900,
    settings: SetOption = [],  # noqa: B006 - typer copies it
    storage: StorageOption = None,
    quiet: QuietOption = False,
    skip_corrupt: SkipOption = False,
) -> None:
    """Make the zoom movie: from the first frame down to a frame of a zoom, without a jump."""
    from fractal_ray.figures.movie.camera import Timing
    from fractal_ray.figures.movie.movie import Movie
    from fractal_ray.figures.movie.video import has_ffmpeg

    sweep = open_sweep(sweep_path, settings, storage, skip_corrupt=skip_corrupt)
    film = Movie(
        sweep,
        sweep.table(),
        frame,
        timing=Timing(hold, zoom, crossfade, fps, pad, width),
        shade=shade.value,
        colors=colors,
        title=title_of(sweep, 0),
    )
    if frame is None and len(film.others) > 1 and not quiet:
        ends = ", ".join(map(str, film.others))
        print(f"chains end at frames {ends}; this is the last, --frame chooses", file=sys.stderr)
    if out is not None:
        _write(film, [out], fps, quiet=quiet)
        print(out)
        return
    name = f"{sweep.spec.name}-frame{film.chain[-1].frame.id}-{shade.value}"
    kinds = [".gif", ".mp4"] if has_ffmpeg() else [".gif"]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}{kind}" for kind in kinds]
        _write(film, files, fps, quiet=quiet)
        for file in files:
            print(sweep.store().write_file(f"figures/{file.name}", file.read_bytes()))
    if len(kinds) == 1 and not quiet:
        print("no MP4: there is no ffmpeg on the PATH", file=sys.stderr)


def _write(film: "Movie", files: list[Path], fps: int, *, quiet: bool) -> None:
    from fractal_ray.figures.movie.video import open_video

    with contextlib.ExitStack() as stack:
        adders = [
            stack.enter_context(open_video(file, film.size, fps, film.colors)) for file in files
        ]
        advance = stack.enter_context(_progress(film.length, hide=quiet))
        for picture, times in film.pictures():
            for add in adders:
                add(picture, times)
            advance(times)


@contextmanager
def _progress(total: int, *, hide: bool) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal, a line every few seconds elsewhere, or nothing."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if hide:
        yield lambda times: None
    elif console.is_terminal:
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task("pictures", total=total)
            yield lambda times: bar.advance(task, times)
    else:
        yield _Lines(total)


class _Lines:
    def __init__(self, total: int) -> None:
        self._total, self._done, self._last = total, 0, time.monotonic()

    def __call__(self, times: int) -> None:
        self._done += times
        now = time.monotonic()
        if now - self._last >= _LINE_SECONDS:
            print(f"{self._done}/{self._total} pictures", file=sys.stderr, flush=True)
            self._last = now
