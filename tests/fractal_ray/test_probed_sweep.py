"""The probes of a refined sweep from spec to analysis, and datasets that were begun without."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import fractal_ray
from fractal_ray.analysis.summary import analyze
from fractal_ray.cli.plan import _stages
from fractal_ray.dataset.header import read_header
from fractal_ray.spec.cost import estimate_cost
from fractal_ray.spec.yaml_file import load_spec


def spec_of(folder: Path, **refine: Any) -> Path:
    """Write the spec of a disc over 9 x 9 nodes, refined to 33 x 33."""
    axes = {
        side: {"param": side, "scale": "linear", "min": -1.3, "max": 1.3} for side in ("x", "y")
    }
    file = folder / "disc.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "name": "disc",
                "storage": str(folder),
                "workload": {"kind": "map", "set": "disc"},
                "axes": axes,
                "stages": [{"grid": {"points": 9}}, {"refine": {"levels": 2, **refine}}],
            }
        )
    )
    return file


def test_a_sweep_bounds_its_boundary_cells(tmp_path: Path) -> None:
    sweep = fractal_ray.load(spec_of(tmp_path))
    sweep.run(engine="local")
    assert json.loads((tmp_path / "disc" / "sweep.json").read_text())["spec"]["stages"][1][
        "refine"
    ]["probes"] is None  # fmt: skip
    again = fractal_ray.load(tmp_path / "disc")
    refine = again.spec.stages[1].refine
    assert refine is not None
    assert refine.probes is None
    result, _ = analyze(again)
    assert result.audit is not None
    assert result.audit.upper is not None
    found, upper = result.audit.found[-1], result.audit.upper[-1]
    assert 0 < result.audit.probed <= 16 * 6
    assert result.boundary_cells == found < upper <= 32 * 32
    line = f"boundary cells of the whole lattice: {found:,} to {upper:,.0f} (95 %), "
    assert any(text.startswith(line) for text in result.lines())
    assert result.to_dict()["audit"]["upper"][-1] == upper


def test_a_dataset_that_was_begun_without_probes_goes_on_without(tmp_path: Path) -> None:
    fractal_ray.load(spec_of(tmp_path, probes=0)).run(engine="local")
    header = tmp_path / "disc" / "sweep.json"
    # As before there were probes: the key is not there.
    assert "probes" not in json.loads(header.read_text())["spec"]["stages"][1]["refine"]
    before = header.read_bytes()
    for place in (spec_of(tmp_path), tmp_path / "disc"):  # a YAML that does not name them
        sweep = fractal_ray.load(place)
        refine = sweep.spec.stages[1].refine
        assert refine is not None
        assert refine.probes == 0
        progress = sweep.run(engine="local")
        assert progress.done == progress.reused == sweep.table().num_rows
        assert header.read_bytes() == before
    result, _ = analyze(fractal_ray.load(spec_of(tmp_path)))
    assert not {"probed", "hits", "upper"} & result.to_dict()["audit"].keys()
    assert any("not bounded above" in line for line in result.lines())
    stored = read_header(sweep.store())
    assert stored is not None
    assert stored["spec"]["stages"][1]["refine"]["probes"] == 0
    # Probes that the YAML names are run.
    more = fractal_ray.load(spec_of(tmp_path, probes=20))
    assert more.run(engine="local").done > progress.done
    assert "probes" in json.loads(header.read_text())["spec"]["stages"][1]["refine"]


@pytest.mark.parametrize("probes", [0, 20, None])
def test_a_plan_counts_four_runs_a_probe(tmp_path: Path, probes: int | None) -> None:
    named = {} if probes is None else {"probes": probes}
    cost = estimate_cost(load_spec(spec_of(tmp_path, **named)))
    bare = estimate_cost(load_spec(spec_of(tmp_path, probes=0)))
    count = 16 if probes is None else probes
    assert cost.stages[1].probes == count
    assert cost.runs_for(1.0) - bare.runs_for(1.0) == 4 * count
    text = "\n".join(_stages(cost, None))
    line = f"{4 * count} of them probe {count} random finest cells; {20 * count} more if 5 of"
    assert (line in text) == (count > 0)


def test_a_plan_counts_the_probes_that_follow_where_many_cells_hold_border(tmp_path: Path) -> None:
    few, many = (
        estimate_cost(load_spec(spec_of(tmp_path, probes=probes))).runs_for(1.0)
        for probes in (100, 200)  # one of 32 cells holds border: 3 and 6 of the probes
    )
    assert many - few == 4 * (200 * 6 - 100)
