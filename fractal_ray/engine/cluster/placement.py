"""Resources of a slot, the room that nodes have for slots, and the request to Ray."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fractal_ray.errors import SweepError

_TYPE = "accelerator_type:"
_ONE_OF = re.compile(r"(!?)in\((.*)\)")


@dataclass(frozen=True)
class SlotResources:
    """Resources of one slot.

    Parameters
    ----------
    cpu, gpu
        Numbers of logical CPUs and cards; `gpu` may be a fraction.
    memory
        Bytes of the node's memory; None for no claim.
    accelerator_type
        Ray's name of the kind of card; None for any.
    labels
        Ray's label selector of the node.
    """

    cpu: float
    gpu: float
    memory: int | None = None
    accelerator_type: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the resources by the names of the spec."""
        parts = [f"cpu={self.cpu:g}", f"gpu={self.gpu:g}"]
        if self.memory:
            parts.append(f"memory={self.memory:,} bytes")
        if self.accelerator_type:
            parts.append(f"accelerator_type={self.accelerator_type}")
        parts += [f"label {key}={value}" for key, value in self.labels.items()]
        return ", ".join(parts)

    def bundle(self) -> dict[str, float]:
        """Return the slot as Ray's resources."""
        resources: dict[str, float] = {"CPU": self.cpu}
        if self.gpu:
            resources["GPU"] = self.gpu
        if self.memory:
            resources["memory"] = self.memory
        if self.accelerator_type:
            resources[_TYPE + self.accelerator_type] = 0.001  # a node has 1 for its kind of card
        return resources

    def placement(self) -> Any:
        """Return the argument for `tune.with_resources`."""
        from ray.tune import PlacementGroupFactory

        if not self.labels:
            return PlacementGroupFactory([self.bundle()])
        return PlacementGroupFactory([self.bundle()], bundle_label_selector=[dict(self.labels)])


def room_for(slot: SlotResources, nodes: Iterable[Mapping[str, Any]]) -> int:
    """Return how many slots the live nodes have room for.

    Parameters
    ----------
    slot
    nodes
        As `ray.nodes()` returns them.
    """
    return sum(room_on(slot, node) for node in nodes)


def room_on(slot: SlotResources, node: Mapping[str, Any]) -> int:
    """Return how many slots one node has room for."""
    resources, labels = node["Resources"], node.get("Labels", {})
    if not node["Alive"] or not all(
        matches(value, labels.get(key)) for key, value in slot.labels.items()
    ):
        return 0
    if slot.accelerator_type and not resources.get(_TYPE + slot.accelerator_type):
        return 0
    room = int(resources.get("CPU", 0) / slot.cpu + 1e-9)
    if slot.memory:
        room = min(room, int(resources.get("memory", 0) // slot.memory))
    if slot.gpu:
        cards = int(resources.get("GPU", 0))
        # A fraction never spans cards; Ray counts in steps of 1e-4.
        per_card = int(1 / slot.gpu + 1e-4)
        room = min(room, cards * per_card if slot.gpu < 1 else cards // int(slot.gpu))
    return room


def matches(selector: str, value: str | None) -> bool:
    """Return True if a node's label meets a selector: `a`, `!a`, `in(a, b)` or `!in(a, b)`."""
    if match := _ONE_OF.fullmatch(selector):
        among = value in [part.strip() for part in match[2].split(",")]
        return not among if match[1] else among
    return value != selector[1:] if selector.startswith("!") else value == selector


def accelerator_types(nodes: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return Ray's names of the kinds of cards that nodes have."""
    return {
        name.removeprefix(_TYPE)
        for node in nodes
        for name in node["Resources"]
        if name.startswith(_TYPE)
    }


def pinned(
    slot: SlotResources, nodes: Iterable[Mapping[str, Any]], devices: Iterable[str]
) -> SlotResources:
    """Return the slot bound to one kind of card: the dataset's, else the one with most room.

    Parameters
    ----------
    slot
    nodes
        As `ray.nodes()` returns them.
    devices
        Devices named by the dataset's rows, for example "NVIDIA H100 80GB HBM3".

    Raises
    ------
    SweepError
        If the dataset was computed on a kind of card that the cluster does not have.
    """
    if not slot.gpu or slot.accelerator_type:
        return slot
    room = {}
    for node in nodes:
        for name in node["Resources"]:
            if name.startswith(_TYPE):
                room[name[len(_TYPE) :]] = room.get(name[len(_TYPE) :], 0) + room_on(slot, node)
    kinds = [kind for kind in sorted(room, key=lambda kind: (-room[kind], kind)) if room[kind]]
    names = sorted(devices)
    fitting = [kind for kind in kinds if any(_is_kind(kind, name) for name in names)]
    if names and kinds and not fitting:
        raise SweepError(
            f"resources.homogeneous: {', '.join(names)} computed this dataset, and the cluster has"
            f" {', '.join(kinds)}; add such a node, or set homogeneous: false"
        )
    chosen = (fitting or kinds)[:1]
    return replace(slot, accelerator_type=chosen[0]) if chosen else slot


def _is_kind(kind: str, name: str) -> bool:
    """Return True if a driver's name ("NVIDIA A100-SXM4-80GB") is of Ray's kind ("A100-80G").

    Words are compared whole, because "A10" and "L4" begin other names as well.
    """
    words = re.split(r"[^A-Za-z0-9]+", name)
    return all(part in words or f"{part}B" in words for part in kind.split("-"))
