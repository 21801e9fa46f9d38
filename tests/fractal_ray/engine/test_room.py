"""Room for slots: refusals on a Ray of our own, and the words of a wait, without a cluster."""

import re
from collections.abc import Sequence
from typing import Any

import pytest

from fractal_ray.engine.cluster import room
from fractal_ray.engine.cluster.placement import SlotResources
from fractal_ray.engine.cluster.room import RoomWatch, missing, slot_count
from fractal_ray.errors import SweepError
from tests.fractal_ray.engine.test_placement import GIB, node

NODES = [node("A100", CPU=2.0, GPU=0.0, labels={"zone": "a"}), node(CPU=8.0, GPU=2.0)]


@pytest.mark.parametrize(
    ("slot", "reason"),
    [
        (SlotResources(64, 0), "cpu=64 (the most on a node is 8)"),
        (SlotResources(1, 4), "gpu=4 (the most on a node is 2)"),
        (
            SlotResources(1, 0, memory=80 * GIB),
            "memory=85,899,345,920 bytes (the most on a node is 68,719,476,736)",
        ),
        (
            SlotResources(1, 1, accelerator_type="H100"),
            "accelerator_type=H100 (the nodes have A100)",
        ),
        (SlotResources(1, 0, labels={"zone": "b"}), "label zone=b (the nodes have a)"),
        (SlotResources(1, 0, labels={"spot": "yes"}), "label spot=yes (the nodes have none)"),
        (SlotResources(1, 1, labels={"zone": "a"}), "no single node has all of it"),
        (
            SlotResources(9, 3),
            "cpu=9 (the most on a node is 8), gpu=3 (the most on a node is 2)",
        ),
    ],
)
@pytest.mark.parametrize("slots", [2, "auto"])
def test_a_ray_of_our_own_refuses_what_the_machine_cannot_have(
    slot: SlotResources, reason: str, slots: Any
) -> None:
    assert missing(slot, NODES) == reason
    for own in (True, False):
        if not own and slots == 2:
            assert slot_count(slot, slots, NODES, own=own, say=print) == 2, "nodes may join"
            continue
        words = "this machine has no room" if own else "no node of the cluster has room"
        with pytest.raises(SweepError, match=f"^{words} .*{re.escape(reason)}"):
            slot_count(slot, slots, NODES, own=own, say=print)


def test_a_cluster_without_nodes_has_none() -> None:
    dead = {**node(), "Alive": False}
    assert missing(SlotResources(1, 0), [dead]) == "there is no node"


def test_slots_without_room_start_only_where_nodes_can_join() -> None:
    said: list[str] = []
    slot = SlotResources(1, 1)
    assert slot_count(slot, "auto", NODES, own=True, say=said.append) == 2
    assert slot_count(slot, 5, NODES, own=False, say=said.append) == 5
    assert slot_count(slot, 2, NODES, own=True, say=said.append) == 2
    assert said == []
    assert slot_count(slot, 5, NODES, own=True, say=said.append) == 2
    assert said == ["starting 2 of 5 slots, because this machine has room for 2 ..."]


def test_a_wait_says_what_is_missing_after_5_s_and_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room.ray, "nodes", lambda: NODES)
    now, states = 0.0, ["PENDING", "RESCHEDULING"]

    def places(slot: SlotResources) -> Sequence[str]:
        return states

    watch = RoomWatch(SlotResources(64, 0), places, lambda: now)
    texts = {}
    for tick in range(400):  # twice a second, as the progress is shown
        now = tick / 2
        texts.setdefault(watch.text(), now)
    reason = "no node has room for a slot of cpu=64, gpu=0: cpu=64 (the most on a node is 8)"
    assert texts == {
        "": 0,
        f"no room for 5 s: {reason}": 5,
        **{f"no room for {n} min: {reason}": 60 * n for n in (1, 2, 3)},
    }
    states[1] = "CREATED"
    now += 5
    assert watch.text() == ""


def test_a_wait_for_other_work_says_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.ray, "nodes", lambda: NODES)
    monkeypatch.setattr(room.ray, "cluster_resources", lambda: {"CPU": 10.0, "GPU": 2.0})
    monkeypatch.setattr(room.ray, "available_resources", lambda: {"CPU": 4.0, "GPU": 0.5})
    now = 0.0
    watch = RoomWatch(SlotResources(1, 1), lambda slot: ["PENDING"], lambda: now)
    assert watch.text() == ""
    now = 6.0
    assert watch.text().endswith(
        "other work has the room for a slot of cpu=1, gpu=1; free on all nodes: 4 of 10 CPU,"
        " 0.5 of 2 GPU"
    )
