"""What a slot takes of a node, and how many share a card: reckoned, without a cluster."""

from typing import Any

import pytest

from fractal_ray.engine.packing import FILE, Packing, configuration, settle, workers_of
from fractal_ray.engine.placement import SlotResources, matches, pinned, room_for
from fractal_ray.errors import SweepError
from fractal_ray.spec_file import parse_spec
from fractal_ray.store import Store
from fractal_ray.workloads.base import Footprint
from tests.fractal_ray.conftest import raw_spec

GIB = 2**30


def node(kind: str | None = None, **resources: Any) -> dict[str, Any]:
    """A node as Ray tells it."""
    labels = resources.pop("labels", {})
    has = {"CPU": 16.0, "GPU": 4.0, "memory": 64.0 * GIB, **resources}
    if kind:
        has[f"accelerator_type:{kind}"] = 1.0
    return {"Alive": True, "Resources": has, "Labels": labels}


@pytest.mark.parametrize(
    ("slot", "room"),
    [
        (SlotResources(1, 0), 16),
        (SlotResources(2.5, 0), 6),
        (SlotResources(1, 1), 4),
        (SlotResources(1, 2), 2),
        (SlotResources(1, 0.25), 16),
        (SlotResources(1, 0.3), 12),
        (SlotResources(1, 0.3333), 12),
        (SlotResources(1, 0.6), 4),
        (SlotResources(1, 0, memory=20 * GIB), 3),
        (SlotResources(1, 0, accelerator_type="H100"), 16),
        (SlotResources(1, 0, accelerator_type="A100"), 0),
        (SlotResources(1, 0, labels={"zone": "a"}), 16),
        (SlotResources(1, 0, labels={"zone": "!a"}), 0),
    ],
)
def test_room_on_a_node(slot: SlotResources, room: int) -> None:
    assert room_for(slot, [node("H100", labels={"zone": "a"})]) == room
    dead = {**node("H100", labels={"zone": "a"}), "Alive": False}
    assert room_for(slot, [dead]) == 0


@pytest.mark.parametrize(
    ("asked", "value", "answer"),
    [
        ("a", "a", True),
        ("a", None, False),
        ("!a", None, True),
        ("!a", "a", False),
        ("in(a, b)", "b", True),
        ("in(a, b)", "c", False),
        ("!in(a, b)", "c", True),
        ("!in(a,b)", "a", False),
    ],
)
def test_label_selectors(asked: str, value: str | None, answer: bool) -> None:
    assert matches(asked, value) is answer


@pytest.mark.parametrize(
    ("kinds", "device", "pins"),
    [
        (["L4", "L40S"], "NVIDIA L40S", "L40S"),
        (["A100-80G", "A100-40G"], "NVIDIA A100-SXM4-40GB", "A100-40G"),
        (["A10", "A100-80G"], "NVIDIA A100-SXM4-80GB", "A100-80G"),
        (["H100"], "NVIDIA H100 80GB HBM3", "H100"),
        (["A100", "H100"], None, "H100"),
    ],
)
def test_one_kind_is_that_of_the_dataset(kinds: list[str], device: str | None, pins: str) -> None:
    nodes = [node(kind, GPU=8.0 - 2 * index) for index, kind in enumerate(kinds)]
    if device is None:
        nodes[1]["Resources"]["GPU"] = 16.0  # then the one with most room
    found = pinned(SlotResources(1, 1), nodes, [] if device is None else [device])
    assert found.accelerator_type == pins


def test_a_dataset_of_a_card_that_is_not_there_is_refused() -> None:
    with pytest.raises(SweepError, match=r"NVIDIA L4 computed .* the cluster has H100"):
        pinned(SlotResources(1, 1), [node("H100")], ["NVIDIA L4"])


@pytest.mark.parametrize(
    ("peak", "context", "workers"),
    [(9.0, 0.5, 7), (13.0, 0.5, 5), (36.0, 1.0, 1), (70.0, 0.5, 1), (0.1, 0.1, 8)],
)
def test_workers_of_a_card(peak: float, context: float, workers: int) -> None:
    found = workers_of(Footprint(int(peak * GIB), int(context * GIB), 80 * GIB))
    assert found == workers
    gpu = Packing("key", None, found).gpu
    assert int(1 / gpu + 1e-4) == workers, "Ray packs as many"


def test_what_does_not_fit_at_all_is_refused() -> None:
    with pytest.raises(SweepError, match="device_batch_size"):
        workers_of(Footprint(81 * GIB, GIB, 80 * GIB))


def test_a_packing_is_kept_for_its_configuration(tmp_path: Any) -> None:
    store, asked = Store(str(tmp_path)), []

    def probe() -> Footprint:
        asked.append(1)
        return Footprint(9 * GIB, GIB // 2, 80 * GIB)

    key = configuration("fingerprint", {"device_batch_size": 8}, "H100")
    assert settle(store, key, probe) == settle(store, key, probe)
    assert len(asked) == 1
    other = configuration("fingerprint", {"device_batch_size": 9}, "H100")
    assert settle(store, other, probe).key == other
    assert len(asked) == 2
    (tmp_path / FILE).write_text("{half")
    assert settle(store, other, probe).workers == 7
    assert len(asked) == 3
    assert settle(store, key, lambda: None).gpu == 1.0


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"accelerator_type": "H100"}, "set gpu as well"),
        ({"gpu": 1.5}, "whole number"),
        ({"gpu": "many"}, "gpu"),
        ({"memory": "lots"}, "memory"),
        ({"lease_seconds": 0}, "lease_seconds"),
        ({"tiles_per_worker": 0}, "tiles_per_worker"),
        ({"slots": 0}, "at least 1"),
    ],
)
def test_mistakes_are_named(resources: dict[str, Any], words: str) -> None:
    with pytest.raises(SweepError, match=words):
        parse_spec(raw_spec(resources=resources))


def test_tiles_are_for_slots() -> None:
    with pytest.raises(SweepError, match="tiles_per_worker is for slots"):
        parse_spec(raw_spec(resources={"tiles_per_worker": 3}, trials="points"))


def test_a_spec_may_say_sizes_in_words() -> None:
    spec = parse_spec(raw_spec(resources={"memory": "16GiB", "gpu": "auto", "labels": {"a": "b"}}))
    assert (spec.resources.memory, spec.resources.cards) == (16 * GIB, 1.0)
