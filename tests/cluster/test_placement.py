"""Where slots go, how many share a card, and when one is replaced: real raylets, pretend GPUs."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from fractal_ray.errors import SweepError
from fractal_ray.sweep import Sweep
from tests.cluster.conftest import Nodes, contents
from tests.cluster.workloads import FineTuned, Greedy, Measured, Unlike, Where

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
Maker = Callable[..., Sweep]
H100 = {"accelerator_type:H100": 1}
A100 = {"accelerator_type:A100": 1}


def places(sweep: Sweep) -> Counter[str]:
    """Read the ids of the nodes that computed points of the workload `Where`."""
    devices = sweep.table().column("device").to_pylist()
    return Counter(device.split()[0] for device in devices)


def test_types_labels_and_memory_decide_where(nodes: Nodes, make_sweep: Maker) -> None:
    GIB = 2**30
    hopper = nodes.add(resources=H100, labels={"zone": "a"}, memory=4 * GIB)
    ampere = nodes.add(resources=A100, labels={"zone": "b"}, memory=16 * GIB)
    asked = [
        ({"gpu": 1, "accelerator_type": "H100"}, hopper),
        ({"gpu": 1, "accelerator_type": "A100"}, ampere),
        ({"gpu": 1, "labels": {"zone": "b"}}, ampere),
        ({"gpu": 1, "labels": {"zone": "!b"}}, hopper),
        ({"memory": "8GiB"}, ampere),
    ]
    for number, (resources, node) in enumerate(asked):
        sweep = make_sweep(Where(), name=f"w{number}", resources=resources)
        sweep.run("ray")
        assert set(places(sweep)) == {node.node_id}, resources


def test_one_kind_of_card_for_the_whole_dataset(
    nodes: Nodes, make_sweep: Maker, tmp_path: Path
) -> None:
    nodes.add(resources=A100)
    hopper = nodes.add(resources=H100, num_cpus=8, num_gpus=4)
    one_kind = {"gpu": 1, "homogeneous": True}
    name = tmp_path / "name"
    name.write_text("NVIDIA A100-SXM4-80GB")
    stages = [{"grid": {"points": 3}}]
    make_sweep(Unlike(name), name="two", resources=one_kind, stages=stages).run("ray")
    nodes.kill(hopper)
    _wait_until_gone(hopper.node_id)
    more = make_sweep(Unlike(name), name="two", resources=one_kind)
    more.run("ray")  # the rows are of an A100, and there is one
    name.write_text("NVIDIA H100 80GB HBM3")
    other = make_sweep(Unlike(name), name="three", resources=one_kind, stages=stages)
    other.run("ray")
    with pytest.raises(SweepError, match="the cluster has A100"):
        make_sweep(Unlike(name), name="three", resources=one_kind).run("ray")


def _wait_until_gone(node_id: str) -> None:
    """Wait until Ray sees that a node is gone, which takes some seconds."""
    for _ in range(300):
        if not any(node["NodeID"] == node_id and node["Alive"] for node in ray.nodes()):
            return
        time.sleep(0.2)
    raise AssertionError("Ray does not notice")


def test_fine_tunes_take_the_cards_of_a_cluster(nodes: Nodes, make_sweep: Maker) -> None:
    nodes.add(num_cpus=1, num_gpus=0)
    waits = make_sweep(FineTuned(), name="waits", resources={"slots": 3})
    with pytest.raises(SweepError, match="slots is 3 where there is room for 1"):
        waits.run("ray")
    nodes.add(num_cpus=8, num_gpus=2)
    sweep = make_sweep(FineTuned(), name="cards", points_per_tile=1)
    slots: list[int] = []
    sweep.run("ray", view=lambda progress: slots.append(progress.slots))
    devices = set(sweep.table().column("device").to_pylist())
    assert (devices, max(slots)) == ({"cuda"}, 2)
    said: list[str] = []
    make_sweep(Where(), name="idle").run("ray", say=said.append)
    assert "2 cards idle; resources.gpu: 1 uses them" in said


def test_auto_packs_what_a_probe_says_and_asks_once(
    nodes: Nodes, make_sweep: Maker, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    nodes.add(num_cpus=8, num_gpus=1)
    said: list[str] = []
    sweep = make_sweep(Measured(tmp_path), name="auto", resources={"cpu": 1, "gpu": "auto"})
    slots = []
    sweep.run("ray", say=said.append, view=lambda progress: slots.append(progress.slots))
    assert contents(sweep) == expected
    assert "5 workers a card" in said[-1]
    again = make_sweep(
        Measured(tmp_path),
        name="auto",
        resources={"cpu": 1, "gpu": "auto"},
        stages=[{"grid": {"points": 17}}],
    )
    again.run("ray")
    assert (tmp_path / "asked").read_text() == "cuda\n"


def test_a_point_that_wants_the_whole_card_gets_it(
    nodes: Nodes, make_sweep: Maker, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    nodes.add(num_cpus=3, num_gpus=1)
    packed = {"cpu": 1, "gpu": 0.33}
    sweep = make_sweep(Greedy(tmp_path), name="g", points_per_tile=4, resources=packed)
    progress = sweep.run("ray")
    assert contents(sweep) == expected
    assert progress.gave_up == 0
    failures = sweep.store().read_failures().to_pylist()
    assert {row["kind"] for row in failures} == {"out_of_memory"}


def test_workers_are_replaced_when_asked(nodes: Nodes, make_sweep: Maker) -> None:
    nodes.add()
    resources = {"cpu": 1, "slots": 1, "tiles_per_worker": 20}
    sweep = make_sweep(Where(), name="r", points_per_tile=1, resources=resources)
    progress = sweep.run("ray")
    devices = Counter(sweep.table().column("device").to_pylist())
    assert max(devices.values()) == 20
    assert len(devices) == -(-progress.done // 20)
    assert progress.failures == 0
