"""What a slot takes of a node, which nodes have room for it, and how Ray is asked for it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fractal_ray.errors import SweepError

_TYPE = "accelerator_type:"
_ONE_OF = re.compile(r"(!?)in\((.*)\)")


@dataclass(frozen=True)
class SlotResources:
    """What one slot takes.

    Parameters
    ----------
    cpu, gpu
        Logical CPUs and cards; `gpu` may be a fraction.
    memory
        Bytes of the node, None for no claim.
    accelerator_type
        As Ray names it, None for any.
    labels
        Ray's label selector of the node.
    """

    cpu: float
    gpu: float
    memory: int | None = None
    accelerator_type: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """As a reader of the spec knows it."""
        parts = [f"cpu={self.cpu:g}", f"gpu={self.gpu:g}"]
        if self.memory:
            parts.append(f"memory={self.memory:,} bytes")
        if self.accelerator_type:
            parts.append(f"accelerator_type={self.accelerator_type}")
        parts += [f"label {key}={value}" for key, value in self.labels.items()]
        return ", ".join(parts)

    def bundle(self) -> dict[str, float]:
        """Ray's resources."""
        wanted: dict[str, float] = {"CPU": self.cpu}
        if self.gpu:
            wanted["GPU"] = self.gpu
        if self.memory:
            wanted["memory"] = self.memory
        if self.accelerator_type:
            wanted[_TYPE + self.accelerator_type] = 0.001  # a node has 1 for its kind of card
        return wanted

    def placement(self) -> Any:
        """For `tune.with_resources`."""
        from ray.tune import PlacementGroupFactory

        if not self.labels:
            return PlacementGroupFactory([self.bundle()])
        return PlacementGroupFactory([self.bundle()], bundle_label_selector=[dict(self.labels)])


def room_for(slot: SlotResources, nodes: Iterable[Mapping[str, Any]]) -> int:
    """How many slots the nodes that are alive have room for.

    Parameters
    ----------
    slot
    nodes
        As `ray.nodes()` tells them.
    """
    return sum(room_on(slot, node) for node in nodes)


def room_on(slot: SlotResources, node: Mapping[str, Any]) -> int:
    """How many slots one node has room for."""
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


def matches(asked: str, value: str | None) -> bool:
    """Whether a node's label meets a selector: `a`, `!a`, `in(a, b)` or `!in(a, b)`."""
    if found := _ONE_OF.fullmatch(asked):
        among = value in [part.strip() for part in found[2].split(",")]
        return not among if found[1] else among
    return value != asked[1:] if asked.startswith("!") else value == asked


def pinned(
    slot: SlotResources, nodes: Iterable[Mapping[str, Any]], devices: Iterable[str]
) -> SlotResources:
    """The same on one kind of card: that of the dataset's rows, else the one with most room.

    Parameters
    ----------
    slot
    nodes
        As `ray.nodes()` tells them.
    devices
        What computed the dataset so far, as its rows say: "NVIDIA H100 80GB HBM3".

    Raises
    ------
    SweepError
        Where the dataset is of a kind of card that the cluster does not have.
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
    """Whether a card called so by its driver ("NVIDIA A100-SXM4-80GB") is of Ray's kind
    ("A100-80G"): word by word, because "A10" and "L4" begin other names as well."""
    words = re.split(r"[^A-Za-z0-9]+", name)
    return all(part in words or f"{part}B" in words for part in kind.split("-"))
