"""Notes at the foot of figures, in notebooks and under movies."""

from pathlib import Path

import pytest
from PIL import Image

from fractal_ray.figures.canvas import new_figure
from fractal_ray.figures.catalog import draw
from fractal_ray.figures.coloring import colormap
from fractal_ray.figures.movie.captions import Captions
from fractal_ray.figures.notebook import page_of
from fractal_ray.figures.notes import add_foot, notes_on
from fractal_ray.plane.axes import Axis, Frame
from fractal_ray.sweep import Sweep, load

ROOT = Path(__file__).parents[3]
RATE = "the rate unembedding_lr is nominal: the optimizer applies 4 x unembedding_lr"
STAND_IN = "too_slow and degraded are judged by the first loss of each run, with a rise of 0.1"


@pytest.fixture(scope="module")
def first_map() -> Sweep:
    return load(ROOT / "notebooks/data/first-map")


def foot(figure: object) -> str:
    text = getattr(figure, "_supxlabel", None)
    return "" if text is None else text.get_text().replace("\n", " ")


def test_a_map_of_outcomes_names_the_rates_and_the_stand_in(first_map: Sweep) -> None:
    text = foot(draw(first_map, "outcomes"))
    assert RATE in text
    assert STAND_IN in text


def test_a_map_without_these_outcomes_names_the_rates_alone(first_map: Sweep) -> None:
    assert first_map.spec.label.boundary == "trainable"
    assert foot(draw(first_map, "stability")) == RATE
    broken = load(ROOT / "notebooks/data/first-map", "label.boundary=broken")
    assert STAND_IN in " ".join(notes_on(broken, broken.raster()))


def test_a_set_with_a_known_answer_has_no_foot() -> None:
    known_set = load(ROOT / "tests/golden/datasets/map")
    assert foot(draw(known_set, "outcomes")) == ""
    assert known_set.map().notes == ()


def test_long_notes_are_wrapped_to_the_figure() -> None:
    figure = new_figure((4, 4), "title")
    add_foot(figure, ["word " * 60])
    lines = figure.get_supxlabel().split("\n")
    assert len(lines) > 1
    assert max(map(len, lines)) <= 4 * 13


def test_a_notebook_says_the_notes(first_map: Sweep) -> None:
    shown = first_map.map()
    assert STAND_IN in repr(shown)
    assert STAND_IN in foot(shown.figure())
    assert STAND_IN in page_of(first_map)


def test_notes_stand_below_the_captions_of_a_movie() -> None:
    meaning = ("no", "yes", "")
    plain = Captions("title", meaning, colormap("label"), 300)
    noted = Captions("title", meaning, colormap("label"), 300, ["word " * 30])
    frame = Frame(0, Axis("a", "log", 1e-3, 1e3), Axis("b", "linear", -1.0, 1.0), 8, 8)
    added = noted.height - plain.height
    assert added > 0
    picture = Image.new("RGB", (300, noted.height), "white")
    noted.draw(picture, frame, (0.0, 0.0, 1.0, 1.0), 1.0)
    below = picture.crop((0, plain.height, 300, noted.height)).convert("L")
    assert below.getextrema()[0] < 128
