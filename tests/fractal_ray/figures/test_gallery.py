"""docs/gallery.md shows every kind of figure, with pictures that its commands draw."""

import importlib.util
import shlex
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image
from typer.testing import CliRunner

from fractal_ray.cli.main import app
from fractal_ray.figures.catalog import KINDS
from tests.fractal_ray.figures.expected_rasters import difference

ROOT = Path(__file__).parents[3]
MADE = ROOT / "docs" / "gallery" / "make.py"


def gallery() -> ModuleType:
    given = importlib.util.spec_from_file_location("gallery_make", MADE)
    assert given is not None and given.loader is not None
    module = importlib.util.module_from_spec(given)
    given.loader.exec_module(module)
    return module


PICTURES = gallery().GALLERY
SHIPPED = [each for each in PICTURES if each.dataset.startswith("notebooks/")]


def test_the_page_is_in_step() -> None:
    """Compare with the page that ``python docs/gallery/make.py --page`` writes."""
    assert (ROOT / "docs" / "gallery.md").read_text() == gallery().page()
    assert list(dict.fromkeys(each.kind for each in PICTURES)) == list(KINDS)


def test_all_pictures_are_there_and_small() -> None:
    files = {path.name: path.stat().st_size for path in MADE.parent.glob("*.png")}
    assert set(files) == {each.file for each in PICTURES}
    assert sum(files.values()) < 1_500_000


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(each, marks=() if each.kind == "outcomes" else pytest.mark.slow, id=each.file)
        for each in SHIPPED
    ],
)
def test_commands_draw_the_pictures(picture, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(picture.command)
    out = tmp_path / picture.file
    done = CliRunner().invoke(app, [*words[1 : words.index("--out")], "--out", str(out)])
    assert done.exit_code == 0, done.exception
    with Image.open(out) as drawn, Image.open(MADE.parent / picture.file) as stored:
        assert difference(drawn.convert("RGB"), stored.convert("RGB")) < 0.2
