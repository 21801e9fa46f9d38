"""The live view of a run."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from fractal_ray.cli import screen as live
from fractal_ray.cli.screen import LineView, duration, map_text, one_line, screen, shrunk
from fractal_ray.engine.progress import Progress
from fractal_ray.plane.boundary import OUTCOME_CODES
from fractal_ray.plane.palette import OUTCOME_COLORS

HALF_WAY = Progress(
    stage="0:grid",
    total=100,
    done=60,
    reused=10,
    running=4,
    outcomes={"trained": 30, "not_improved": 20, "diverged": 10},
    failures=2,
    gave_up=1,
    slots=2,
    seconds=25.0,
    x_param="unembedding_lr",
    y_param="matrix_lr",
    map=[[0, 0, 1], [0, 1, 2], [-1, -1, -1]],
)


def shown(progress: Progress, width: int = 120, height: int = 40) -> str:
    console = Console(width=width, height=height, record=True, file=io.StringIO())
    console.print(screen("quickstart", progress, console))
    return console.export_text()


def test_rate_and_time_to_go_leave_out_what_was_reused() -> None:
    assert HALF_WAY.rate == 2.0
    assert HALF_WAY.eta == 20.0
    assert replace(HALF_WAY, seconds=0.0).eta is None


def test_screen_says_everything() -> None:
    text = shown(replace(HALF_WAY, trouble="storage refuses, trying again: disk full"))
    for part in (
        "quickstart",
        "60/100 points",
        "2.00 points/s",
        "0:20 to go",
        "trained 30",
        "diverged 10",
        "failures 2 (1 points given up)",
        "10 from the dataset",
        "disk full",
        "matrix_lr",
        "unembedding_lr",
    ):
        assert part in text


def test_the_parts_of_not_improved_have_squares_of_their_own() -> None:
    assert "■ trained 30   ■ not improved 20   ■ diverged 10" in shown(HALF_WAY)
    split = {"too_slow": 12, "degraded": 5, "too_short": 0, "unknown": 0}
    text = shown(replace(HALF_WAY, not_improved=split), width=160)
    assert "■ too slow 12   ■ degraded 5   ■ not improved 3   ■ diverged 10" in text
    text = shown(replace(HALF_WAY, not_improved={**split, "too_short": 3}), width=160)
    assert "■ degraded 5   ■ too short 3   ■ diverged 10" in text
    assert "not improved" not in text


def test_control_characters_from_outside_are_escaped() -> None:
    attack = "\x1b[1A\x1b]52;c;WA==\x07"
    state = replace(HALF_WAY, trouble=attack, stage=attack, x_param=attack, y_param=attack)
    for text in (shown(state), one_line(state)):
        assert r"\x1b[1A\x1b]52;c;WA==\x07" in text
        assert "\x1b" not in text
        assert "\x07" not in text


@pytest.mark.parametrize("height", [1, 2, 3, 32])
def test_map_has_one_half_block_per_point(height: int) -> None:
    text = map_text([[0, 1, 2, -1]] * height)
    lines = text.plain.splitlines()
    assert len(lines) == (height + 1) // 2
    assert set(lines) == {"▀▀▀▀"}


LARGE = [[(row // 16) + (column // 24) for column in range(48)] for row in range(32)]


@pytest.mark.parametrize(
    ("width", "height", "blocks"), [(40, 12, (3, 40)), (80, 24, (16, 48)), (120, 50, (16, 48))]
)
def test_the_whole_screen_is_seen_on_any_console(
    width: int, height: int, blocks: tuple[int, int]
) -> None:
    lines = shown(replace(HALF_WAY, map=LARGE), width, height).splitlines()
    assert len(lines) <= height
    drawn = [line for line in lines if set(line) == {"▀"}]
    assert (len(drawn), len(drawn[0])) == blocks
    assert lines[1].endswith(" 60/100 points")
    assert "unembedding_lr" in lines[-1]
    assert "unembedding_lr" in shown(replace(HALF_WAY, map=[]), width, height)


def test_a_smaller_map_shows_what_is_known_of_each_part() -> None:
    assert shrunk(LARGE, 2, 2) == [[0, 1], [1, 2]]
    assert shrunk(LARGE, 48, 32) == shrunk(LARGE, 99, 99) == LARGE
    few = [[-1, -1, -1, 2, -1], [-1, -1, 1, -1, -1], [-1] * 5]
    assert shrunk(few, 2, 2) == [[-1, 2], [-1, 1]]


def test_map_points_upwards() -> None:
    low, high = [0, 0], [2, 2]
    colours = [str(span.style) for span in map_text([low, high]).spans]
    assert colours[0].startswith("#d55e00 on #0072b2"), "diverged above, trained below"


def test_colours_are_those_of_the_figures() -> None:
    assert {code: colour.lower() for code, colour in live._COLOURS.items()} == {
        OUTCOME_CODES[outcome]: colour.lower() for outcome, colour in OUTCOME_COLORS.items()
    }


def test_lines_come_every_few_seconds_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("fractal_ray.cli.screen.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    view = LineView(stream)
    for second in range(12):
        now[0] = float(second)
        view(replace(HALF_WAY, done=60 + second))
    view(replace(HALF_WAY, done=100, finished=True))
    view(replace(HALF_WAY, done=100, finished=True))
    lines = stream.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["65/100", "70/100", "100/100"]


def test_one_line_names_trouble() -> None:
    assert one_line(replace(HALF_WAY, trouble="disk full")).endswith("; disk full")


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0.4, "0:00"), (61, "1:01"), (3723, "1:02:03")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
