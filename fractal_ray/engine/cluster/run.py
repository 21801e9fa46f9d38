"""A sweep on a Ray cluster: join the cluster, settle the resources of a slot, run."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fractal_ray.dataset.store import Store
from fractal_ray.engine.cluster.packing import configuration, settle
from fractal_ray.engine.cluster.placement import (
    SlotResources,
    accelerator_types,
    pinned,
    room_for,
)
from fractal_ray.engine.cluster.start import address_to_join, cluster
from fractal_ray.engine.cluster.worker_keys import worker_keys
from fractal_ray.engine.device_choice import Cards
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.engine.progress import Progress, View
from fractal_ray.errors import SweepError
from fractal_ray.spec.resources import ResourcesSpec
from fractal_ray.workloads.base import Footprint, PackedByValue, Prepared, Probed, Workload


def run_on_ray(
    begin: Callable[[Cards], tuple[DispatcherSpec, ResourcesSpec]],
    workload: Workload,
    prepared: Prepared,
    resources: ResourcesSpec,
    *,
    address: str | None,
    num_cpus: int | None,
    trials: str,
    tables: Path | None,
    view: View,
    say: Callable[[str], None],
) -> Progress:
    """Join or start a cluster, settle what a slot takes, and run the sweep to its end.

    Parameters
    ----------
    begin
        Function that is called with the cards of the cluster before anything runs, and returns the
        data of the dispatcher and the resources of a slot, with the device chosen.
    workload, prepared, view, trials, tables
        As in `fractal_ray.engine.cluster.tune.run_ray_tune`.
    resources
        Resources in the spec of the sweep.
    address, num_cpus
        As in `fractal_ray.engine.cluster.start.cluster`.
    say
        Called with one line before each slow step, and for each decision.

    Raises
    ------
    SweepError
        If the cluster cannot be joined, or lacks the requested resources.
    SweepStoppedError
        When the sweep cannot go on; all finished points are in the dataset.
    """
    if isinstance(prepared.shared, PackedByValue):
        from ray import cloudpickle

        prepared = replace(prepared, shared=prepared.shared.packed(vars(cloudpickle)["dumps"]))
    address = address_to_join(address)
    say("starting Ray ..." if address is None else f"joining Ray at {address} ...")
    with cluster(address, num_cpus, say) as own:
        import ray

        from fractal_ray.engine.cluster.cards import cluster_cards
        from fractal_ray.engine.cluster.room import slot_count
        from fractal_ray.engine.cluster.tune import run_ray_tune

        spec, resources = begin(cluster_cards(resources, own=own))
        slot = _slot(spec, workload, prepared, resources, say)
        slots = slot_count(slot, resources.slots, ray.nodes(), own=own, say=say)
        return run_ray_tune(
            replace(spec, budget=replace(spec.budget, gpu=slot.gpu)),
            workload,
            prepared,
            device="cuda" if slot.gpu else "cpu",
            view=view,
            slot=slot,
            slots=slots,
            tiles_per_worker=resources.tiles_per_worker,
            trials=trials,
            tables=tables,
        )


def _slot(
    spec: DispatcherSpec,
    workload: Workload,
    prepared: Prepared,
    resources: ResourcesSpec,
    say: Callable[[str], None],
) -> SlotResources:
    import ray

    from fractal_ray.engine.cluster.room import missing

    slot = SlotResources(
        cpu=resources.cpu,
        gpu=resources.cards,
        memory=resources.memory,
        accelerator_type=resources.accelerator_type,
        labels=resources.labels,
    )
    store = Store(spec.location)
    if resources.homogeneous:
        kinds = store.read(["device"], skip_corrupt=True).column("device").unique().to_pylist()
        slot = pinned(slot, ray.nodes(), kinds)
    if resources.gpu != "auto":
        return slot
    if not isinstance(workload, Probed):
        return slot
    if not room_for(slot, ray.nodes()):
        raise SweepError(
            "gpu: auto measures what a worker takes of a card, and no node has room for a slot of"
            f" {slot}: {missing(slot, ray.nodes())}. Start such a node, or set resources.gpu to a"
            " number"
        )

    def probe() -> Footprint:
        say("measuring two steps on one worker (resources.gpu: auto) ...")
        return _probe(slot, workload, prepared, say)

    types = ",".join(f"accelerator_type:{kind}" for kind in sorted(accelerator_types(ray.nodes())))
    card = slot.accelerator_type or types
    what = {**spec.recipe, "points_per_trial": workload.points_per_trial}
    packing = settle(store, configuration(spec.fingerprint, what, card), probe)
    say(str(packing))
    return replace(slot, gpu=packing.gpu)


def _probe(
    slot: SlotResources, workload: Probed, prepared: Prepared, say: Callable[[str], None]
) -> Footprint:
    """Measure one worker in the place of a slot, in a process of its own."""
    import ray
    from ray.util import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    from fractal_ray.engine.cluster.room import RoomWatch

    def run(workload: Probed, shared: Any, keys: dict[str, str]) -> Footprint:
        os.environ.update(keys)
        return workload.probe(shared, "cuda")

    bundle = slot.bundle()
    place = placement_group([bundle], bundle_label_selector=[dict(slot.labels)])
    try:
        room, said = RoomWatch(slot), ""
        while not place.wait(timeout_seconds=1):
            if (reason := room.text()) and reason != said:
                said = reason
                say(reason)
        options = {
            "num_cpus": bundle.pop("CPU"),
            "num_gpus": bundle.pop("GPU"),
            "memory": bundle.pop("memory", None),
            "resources": bundle,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(place),
            "max_retries": 1,
        }
        # After one call the process ends, which frees its memory on the card.
        task = ray.remote(max_calls=1)(run).options(**options)
        footprint: Footprint = ray.get(
            task.remote(workload, ray.put(prepared.shared), worker_keys())
        )
        return footprint
    finally:
        remove_placement_group(place)
