"""Views of a running sweep: one screen on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fractal_ray.engine.progress import Progress
from fractal_ray.plane.boundary import OUTCOME_CODES
from fractal_ray.plane.outcome import SPLIT, Outcome, counts_text
from fractal_ray.plane.palette import OUTCOME_COLORS, OUTCOME_NAMES
from nanochat.cli.escapes import escaped

# By code of a map; unknown points are dim.
_COLOURS = {code: OUTCOME_COLORS[outcome].lower() for outcome, code in OUTCOME_CODES.items()}
_UNKNOWN = "grey23"
_LINE_SECONDS = 5.0


def duration(seconds: float | None) -> str:
    """Format seconds as ``1:02:03`` or ``2:03``; None as "-"."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def one_line(progress: Progress) -> str:
    """Format the state of a sweep as one line, for logs."""
    counts = counts_text(progress.outcomes, progress.not_improved)
    line = (
        f"{progress.done}/{progress.total} points ({counts}), {beside(progress)}"
        f"{progress.failures} failures, {progress.rate:.2f} points/s,"
        f" {duration(progress.eta)} to go"
    )
    return escaped(f"{line}; {progress.trouble}" if progress.trouble else line)


def beside(progress: Progress) -> str:
    """Format the counts that are named beside the number of runs: "48 by bisection, ..., "."""
    texts = []
    if progress.bisection_points:
        texts.append(f"{progress.bisection_points} of them by bisection, ")
    if progress.shared_nodes:
        texts.append(f"{progress.shared_nodes} nodes share a run with another node, ")
    return "".join(texts)


class LineView:
    """View that prints one plain line every few seconds, and a last one at the end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = time.monotonic()
        self._text = ""

    def __call__(self, progress: Progress) -> None:
        """Print a state if it is new and the last line is old or the sweep is over."""
        now = time.monotonic()
        text = one_line(progress)
        if text != self._text and (progress.finished or now - self._last >= _LINE_SECONDS):
            print(text, file=self._stream, flush=True)
            self._last, self._text = now, text

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Do nothing: the lines stay where they are."""


class ScreenView:
    """View as a live screen: bar, rate, time to go, counts, and the map as it fills."""

    def __init__(self, title: str, console: Console) -> None:
        self._title = title
        self._live = Live(console=console, refresh_per_second=4)

    def __call__(self, progress: Progress) -> None:
        """Show a state of the sweep."""
        self._live.update(screen(self._title, progress, self._live.console))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Leave the last state on the terminal."""
        self._live.stop()


@contextmanager
def best_view(title: str, stream: TextIO) -> Iterator["ScreenView | LineView"]:
    """Open the view that suits a stream: a screen on a terminal, plain lines elsewhere."""
    console = Console(file=stream)
    with ScreenView(title, console) if console.is_terminal else LineView(stream) as view:
        yield view


def screen(title: str, progress: Progress, console: Console) -> RenderableType:
    """Lay out the live screen of one state, its map as large as the console has room for."""
    head = Text.assemble((escaped(title), "bold"), escaped(f"  stage {progress.stage}"))
    bar = Table.grid(padding=(0, 1))
    done = ProgressBar(total=max(1, progress.total), completed=progress.done, width=40)
    bar.add_row(done, f"{progress.done}/{progress.total} points")
    facts = f"{progress.rate:.2f} points/s · {duration(progress.seconds)}"
    if not progress.finished:
        facts += f" so far · {duration(progress.eta)} to go · {progress.slots} slots busy"
    parts: list[RenderableType] = [head, bar, Text(facts), _counts(progress)]
    if progress.trouble:
        parts.append(Text(escaped(progress.trouble), style="bold red"))
    above = Text(escaped(f"{progress.y_param} ↑"), style="dim")
    below = Text(escaped(f"{progress.x_param} →"), style="dim")
    used = len(console.render_lines(Group(*parts, above, below)))
    lines = max(1, console.height - used)
    return Group(*parts, above, map_text(shrunk(progress.map, console.width, 2 * lines)), below)


def shrunk(rows: list[list[int]], width: int, height: int) -> list[list[int]]:
    """Shrink a map to at most `width` columns and `height` rows.

    A bin of the smaller map has the code of the first known bin among those that it replaces.

    Parameters
    ----------
    rows
        Codes as in `Progress.map`; an empty list before the first outcome.
    width, height
        At least 1.
    """
    if not rows:
        return rows
    across, up = _parts(len(rows[0]), width), _parts(len(rows), height)
    return [
        [next((code for row in rows[r] for code in row[c] if code >= 0), -1) for c in across]
        for r in up
    ]


def _parts(count: int, most: int) -> list[slice]:
    """Split ``range(count)`` into at most `most` parts of nearly equal length."""
    parts = min(count, most)
    return [slice(k * count // parts, (k + 1) * count // parts) for k in range(parts)]


def _counts(progress: Progress) -> Text:
    text = Text()
    for outcome, count in _split(progress).items():
        text.append("■ ", style=_COLOURS[OUTCOME_CODES[outcome]])
        text.append(f"{OUTCOME_NAMES[outcome]} {count}   ")
    text.append(f"failures {progress.failures}", style="bold red" if progress.failures else "")
    if progress.gave_up:
        text.append(f" ({progress.gave_up} points given up)", style="bold red")
    if progress.reused:
        text.append(f"   {progress.reused} from the dataset", style="dim")
    if counts := beside(progress).removesuffix(", "):
        text.append(f"   {counts}", style="dim")
    return text


def _split(progress: Progress) -> dict[Outcome, int]:
    """Return the number of runs by outcome: trained, the parts of `not_improved`, diverged.

    The stored outcomes are always listed, parts and runs of unknown part only where there are some.
    """
    parts = {part: progress.not_improved.get(part, 0) for part in SPLIT}
    unknown = progress.outcomes.get(Outcome.NOT_IMPROVED, 0) - sum(parts.values())
    counts = {Outcome.TRAINED: progress.outcomes.get(Outcome.TRAINED, 0)}
    counts |= {part: count for part, count in parts.items() if count}
    if unknown or len(counts) == 1:
        counts[Outcome.NOT_IMPROVED] = unknown
    return {**counts, Outcome.DIVERGED: progress.outcomes.get(Outcome.DIVERGED, 0)}


def map_text(rows: list[list[int]]) -> Text:
    """Draw a small map as text: two lattice rows a line, in half blocks, y upwards."""
    text = Text()
    upright = rows[::-1]
    for top, bottom in zip(upright[::2], [*upright[1::2], None], strict=False):
        for column, code in enumerate(top):
            upper = _COLOURS.get(code, _UNKNOWN)
            lower = _COLOURS.get(bottom[column], _UNKNOWN) if bottom else "default"
            text.append("▀", style=f"{upper} on {lower}")
        text.append("\n")
    text.rstrip()
    return text
