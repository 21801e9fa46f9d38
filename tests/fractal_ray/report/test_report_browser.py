"""The report as a reader meets it: opened from disk in a real Chromium, without a network.

Screenshots are left in ``test-results/report/``, for eyes.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fractal_ray.report.facts import Facts, read_facts
from fractal_ray.report.page import render
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from tests.fractal_ray.conftest import raw_spec
from tests.fractal_ray.report.test_report import SHIPPED, Hostile
from tests.fractal_ray.sample_workloads import Disc

SHOTS = Path("test-results/report")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the PATH (Debian: apt-get install chromium)"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    # The sandbox of Chromium does not start as root.
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def border(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> "Opened":
    """Open a report of three frames with sheets once; each test first chooses a frame."""
    folder = tmp_path_factory.mktemp("browser")
    facts = read_facts(Sweep.open(shutil.copytree(SHIPPED, folder / "border")))
    return Opened(browser, folder / "report.html", facts)


@pytest.fixture(scope="module")
def hostile(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> "Opened":
    folder = tmp_path_factory.mktemp("hostile")
    sweep = Sweep(parse_spec(raw_spec(storage=str(folder))), Hostile())
    sweep.run("local")
    return Opened(browser, folder / "report.html", read_facts(sweep))


class Opened:
    """A page in a browser, with its console messages and the addresses that it loaded."""

    def __init__(self, browser: Any, file: Path, facts: Facts) -> None:
        self.facts = facts
        file.write_text(render(facts), encoding="utf-8")
        size = {"width": 1280, "height": 1500}
        self.page = browser.new_page(viewport=size, reduced_motion="reduce")
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.context.set_offline(True)
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-ready=yes]")

    def place(self, ix: int, iy: int) -> tuple[float, float]:
        """Return the place on the screen of the node (ix, iy) of the shown frame."""
        left, top = self.page.evaluate(
            """([ix, iy]) => {
                const plot = document.getElementById("plot"), box = plot.getBoundingClientRect();
                const frames = JSON.parse(document.getElementById("data").textContent).frames;
                const { x, y } = frames[Number(document.getElementById("frame").value)].axes;
                const { xaxis, yaxis } = plot._fullLayout;
                return [box.left + xaxis._offset + xaxis.l2p(x.positions[ix]),
                        box.top + yaxis._offset + yaxis.l2p(y.positions[iy])];
            }""",
            [ix, iy],
        )
        return left, top

    def point_at(self, ix: int, iy: int) -> dict[str, str]:
        self.page.locator("#map").scroll_into_view_if_needed()
        self.page.mouse.move(*self.place(ix, iy))
        return self.tip()

    def tip(self) -> dict[str, str]:
        """Read the texts of the box beside the pointer, its heading under ""."""
        tip = self.page.locator("#tip")
        names, values = tip.locator("dt"), tip.locator("dd")
        said = dict(zip(names.all_inner_texts(), values.all_inner_texts(), strict=True))
        return {"": tip.locator("p").inner_text(), **said}

    def choose(self, number: int) -> None:
        """Show one of the frames, from the first on, on an untouched map."""
        self.page.keyboard.press("Escape")
        self.page.locator("#frame").select_option(str(number), force=True)
        self.page.wait_for_function("document.getElementById('plot').ariaBusy === 'false'")
        self.page.locator("#map").scroll_into_view_if_needed()

    def row(self, frame: int, ix: int, iy: int) -> dict[str, Any]:
        """Find the row of the run at a node."""
        raster = self.facts.frames[frame].data.raster
        place = float(raster.x[ix]), float(raster.y[iy])
        return next(row for row in self.facts.table.to_pylist() if (row["x"], row["y"]) == place)

    def is_quiet(self) -> bool:
        """Check that the console is empty and that only the file itself was loaded."""
        assert self.complaints == []
        assert {re.split("[:/]", url)[0] for url in self.asked} <= {"file", "data"}
        assert sum(url.startswith("file:") for url in self.asked) == 1
        return True


def test_pointing_at_a_run_shows_its_values(border: Opened) -> None:
    border.choose(0)
    said = border.point_at(64, 32)
    row = border.row(0, 64, 32)
    assert said[""] == row["outcome"].replace("_", " ")
    assert (float(said["x"]), float(said["y"])) == (row["x"], row["y"])
    assert said["point"] == row["point_id"]
    assert {"steps", "final loss"}.isdisjoint(said)  # a set has no training
    assert float(said["seconds"]) == pytest.approx(row["seconds"], rel=1e-5)
    assert said["attempt"] == "1"
    buttons = border.page.locator("#plot .modebar-btn").all()
    names = " ".join(button.get_attribute("data-title") for button in buttons)
    assert len(buttons) == 6 and "hare" not in names  # nothing is sent to anyone
    inferred = border.facts.frames[0].data.raster.inferred
    assert inferred is not None
    iy, ix = (int(each[0]) for each in inferred.nonzero())
    assert border.point_at(ix, iy)[""].endswith("(inferred)")
    assert border.is_quiet()


def test_another_frame_and_another_colouring(border: Opened) -> None:
    inner, page = border.facts.frames[1], border.page
    border.choose(0)
    page.locator(f"[data-frame='{inner.number}']").click()
    page.wait_for_function("document.getElementById('frame').value === '1'")
    border.choose(1)
    assert float(border.point_at(0, 0)["x"]) == inner.data.raster.x[0]
    picture = page.locator("#plot .imagelayer image").last
    first = picture.get_attribute("href")
    assert first.startswith("data:image/png")
    page.get_by_label("outcome", exact=True).check()
    page.wait_for_function(
        "first => ![...document.querySelectorAll('#plot .imagelayer image')]"
        ".some(image => image.getAttribute('href') === first)",
        arg=first,
    )
    assert "diverged" in page.locator("#legend").inner_text()
    assert border.is_quiet()


def test_a_folded_chart_is_drawn_when_it_is_opened(border: Opened) -> None:
    folded = border.page.locator("details:not([open])", has=border.page.locator(".chart")).first
    chart = folded.locator(".chart").first.get_attribute("id")
    assert border.page.locator(f"#{chart} svg").count() == 0
    folded.locator("summary").click()
    border.page.locator(f"#{chart} .main-svg").first.wait_for()
    assert border.is_quiet()


def test_keys_and_clicks(border: Opened) -> None:
    page, raster = border.page, border.facts.frames[0].data.raster
    border.choose(0)
    page.locator("#plot").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert float(border.tip()["x"]) == raster.x[raster.x.size // 2 + 1]
    assert float(border.tip()["y"]) == raster.y[raster.y.size // 2 + 1]
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    left, top = border.place(20, 90)
    page.mouse.click(left, top)
    held = border.tip()
    page.mouse.move(left + 200, top - 100)
    assert border.tip() == held
    assert page.locator("#tip.held").is_visible()
    assert border.is_quiet()


def test_errors_of_runs_are_text_and_axes_are_logarithmic(hostile: Opened) -> None:
    said = hostile.point_at(2, 2)
    assert said[""] == "failed, outcome unknown"
    assert "</script><script>window.hacked" in said["why"]
    assert said["unembedding_lr"] == "0.001 (effective 0.004)"
    row, run = hostile.row(0, 4, 4), hostile.point_at(4, 4)
    assert float(run["ratio"]) == pytest.approx(row["ratio"], rel=1e-5)
    assert float(run["final loss"]) == pytest.approx(row["final_loss"], rel=1e-5)
    hostile.page.locator(".failure summary").click()
    assert "Traceback" in hostile.page.locator(".failure pre").inner_text()
    assert hostile.page.evaluate("window.hacked === undefined")
    ticks = hostile.page.locator("#plot .xtick text").all_text_contents()
    powers = [re.sub("[^0-9]", "", tick) for tick in ticks]
    assert [tick for tick in powers if len(tick) > 1] == ["104", "103", "102", "101"]
    assert hostile.is_quiet()


def test_nodes_of_whole_numbers_that_share_a_run(browser: Any, tmp_path: Path) -> None:
    axes = raw_spec()["axes"] | {"x": {"param": "device_batch_size", "min": 1, "max": 4}}
    sweep = Sweep(parse_spec(raw_spec(storage=str(tmp_path), axes=axes)), Disc())
    sweep.run("local")
    opened = Opened(browser, tmp_path / "report.html", read_facts(sweep))
    values = opened.facts.frames[0].data.raster.x
    again = next(ix for ix in range(8, 0, -1) if values[ix] == values[ix - 1])
    said = opened.point_at(again, 3)
    assert said["point"] == opened.row(0, again, 3)["point_id"]
    opened.page.locator("#plot").focus()
    opened.page.keyboard.press("ArrowRight")
    assert opened.tip() == said
    assert opened.is_quiet()


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("wide", 1280, "light"), ("dark", 1280, "dark"), ("phone", 390, "light")],
)
def test_it_fits(border: Opened, name: str, width: int, scheme: str) -> None:
    page = border.page
    border.choose(0)
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 1500})
    page.wait_for_function("document.querySelector('#plot .main-svg').clientWidth <= innerWidth")
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
    print(f"screenshot: {(SHOTS / f'{name}.png').absolute()}")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    shown = page.locator(":is(#plot, .chart, .scroll, pre):visible").all()
    found = [(each.get_attribute("id"), each.bounding_box()) for each in shown]
    assert [name for name, box in found if box["x"] + box["width"] > width] == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    assert border.is_quiet()
