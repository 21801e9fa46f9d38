"""``fractal-ray compact``: fewer, larger files."""

import json
from typing import Annotated

import typer

from fractal_ray.cli.options import JsonOption


def compact(
    dataset: Annotated[str, typer.Argument(help="Folder or URI of a sweep's dataset.")],
    as_json: JsonOption = False,
) -> None:
    """Join a dataset's parts into one a frame and level; `run` does this when a sweep is done."""
    from fractal_ray.dataset.compaction import compact as join_parts
    from fractal_ray.dataset.driver_lease import hold_lease
    from fractal_ray.dataset.header import part_facts
    from fractal_ray.dataset.store import Store
    from fractal_ray.errors import SweepError
    from fractal_ray.sweep import Sweep

    sweep = Sweep.open(dataset)
    store = Store(sweep.location, part_facts(sweep.header() or {}))
    if store.is_empty():
        raise SweepError(f"{store.location} holds no sweep's data; there is nothing to join")
    before = store.part_count()
    with hold_lease(store):  # a sweep that is being run joins its parts itself
        join_parts(store)
    after = store.part_count()
    if as_json:
        print(json.dumps({"dataset": store.location, "parts_before": before, "parts": after}))
    else:
        print(f"{store.location}: {before:,} parts are now {after:,}")
