"""The device where `resources.gpu` is unset: cards, their absence, and what a resume keeps."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fractal_ray.engine import device_choice
from fractal_ray.engine import run as engine_run
from fractal_ray.engine.budget import Budget
from fractal_ray.engine.cluster import cards as cluster
from fractal_ray.engine.device_choice import Cards, with_device
from fractal_ray.errors import SweepError
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from fractal_ray.workloads.base import CardByDefault, Workload
from fractal_ray.workloads.maps.workload import MapWorkload
from fractal_ray.workloads.nanochat.shared import Shared
from tests.fractal_ray.conftest import raw_spec
from tests.fractal_ray.engine.test_placement import node
from tests.fractal_ray.sample_workloads import Disc

MAP = {
    "workload": {"kind": "map", "set": "disc"},
    "axes": {
        "x": {"param": "x", "scale": "linear", "min": -2, "max": 2},
        "y": {"param": "y", "scale": "linear", "min": -2, "max": 2},
    },
}


class FineTune(Disc):
    """A disc that takes a card where there is one, and notes the device of each worker."""

    def __init__(self, size: int = 1000) -> None:
        super().__init__()
        self.size, self.devices = size, list[str]()

    def parameters(self, shared: Any) -> int:
        return self.size

    def open(self, shared: Any, device: str) -> "FineTune":
        self.devices.append(device)
        super().open(shared, device)
        return self


def choose(work: Workload, cards: Cards, **changes: Any) -> tuple[Any, list[str]]:
    """Return the chosen `resources.gpu` and the lines that were said."""
    said: list[str] = []
    spec = parse_spec(raw_spec(**changes))
    chosen = with_device(spec, work, work.prepare(), cards, said.append)
    return chosen.resources.gpu, said


def test_fine_tunes_take_a_whole_card_where_there_are_cards() -> None:
    assert choose(FineTune(), Cards(2)) == (1.0, [])
    assert choose(FineTune(60_000_000), Cards(1, "the cluster starts nodes on demand")) == (1.0, [])
    said = ["no card here: the fine-tunes run on the CPU"]
    assert choose(FineTune(50_000_000), Cards(0)) == (0.0, said)


@pytest.mark.parametrize(
    ("size", "cards", "reason"),
    [
        (50_000_001, Cards(0), "the model has 50,000,001 parameters, and there is no card"),
        (1000, Cards(0, "nodes are expected"), "no node has a card now, and nodes are expected"),
    ],
)
def test_a_card_that_may_come_or_is_needed_is_refused_with_both_choices(
    size: int, cards: Cards, reason: str
) -> None:
    with pytest.raises(SweepError, match=reason) as refused:
        choose(FineTune(size), cards)
    for choice in ("--set resources.gpu=1 takes a card", "--set resources.gpu=0 runs on CPUs"):
        assert choice in str(refused.value)
    assert choose(FineTune(size), cards, resources={"gpu": 0}) == (0, [])
    assert choose(FineTune(size), cards, resources={"gpu": 0.5}) == (0.5, [])


def test_other_workloads_take_the_cpu_and_name_idle_cards() -> None:
    assert choose(Disc(), Cards(3)) == (0.0, ["3 cards idle; resources.gpu: 1 uses them"])
    assert choose(Disc(), Cards(1)) == (0.0, ["1 card idle; resources.gpu: 1 uses it"])
    assert choose(Disc(), Cards(0, "nodes are expected")) == (0.0, [])
    assert choose(Disc(), Cards(3), resources={"gpu": 0}) == (0, [])
    assert choose(MapWorkload("disc"), Cards(3), **MAP) == (0.0, [])


def test_kernels_of_a_card_are_refused_without_one() -> None:
    workload = {**raw_spec()["workload"], "kernels": "cuda_graphs"}
    assert choose(FineTune(), Cards(1), workload=workload) == (1.0, [])
    with pytest.raises(SweepError, match="cuda_graphs records steps of a GPU"):
        choose(FineTune(), Cards(0), workload=workload)


def test_the_workload_nanochat_counts_the_parameters_of_its_model() -> None:
    workload = Sweep(parse_spec(raw_spec())).workload()
    assert isinstance(workload, CardByDefault)
    weights = {"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float32)}
    shared: Any = Shared(None, weights, None, 0)  # pyright: ignore[reportArgumentType]
    assert workload.parameters(shared) == 17
    assert not isinstance(MapWorkload("disc"), CardByDefault)


def test_a_resume_keeps_the_device(
    make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(present: int, name: str, **changes: Any) -> tuple[list[str], list[str]]:
        monkeypatch.setattr(engine_run, "local_cards", lambda workload: Cards(present))
        workload, said = FineTune(), list[str]()
        make_sweep(workload, name=name, **changes).run("local", say=said.append)
        return workload.devices, [line for line in said if "card" in line]

    without = "no card here: the fine-tunes run on the CPU"
    assert run(0, "cpu") == (["cpu"], [without])
    more: Mapping[str, Any] = {"stages": [{"grid": {"points": 17}}]}
    assert run(2, "cpu", **more) == (["cpu"], [])
    assert run(2, "card") == (["cuda"], [])
    header = json.loads((tmp_path / "results" / "card" / "sweep.json").read_text())
    assert header["spec"]["resources"]["gpu"] == 1.0
    assert run(0, "card", **more) == (["cuda"], [])
    assert Sweep.open(str(tmp_path / "results" / "cpu")).spec.resources.gpu == 0.0
    finished = run(0, "card", **more)
    assert finished == ([], [])
    again = json.loads((tmp_path / "results" / "card" / "sweep.json").read_text())
    assert again["spec"]["resources"]["gpu"] == 1.0


def test_gpu_hours_need_a_card(
    make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    budget = Budget(gpu_hours=1.0, gpu=1.0)
    monkeypatch.setattr(engine_run, "local_cards", lambda workload: Cards(0))
    with pytest.raises(SweepError, match="this sweep's slots take no GPU"):
        make_sweep(FineTune()).run("local", budget=budget)
    assert not (tmp_path / "results" / "disc" / "sweep.json").exists()
    monkeypatch.setattr(engine_run, "local_cards", lambda workload: Cards(1))
    assert make_sweep(FineTune()).run("local", budget=budget).done == 81


def test_cards_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert device_choice.local_cards(FineTune()) == Cards(3)


@pytest.mark.parametrize(
    ("slots", "own", "status", "reason"),
    [
        ("auto", False, None, ""),
        (
            40,
            False,
            None,
            "resources.slots is 40 where there is room for 32, so nodes are expected",
        ),
        (32, False, None, ""),
        (40, True, {"active_nodes": {"head": 1}}, ""),
        ("auto", False, {"active_nodes": {"node_1f3a": 2}}, ""),
        ("auto", False, {"active_nodes": {"head": 1}}, "the cluster starts nodes on demand"),
        ("auto", False, {"pending_launches": {"gpu": 1}}, "the cluster starts nodes on demand"),
    ],
)
def test_cards_of_a_cluster(
    monkeypatch: pytest.MonkeyPatch, slots: Any, own: bool, status: Any, reason: str
) -> None:
    report = None if status is None else json.dumps({"autoscaler_report": status}).encode()
    nodes = [node("H100", GPU=4.0), node(GPU=0.0), {**node("A100"), "Alive": False}]
    monkeypatch.setattr(cluster.ray, "nodes", lambda: nodes)
    monkeypatch.setattr(cluster, "is_autoscaler_v2", lambda fetch_from_server: False)
    monkeypatch.setattr(cluster, "_internal_kv_get", lambda key: report)
    resources = parse_spec(raw_spec(resources={"slots": slots})).resources
    assert cluster.cluster_cards(resources, own=own) == Cards(4.0, reason)
