"""Room for slots on a cluster: what nodes lack, the number of slots, and the wait for a place."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import ray
from ray.exceptions import RayError

from fractal_ray.engine.cluster.placement import (
    SlotResources,
    accelerator_types,
    matches,
    room_for,
)
from fractal_ray.errors import SweepError

_EVERY_SECONDS = 5.0
_MINUTE = 60.0


def missing(slot: SlotResources, nodes: Sequence[Mapping[str, Any]]) -> str:
    """Return the resources of a slot that no live node has, with what the nodes have instead.

    Parameters
    ----------
    slot
    nodes
        As `ray.nodes()` returns them.
    """
    alive = [node for node in nodes if node["Alive"]]
    if not alive:
        return "there is no node"

    def most(resource: str) -> float:
        return max(node["Resources"].get(resource, 0) for node in alive)

    lacks = []
    if most("CPU") < slot.cpu:
        lacks.append(f"cpu={slot.cpu:g} (the most on a node is {most('CPU'):g})")
    if int(most("GPU")) < slot.gpu:
        lacks.append(f"gpu={slot.gpu:g} (the most on a node is {most('GPU'):g})")
    if slot.memory and most("memory") < slot.memory:
        memory = f"memory={slot.memory:,} bytes"
        lacks.append(f"{memory} (the most on a node is {most('memory'):,.0f})")
    kinds = accelerator_types(alive)
    if slot.accelerator_type and slot.accelerator_type not in kinds:
        has = ", ".join(sorted(kinds)) or "none"
        lacks.append(f"accelerator_type={slot.accelerator_type} (the nodes have {has})")
    for key, selector in slot.labels.items():
        values = {node.get("Labels", {}).get(key) for node in alive}
        if not any(matches(selector, value) for value in values):
            has = ", ".join(sorted(value for value in values if value is not None)) or "none"
            lacks.append(f"label {key}={selector} (the nodes have {has})")
    return ", ".join(lacks) or "no single node has all of it"


def slot_count(
    slot: SlotResources,
    slots: int | Literal["auto"],
    nodes: Sequence[Mapping[str, Any]],
    *,
    own: bool,
    say: Callable[[str], None],
) -> int:
    """Return the number of slots that a sweep starts.

    Parameters
    ----------
    slot
        Resources of a slot.
    slots
        Number in the spec.
    nodes
        As `ray.nodes()` returns them.
    own
        True for a Ray that was started for this sweep, which no other node can join.
    say
        Called with a line if there is room for fewer slots than the spec names.

    Raises
    ------
    SweepError
        If there is no room for a slot, and none can come or the number is `auto`.
    """
    room = room_for(slot, nodes)
    if own and not room:
        raise SweepError(
            f"this machine has no room for a slot of {slot}: {missing(slot, nodes)}. Lower"
            " `resources` in the spec (or --set resources.NAME=VALUE; --num-cpus sets the number of"
            " CPUs that Ray counts), or join a cluster that has them: --address HOST:6379"
        )
    if slots == "auto":
        if room:
            return room
        raise SweepError(
            f"no node of the cluster has room for a slot of {slot}: {missing(slot, nodes)}. Lower"
            " `resources` in the spec, or set a number of slots to wait for nodes to join:"
            " --set resources.slots=1"
        )
    if own and slots > room:
        say(f"starting {room} of {slots} slots, because this machine has room for {room} ...")
        return room
    return slots


class RoomWatch:
    """Watch over a sweep that waits for room on a cluster.

    Parameters
    ----------
    slot
        Resources of a slot.
    states
        Function that returns the states of the places (placement groups) that this process has
        requested for slots.
    clock
        Function that returns seconds of a monotonic clock.
    """

    def __init__(
        self,
        slot: SlotResources,
        states: Callable[[SlotResources], Sequence[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slot, self._states, self._clock = slot, states or _own_places, clock
        self._looked: float | None = None
        self._since: float | None = None
        self._text = ""

    def text(self) -> str:
        """Return the reason why no slot has a place; an empty string if one has, or at first.

        The text changes once a minute. The cluster is asked every few seconds at most.
        """
        now = self._clock()
        if self._looked is None or now - self._looked >= _EVERY_SECONDS:
            self._looked = now
            # While the head does not answer, the last text stands.
            with contextlib.suppress(RayError, OSError, RuntimeError):
                self._text = self._look(now)
        return self._text

    def _look(self, now: float) -> str:
        states = self._states(self._slot)
        if not states or "CREATED" in states:
            self._since = None
            return ""
        self._since = now if self._since is None else self._since
        waited = now - self._since
        if waited < _EVERY_SECONDS:
            return ""
        age = f"{waited // _MINUTE:.0f} min" if waited >= _MINUTE else f"{_EVERY_SECONDS:.0f} s"
        return f"no room for {age}: {_obstacle(self._slot, ray.nodes())}"


def _obstacle(slot: SlotResources, nodes: Sequence[Mapping[str, Any]]) -> str:
    if not room_for(slot, nodes):
        return f"no node has room for a slot of {slot}: {missing(slot, nodes)}"
    total, free = ray.cluster_resources(), ray.available_resources()
    shares = [
        f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}"
        for name in ("CPU", "GPU")
        if slot.bundle().get(name)
    ]
    if slot.memory:
        shares.append(f"{free.get('memory', 0):,.0f} of {total.get('memory', 0):,.0f} bytes")
    return f"other work has the room for a slot of {slot}; free on all nodes: {', '.join(shares)}"


def _own_places(slot: SlotResources) -> list[str]:
    """Return the states of the places that this driver has requested and not removed.

    The id of a placement group ends with the id of the driver that has made it.
    """
    driver = ray.get_runtime_context().get_job_id()
    table: Mapping[str, Any] = ray.util.placement_group_table()
    return [
        group["state"]
        for name, group in table.items()
        if name.endswith(driver)
        and group["state"] != "REMOVED"
        and group["bundles"].get(0) == slot.bundle()
    ]
