"""Cards of a Ray cluster: those of its nodes, and the nodes that may still join."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import ray
from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray.autoscaler._private.util import format_readonly_node_type
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.exceptions import RayError
from ray.experimental.internal_kv import _internal_kv_get

from fractal_ray.engine.cluster.placement import SlotResources, room_for
from fractal_ray.engine.device_choice import Cards
from fractal_ray.spec.resources import ResourcesSpec

_READ_ONLY = format_readonly_node_type("")
"""Begin of the types that Ray gives to nodes where it cannot start any."""


def cluster_cards(resources: ResourcesSpec, *, own: bool) -> Cards:
    """Return the cards of the cluster that this process has joined.

    Parameters
    ----------
    resources
        Resources in the spec of a sweep.
    own
        True for a Ray that was started for this sweep, which no other node can join.
    """
    nodes = ray.nodes()
    present = sum(node["Resources"].get("GPU", 0) for node in nodes if node["Alive"])
    return Cards(present, "" if own else _reason_to_wait(resources, nodes))


def _reason_to_wait(resources: ResourcesSpec, nodes: Iterable[Mapping[str, Any]]) -> str:
    """Return the reason for which nodes may still join a cluster; empty if there is none."""
    if _starts_nodes():
        return "the cluster starts nodes on demand"
    slot = SlotResources(resources.cpu, 0, resources.memory, labels=resources.labels)
    room = room_for(slot, nodes)
    if resources.slots != "auto" and resources.slots > room:
        slots = f"resources.slots is {resources.slots}"
        return f"{slots} where there is room for {room}, so nodes are expected"
    return ""


def _starts_nodes() -> bool:
    """Return True if the cluster has an autoscaler that can start nodes.

    Ray reports the types of nodes. Where it can only watch them, these are made of node ids.
    """
    try:
        kinds = _types_of_nodes()
    except (RayError, RuntimeError, ValueError, KeyError):  # no answer, or another form
        return False
    return any(kind and not kind.startswith(_READ_ONLY) for kind in kinds)


def _types_of_nodes() -> list[str]:
    if is_autoscaler_v2(fetch_from_server=True):
        state = get_cluster_status(ray.get_runtime_context().gcs_address)
        return [node.ray_node_type_name for node in [*state.active_nodes, *state.idle_nodes]]
    status = _internal_kv_get(DEBUG_AUTOSCALING_STATUS)
    report = json.loads(status)["autoscaler_report"] if status else {}
    return [*(report.get("active_nodes") or {}), *(report.get("pending_launches") or {})]
