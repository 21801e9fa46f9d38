"""The report: its numbers are those of other commands, and no text of a sweep can break out."""

import base64
import gzip
import html
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fractal_ray.analysis.status import Status, read_status
from fractal_ray.analysis.summary import analyze
from fractal_ray.cli.main import app
from fractal_ray.dimension.result import Estimate
from fractal_ray.dimension.scaling import fit_scaling
from fractal_ray.engine.budget import Budget
from fractal_ray.errors import SweepError, SweepStoppedError
from fractal_ray.plane.axes import Point
from fractal_ray.plane.boundary import NOT_TRAINED, OUTCOME_CODES
from fractal_ray.plane.outcome import RunRecord
from fractal_ray.plane.palette import CODE_NAMES
from fractal_ray.report import charts, maps, sections
from fractal_ray.report import provenance as background
from fractal_ray.report import sentences as words
from fractal_ray.report.costs import dense, spent
from fractal_ray.report.facts import Facts, read_facts
from fractal_ray.report.page import render
from fractal_ray.report.pictures import pixels
from fractal_ray.spec.yaml_file import parse_spec, parse_yaml
from fractal_ray.sweep import Sweep
from fractal_ray.workloads.base import Prepared
from tests.fractal_ray.sample_workloads import Broken, Disc

Maker = Callable[..., Sweep]
SHIPPED = Path("notebooks/data/border")
HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"


class Hostile(Disc):
    """A workload whose two failing points raise errors that contain HTML."""

    def record(self, point: Point) -> RunRecord:
        if (point.ix, point.iy) in ((2, 2), (4, 2)):
            raise RuntimeError(HOSTILE)
        return super().record(point)


class Huge(Disc):
    """A workload whose losses grow beyond the range of float32."""

    def record(self, point: Point) -> RunRecord:
        losses = np.array([1e-30, 3e38], np.float32)
        return replace(super().record(point), losses=losses, final_loss=1e300)


class Read(HTMLParser):
    """A parser of pages: their elements with their texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[int, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        at = len(self.found)
        self.text[at] = self.text.get(at, "") + data

    def of(self, tag: str, **wanted: str) -> list[str]:
        """Find the texts directly behind the opening tags of an element."""
        return [
            self.text.get(number, "")
            for number, (name, attributes) in enumerate(self.found, start=1)
            if name == tag and wanted.items() <= attributes.items()
        ]


def visible(page: str) -> str:
    """Extract the text that a reader sees before a script has run."""
    read = Read(page)
    names = dict(enumerate(("", *(name for name, _ in read.found))))
    shown = (text for at, text in read.text.items() if names[at] not in ("script", "style"))
    return " ".join(" ".join(shown).split())


def unpacked(text: str, dtype: Any) -> Any:
    return np.frombuffer(gzip.decompress(base64.b64decode(text)), dtype)


@pytest.fixture(scope="module")
def border(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """Copy the shipped dataset with three frames, sheets and audits, and read its facts."""
    folder = tmp_path_factory.mktemp("report") / "border"
    shutil.copytree(SHIPPED, folder)
    return read_facts(Sweep.open(folder))


@pytest.fixture(scope="module")
def page(border: Facts) -> str:
    return render(border)


@pytest.fixture
def hostile(make_sweep: Maker) -> Sweep:
    sweep = make_sweep(Hostile())
    assert sweep.run("local").gave_up == 2
    return sweep


class TestNumbers:
    def test_the_head_says_what_analyze_says(self, border: Facts, page: str) -> None:
        given = [frame for frame in border.frames if frame.analysis.dimension is not None]
        result, _ = analyze(border.sweep, frame=given[-1].number)
        said = sections.head(border)["finding"]
        assert f"{result.dimension:.2f}" in said
        assert said.endswith(f"Verdict: {result.verdict}.")
        assert f"in frame {result.frame}" in said
        assert html.escape(said, quote=False).replace("'", "&#39;") in page

    def test_counts_are_those_of_status(self, border: Facts) -> None:
        status = read_status(border.sweep)
        counts = dict(sections.head(border)["counts"])
        assert counts["runs"] == f"{status.points:,}"
        assert counts["trained"] == f"{status.outcomes['trained']:,}"
        assert counts["failures"] == "0"

    def test_every_frame_has_its_verdict_and_its_dimension(self, border: Facts) -> None:
        def flat(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
            for node in nodes:
                yield node
                yield from flat(node["inner"])

        tree = sections.tree(border)
        assert len(tree) == 1  # the frames of zooms lie in the first
        assert [len(tree[0]["inner"]), len(tree[0]["inner"][0]["inner"])] == [1, 1]
        for node in flat(tree):
            result, _ = analyze(border.sweep, frame=node["number"])
            assert node["verdict"] == result.verdict
            if result.dimension is None:
                assert node["dimension"] == ""
            else:
                assert node["dimension"].startswith(f"D = {result.dimension:.3f} (95 %: ")

    def test_a_sheet_that_gives_no_dimension_shows_none(self, border: Facts) -> None:
        without = [d for d in sections.dimensions(border) if d["verdict"] == "unresolved"]
        assert without
        for each in without:
            assert (each["estimates"], each["dimension"]) == ([], "")
            assert [chart["id"] for chart in each["charts"]] == [f"counts-{each['frame']}"]
            assert "fit" not in json.dumps(each["charts"])

    def test_a_sheet_line_by_line(self, border: Facts) -> None:
        frame = border.main
        assert frame.sheet is not None
        checks = {check.name: check for check in words.checks(frame.sheet)}
        assert checks["the same runs again"].passed
        assert "labels changed (95 %:" in checks["one ulp beside"].found
        cells = f"{frame.analysis.boundary_cells:,} boundary cells"
        assert cells in checks["failed runs leave few cells open"].found

        broken = json.loads(json.dumps(frame.sheet))
        evidence = broken["evidence"]
        evidence["flips"][0] |= {"flips": 30, "low": 0.1, "high": 0.2}
        evidence["reading"]["correlation"] = 0.1
        evidence["values"][0]["distinct"] = 3
        evidence["missing"] = ["dtype"]
        evidence["unknown_cells"], evidence["rim"] = 10 * evidence["boundary_cells"], 0.9
        failing = {check.name for check in words.checks(broken) if check.passed is False}
        assert failing == {
            "the same runs again",
            "neighbouring labels know of each other",
            "x: neighbours are different runs",
            "dtype",
            "failed runs leave few cells open",
            "the border is seen on both sides",
        }

    def test_costs_add_up(self, border: Facts) -> None:
        rows = spent(border)
        status = read_status(border.sweep)
        assert sum(row.runs for row in rows) == status.points
        assert sum(row.seconds for row in rows) == pytest.approx(status.seconds)
        assert [row.stage for row in rows[:2]] == ["0:grid", "1:refine"]
        grid = dense(border)
        assert grid.nodes == sum(frame.data.raster.outcome.size for frame in border.frames)
        assert grid.seconds == pytest.approx(grid.nodes * status.seconds / status.points)

    def test_audits_are_those_of_the_refinements(self, border: Facts) -> None:
        audit = border.frames[0].analysis.audit
        assert audit is not None
        row = sections.audits(border)[0]
        assert row["missed"] == f"{audit.low:.2%} to {audit.high:.2%}"
        # The dataset was begun before there were probes.
        assert row["corrected"] == f"{audit.corrected[-1]:,.0f}"
        assert (row["probes"], row["bound"]) == ("none run", f"at least {audit.found[-1]:,}")
        probed = replace(audit, probed=96, hits=2, upper=(*audit.corrected[:-1], 2000.4))
        frame = SimpleNamespace(number=0, analysis=SimpleNamespace(audit=probed))
        row = sections.audits(SimpleNamespace(frames=[frame]))[0]  # type: ignore[arg-type]
        assert (row["probes"], row["bound"]) == ("2 of 96", f"{audit.found[-1]:,} to 2,000")

    def test_the_spec_comes_back(self, border: Facts, page: str) -> None:
        read = Read(page)
        links = [a["href"] for tag, a in read.found if tag == "a" and "download" in a]
        assert len(set(links)) == 1  # its zooms choose their frames again
        text = base64.b64decode(str(links[0]).partition(",")[2]).decode()
        assert parse_yaml(text) == border.sweep.spec.model_dump(mode="json", exclude_none=True)

    def test_the_same_dataset_gives_the_same_bytes(self, border: Facts, page: str) -> None:
        assert render(read_facts(border.sweep)) == page

    def test_nothing_is_fetched(self, page: str) -> None:
        for _, attributes in Read(page).found:
            for name in ("src", "href", "action"):
                assert str(attributes.get(name, "#")).startswith(("#", "data:"))

    def test_no_dimension_without_a_sheet(self, make_sweep: Maker) -> None:
        sweep = make_sweep(stages=[{"grid": {"points": 17}}, {"refine": {"levels": 1}}])
        sweep.run("local")
        facts = read_facts(sweep)
        text = visible(render(facts))
        assert "Verdict: unverified." in text
        assert f"fractal-ray verify {sweep.location} --frame 0" in text
        strict = Sweep.open(sweep.location, ["label.boundary=stable"])
        assert (
            f"fractal-ray verify {sweep.location} --frame 0 --set label.boundary=stable"
            in visible(render(read_facts(strict)))
        )
        assert "D =" not in text
        assert charts.against_zoom(facts) == []


class TestMaps:
    def test_codes_and_values_are_those_of_the_dataset(self, border: Facts) -> None:
        drawn, notes = maps.maps(border)
        assert [each["number"] for each in drawn] == [frame.number for frame in border.frames]
        frame, packed = border.frames[0], drawn[0]
        raster = frame.data.raster
        codes = unpacked(packed["codes"], np.uint8).reshape(raster.outcome.shape)
        assert raster.inferred is not None
        assert (codes[raster.inferred] == raster.outcome[raster.inferred] + maps.INFERRED).all()
        either = int((raster.outcome == NOT_TRAINED).sum())
        assert either > 0
        swatches = {view["key"]: [text for text, _ in view["swatches"]] for view in packed["views"]}
        assert f"not run: not improved or diverged ({either:,})" in swatches["outcome"]
        assert f"not run: stable or diverged ({either:,})" in swatches["stability"]
        assert (codes[raster.measured] == raster.outcome[raster.measured]).all()

        rows = packed["rows"]
        nodes = unpacked(rows["index"], np.uint32)
        assert nodes.size == raster.measured.sum()
        of = {row["point_id"]: row for row in border.table.to_pylist()}
        ids = unpacked(rows["id"], np.uint8).reshape(-1, 16)
        steps, seconds = unpacked(rows["steps"], np.int32), unpacked(rows["seconds"], np.float32)
        for number in range(0, nodes.size, 97):
            row = of[ids[number].tobytes().hex()]
            iy, ix = divmod(int(nodes[number]), raster.x.size)
            assert (raster.x[ix], raster.y[iy]) == (row["x"], row["y"])
            assert steps[number] == row["steps"]
            assert seconds[number] == np.float32(row["seconds"])
        inner = packed["boxes"][0]
        assert inner["number"] == border.frames[1].number
        assert inner["x"] == pytest.approx(border.frames[1].data.raster.x[[0, -1]])
        assert any("are no nodes of a frame" in note for note in notes)

    def test_a_ratio_is_that_of_the_label_in_force(self, make_sweep: Maker) -> None:
        make_sweep().run("local")
        sweep = make_sweep(label={"window": 3})
        facts = read_facts(sweep)
        rows = maps.maps(facts)[0][0]["rows"]
        ratio = unpacked(rows["ratio"], np.float32)
        curve = np.array(facts.table.column("losses").to_pylist()[0])
        node = maps._nodes(facts.frames[0], facts.table)[0][0]
        at = unpacked(rows["index"], np.uint32).tolist().index(node)
        assert ratio[at] == np.float32(curve[-3:].mean() / curve[0])

    def test_ratios_and_losses_beyond_float32_are_infinite(self, make_sweep: Maker) -> None:
        sweep = make_sweep(Huge(), stages=[{"grid": {"points": 2}}])
        sweep.run("local")
        rows = maps.maps(read_facts(sweep))[0][0]["rows"]
        for name in ("ratio", "loss"):
            assert unpacked(rows[name], np.float32).tolist() == [np.inf] * 4

    def test_failed_and_missing_nodes(self, make_sweep: Maker, hostile: Sweep) -> None:
        packed = maps.maps(read_facts(hostile))[0][0]
        codes = unpacked(packed["codes"], np.uint8).reshape(9, 9)
        assert (codes == maps.FAILED).sum() == 2
        assert codes[2, 2] == codes[2, 4] == maps.FAILED
        assert packed["errors"] == {"20": 0, "22": 0}

        half = make_sweep(name="half")
        half.run("local", budget=Budget(points=40))
        drawn = maps.maps(read_facts(half))[0][0]
        assert (unpacked(drawn["codes"], np.uint8) == maps.MISSING).sum() == 41
        assert ("not run yet (41)", "hatch") in drawn["views"][0]["swatches"]

    def test_a_page_that_would_be_too_large_says_what_it_leaves_out(
        self, border: Facts, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = maps.maps(border)[0]
        sizes = [len(each["codes"]) + sum(len(v["png"]) for v in each["views"]) for each in whole]
        monkeypatch.setattr(maps, "MOST_BYTES", sizes[0] + sizes[1])
        monkeypatch.setattr(maps, "_LEAST_BYTES", 50_000)
        monkeypatch.setattr(maps, "MOST_PIXELS", 100)
        drawn, notes = maps.maps(border)
        assert len(drawn) == 2
        assert sum(len(text) for each in drawn for text in each["rows"].values()) <= 50_000
        said = " ".join(notes)
        every = int(re.findall(r"one run in (\d+)", said)[0])
        runs = border.frames[0].analysis.measured_nodes
        assert unpacked(drawn[0]["rows"]["index"], np.uint32).size == -(-runs // every)
        assert f"--frame {border.frames[2].number}" in said
        assert "Frame 0 has 129 by 129 nodes and its pictures 100" in said

    def test_uneven_and_fine_axes_are_drawn_where_their_nodes_are(self) -> None:
        assert pixels(np.linspace(-3, 2, 65), 100).tolist() == list(range(65))
        assert pixels(np.linspace(0, 1, 5), 2).tolist() == [1, 3]
        whole = np.log10([1, 1, 2, 4, 8])  # a node that has another one's value is not seen
        shown = pixels(whole, 80)
        assert set(shown.tolist()) <= {0, 1, 2, 3, 4}
        assert np.bincount(shown, minlength=5)[2:].min() > 15

    def test_outcomes_have_the_codes_that_the_page_knows(self) -> None:
        script = Path(maps.__file__).with_name("page.js").read_text(encoding="utf-8")
        names = ", ".join(json.dumps(CODE_NAMES[code]) for code in range(len(CODE_NAMES)))
        assert f"const OUTCOMES = [{names}];" in script
        assert set(OUTCOME_CODES.values()) < set(range(len(CODE_NAMES)))
        codes = f"INFERRED = {maps.INFERRED}, MISSING = {maps.MISSING}, FAILED = {maps.FAILED};"
        assert codes in script
        assert maps.INFERRED + len(CODE_NAMES) == maps.MISSING


class TestCharts:
    def test_the_line_has_the_slope_of_the_dimension(self) -> None:
        scales = 2.0 ** -np.arange(8)
        for base, true in ((0, 1.3), (1, 1.6), (2, 1.1)):
            estimate = fit_scaling(
                "m", "cells", scales, 3 * scales ** (base - true), None, 1,
                base=base, fit=np.ones(8, dtype=bool),
            )  # fmt: skip
            assert estimate.base == base
            line = charts._line(estimate)
            slope = np.diff(np.log(line["y"])) / np.diff(np.log(line["x"]))
            assert slope == pytest.approx(base - true)
            assert line["y"][0] == pytest.approx(3 * line["x"][0] ** (base - true))

    def test_scales_without_a_count_are_gaps(self) -> None:
        nan = float("nan")
        estimate = Estimate(
            "m", None, None, "cells", (4.0, 2.0, 1.0), (1.0, 2.0, 0.0), None, (1.0, nan), 0, ()
        )
        counts = charts.scaling(0, estimate, {}, dimension=False)[0]["data"][0]
        assert counts["y"] == [1.0, 2.0, None]
        slopes = charts.scaling(0, estimate, {}, dimension=True)[1]["data"][0]
        assert slopes["y"] == [1.0, None]


class TestHostile:
    def test_texts_of_a_sweep_stay_texts(self, hostile: Sweep) -> None:
        spec = hostile.spec
        changed = spec.workload.model_copy(update={"model": HOSTILE})
        facts = read_facts(Sweep.open(hostile.location))
        hostile = Sweep(spec.model_copy(update={"workload": changed}), location=hostile.location)
        facts = replace(facts, sweep=hostile)
        read = Read(render(facts))
        assert [a.get("id") for tag, a in read.found if tag == "script"] == ["plotly", "data", None]
        assert not any("onerror" in attributes for _, attributes in read.found)
        assert HOSTILE in read.of("p", **{"class": "kind"})[0]
        assert read.of("code")[0:1] != [] and any(HOSTILE in text for text in read.of("code"))
        data = json.loads(read.of("script", id="data")[0])
        assert data["failures"] == [f"RuntimeError: {HOSTILE}"]

    def test_failures_are_grouped_with_one_traceback(self, hostile: Sweep) -> None:
        (group,) = background.failures(read_facts(hostile))
        assert (group["gave_up"], len(group["points"])) == (2, 2)
        assert group["traceback"].startswith("Traceback (most recent call last):")
        assert group["where"].startswith("unembedding_lr ")


def downloads(page: str) -> dict[str, str]:
    """Decode the texts of the files that a page offers, by name."""
    links = [attributes for tag, attributes in Read(page).found if tag == "a"]
    return {
        name: base64.b64decode(str(link["href"]).partition(",")[2]).decode()
        for link in links
        if (name := link.get("download"))
    }


class TestSecrets:
    def test_keys_of_a_storage_are_not_in_a_page(self, border: Facts) -> None:
        sweep = Sweep.open(border.sweep.location)
        options = "?secret_key=SECRET&region=eu"
        storage = f"s3://KEY:SECRET@bucket/sweeps{options}"
        spec = sweep.spec.model_copy(update={"storage": storage})
        sweep = Sweep(spec, location=f"s3://KEY:SECRET@bucket/sweeps/border{options}")
        page = render(replace(border, sweep=sweep))
        assert "SECRET" not in page
        text = downloads(page)["border.yaml"]
        assert "SECRET" not in text
        assert parse_yaml(text)["storage"] == "s3://bucket/sweeps?region=eu"
        assert "s3://bucket/sweeps/border?region=eu" in visible(page)


class TestRates:
    def test_effective_rates_stand_beside_nominal_ones(self, make_sweep: Maker) -> None:
        """The model of the spec has a width of 48, which scales rates of AdamW by 4."""
        sweep = make_sweep()
        sweep.run("local")
        facts = read_facts(sweep)
        ((drawn,), _) = maps.maps(facts)
        factors = {side: axis["effective"] for side, axis in drawn["axes"].items()}
        assert factors == {"x": 4.0, "y": None}
        note = "The rate unembedding_lr is nominal: the optimizer applies 4 x unembedding_lr."
        assert note in sections.head(facts)["notes"]


class TestFramesOfItsOwn:
    def test_a_closer_look_is_made_again_from_its_two_files(
        self, make_sweep: Maker, tmp_path: Path
    ) -> None:
        sweep = make_sweep()
        sweep.run("local")
        closer = sweep.zoom(x=(2e-3, 0.03), y=(1e-2, 0.17), points=7, engine="local")
        page = render(read_facts(closer))
        given = downloads(page)
        name = closer.spec.name
        assert f"mkdir -p results/{name} cp frames.json results/{name}/" in visible(page)

        def points(folder: str, *files: str) -> set[str]:
            place = tmp_path / folder / name
            place.mkdir(parents=True)
            for file in files:
                (place / file).write_text(given[file])
            spec = parse_spec({**parse_yaml(given[f"{name}.yaml"]), "storage": str(place.parent)})
            other = Sweep(spec, Disc())
            other.run("local")
            return set(other.table()["point_id"].to_pylist())

        theirs = set(closer.table()["point_id"].to_pylist())
        assert points("with", "frames.json") == theirs
        assert points("without") != theirs  # or the second file would not be needed

    def test_other_sweeps_need_their_spec_alone(self, page: str) -> None:
        assert list(downloads(page)) == ["border.yaml"]
        assert "mkdir" not in visible(page)


class TestUnfinished:
    def test_a_sweep_in_which_nothing_has_ended(self, make_sweep: Maker) -> None:
        sweep = make_sweep(Broken())
        with pytest.raises(SweepStoppedError):
            sweep.run("local")
        text = visible(render(read_facts(sweep)))
        assert "Nothing has been run to its end yet" in text
        assert "The sweep is not finished: 0 of 81 points." in text
        assert "TypeError: unsupported operand" in text

    def test_a_refinement_that_is_not_finished(self, make_sweep: Maker) -> None:
        sweep = make_sweep(stages=[{"grid": {"points": 9}}, {"refine": {"levels": 2}}])
        sweep.run("local", budget=Budget(points=90))
        facts = read_facts(sweep)
        assert words.unfinished(facts) == [
            "Not finished: frame 0.",
            f"To go on: {sweep.run_command}",
        ]
        opened = Sweep.open(sweep.location, ["label.threshold=0.5"])
        command = f"To go on: fractal-ray run {sweep.location} --set label.threshold=0.5"
        assert words.unfinished(read_facts(opened))[-1] == command
        assert sections.head(facts)["finding"].startswith("Of the nodes with a known label ")
        text = visible(render(facts))
        assert "Not finished: no audit yet." in text
        assert "every node of a grid is run" not in text

    def test_counts_of_a_running_sweep_are_of_one_moment(
        self, make_sweep: Maker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sweep = make_sweep()
        sweep.run("local", budget=Budget(points=40))

        def late(asked: Sweep, **how: Any) -> Status:
            make_sweep().run("local")  # it goes on while the report is made
            return read_status(asked, **how)

        monkeypatch.setattr("fractal_ray.report.facts.read_status", late)
        facts = read_facts(sweep)
        assert facts.table.num_rows == facts.status.points == 81
        assert facts.frames[0].analysis.points == 81

    def test_one_label_everywhere(self, make_sweep: Maker) -> None:
        small = {"param": "unembedding_lr", "min": 9e-3, "max": 1.1e-2}
        beside = {"param": "matrix_lr", "min": 9e-3, "max": 1.1e-2}
        sweep = make_sweep(axes={"x": small, "y": beside})
        sweep.run("local")
        assert "no border is seen" in words.finding(read_facts(sweep))


class TestLosses:
    def test_a_set_has_no_losses_and_no_training(self, border: Facts, page: str) -> None:
        text = visible(page).lower()
        assert "loss" not in text
        assert "in training" not in text
        assert "worker-seconds in evaluations" in text
        provenance = dict(background.provenance(border))
        assert provenance["label"].startswith("trainable; trained: a point of the set newton")
        assert "label.threshold have no effect" in provenance["label"]
        (data,) = Read(page).of("script", id="data")
        assert json.loads(data)["losses"] is False
        status = "\n".join(read_status(border.sweep).lines())
        assert "spent in runs: " in status
        assert "training" not in status
        assert "tokens" not in status

    def test_fine_tunes_have_losses(self, make_sweep: Maker) -> None:
        sweep = make_sweep(label={"window": 3, "threshold": 0.8})
        sweep.run("local")
        facts = read_facts(sweep)
        rule = "trainable; trained: mean of the last 3 losses below 0.8 x the first"
        assert dict(background.provenance(facts))["label"] == rule
        page = render(facts)
        assert "worker-seconds in training loops" in visible(page)
        (data,) = Read(page).of("script", id="data")
        assert json.loads(data)["losses"] is True


class TestMistakes:
    def test_nothing_there(self, make_sweep: Maker) -> None:
        with pytest.raises(SweepError, match=r"holds no sweep yet; run it first: fractal-ray run"):
            read_facts(make_sweep())

    def test_a_dataset_of_other_axes(self, make_sweep: Maker) -> None:
        make_sweep().run("local")
        axes = make_sweep().spec.axes.model_dump()
        axes["x"]["max"] = 0.5
        with pytest.raises(SweepError, match="the data of another sweep"):
            read_facts(make_sweep(axes=axes))

    def test_a_damaged_part(self, make_sweep: Maker) -> None:
        sweep = make_sweep()
        sweep.run("local")
        (part,) = Path(sweep.location).glob("points/*/*/*.parquet")
        part.write_bytes(part.read_bytes()[:500])
        with pytest.raises(SweepError, match="cannot be read"):
            read_facts(sweep)
        text = visible(render(read_facts(Sweep.open(sweep.location, skip_corrupt=True))))
        assert "Parts of the dataset that cannot be read were left out: 1." in text

    def test_a_damaged_sheet(self, border: Facts) -> None:
        frame = border.main
        assert frame.sheet is not None
        damaged = replace(frame, sheet={**frame.sheet, "evidence": {}})
        with pytest.raises(SweepError, match=r"damaged .*fractal-ray verify .* --frame"):
            sections.dimensions(replace(border, frames=(damaged,)))

    def test_a_sheet_that_has_lost_its_interval(self, border: Facts) -> None:
        frame = border.main
        assert frame.sheet is not None and frame.interval is not None
        sheet = json.loads(json.dumps(frame.sheet))
        sheet["evidence"]["estimate"]["interval"] = None
        lost = tuple(replace(f, sheet=sheet) if f is frame else f for f in border.frames)
        low, high = frame.interval
        assert f"(95 %: {low:.2f} to {high:.2f})" in visible(render(replace(border, frames=lost)))


class TestCommand:
    def test_it_lies_beside_the_dataset(self, make_sweep: Maker) -> None:
        sweep = make_sweep()
        sweep.run("local")
        done = CliRunner().invoke(app, ["report", sweep.location])
        assert (done.exit_code, done.stdout) == (0, f"{sweep.location}/report.html\n")
        written = Path(sweep.location, "report.html").read_text(encoding="utf-8")
        assert "<h1>disc</h1>" in written

    def test_a_dataset_behind_a_uri(self, make_sweep: Maker, tmp_path: Path) -> None:
        sweep = make_sweep(storage=f"file://{tmp_path}/remote")
        sweep.run("local")
        done = CliRunner().invoke(app, ["report", sweep.location])
        assert done.stdout == f"file://{tmp_path}/remote/disc/report.html\n"
        assert (tmp_path / "remote" / "disc" / "report.html").stat().st_size > 1_000_000

    def test_to_a_file_and_under_another_label(self, make_sweep: Maker, tmp_path: Path) -> None:
        sweep = make_sweep()
        sweep.run("local")
        out = tmp_path / "new" / "page.html"
        label = ["--set", "label.boundary=stable"]
        done = CliRunner().invoke(app, ["report", sweep.location, "--output", str(out), *label])
        assert done.stdout == f"{out}\n"
        text = visible(out.read_text(encoding="utf-8"))
        assert "is stable, the rest is diverged" in text
        assert "Settings (below, under Spec) differ" in text
        assert "As it was asked for; the dataset keeps others" in text
        assert "As the dataset keeps it" not in text

    def test_another_suffix_is_refused(self, make_sweep: Maker, tmp_path: Path) -> None:
        done = CliRunner().invoke(app, ["report", str(tmp_path), "--output", "page.pdf"])
        assert isinstance(done.exception, SweepError)
        assert "a report is one .html file" in str(done.exception)


def test_bad_rows_of_the_data_stand_in_the_header_and_the_provenance(make_sweep: Maker) -> None:
    class Skipping(Disc):
        def prepare(self) -> Prepared:
            record = {"count": 1200, "first": ["talks.jsonl, row 3: not JSON"]}
            return replace(super().prepare(), data_facts={"skipped_rows": record})

    sweep = make_sweep()
    sweep.run("local")
    header = sweep.header()
    assert header is not None
    assert "data" not in header
    assert "bad rows left out" not in dict(background.provenance(read_facts(sweep)))
    sweep = make_sweep(Skipping())
    sweep.run("local")
    origin = dict(background.provenance(read_facts(sweep)))
    assert origin["bad rows left out"] == "1,200: talks.jsonl, row 3: not JSON"
