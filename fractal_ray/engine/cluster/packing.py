"""`resources.gpu: auto`: the number of workers on a card, from a probe on one worker."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fractal_ray.errors import SweepError
from fractal_ray.workloads.base import Footprint

if TYPE_CHECKING:
    from fractal_ray.dataset.store import Store  # Arrow, without which benchmarks/packing.py runs

FILE = "packing.json"
HEADROOM = 0.10
"""Share of the peak added to it, for later batches and fragments of the allocator."""
KEPT_FREE = 0.05
"""Share of the card's memory that stays free."""
MOST = 8
"""Largest number of workers on one card."""
WORTH = 1.10
"""Least factor by which a further worker must raise the work that the card could do."""


@dataclass(frozen=True)
class Packing:
    """Result of a probe.

    Parameters
    ----------
    key
        Name of the configuration that was probed.
    footprint
        Memory and time that one worker takes; None if one worker fills any card.
    workers
        Number of workers that share a card.
    """

    key: str
    footprint: Footprint | None
    workers: int

    @property
    def gpu(self) -> float:
        """Return the share of a card for one worker, in Ray's steps of 1e-4."""
        return int(1e4 / self.workers) / 1e4 if self.workers > 1 else 1.0

    def __str__(self) -> str:
        """Return one line for the screen."""
        what = f"{self.workers} worker{'s' if self.workers > 1 else ''} a card"
        if self.footprint is None:
            return f"gpu: auto: {what}; this workload fills a card by itself"
        footprint = self.footprint
        sizes = footprint.peak, footprint.context, footprint.total
        peak, context, total = (size / 2**30 for size in sizes)
        memory = (
            f"by memory {fitting(footprint)} (two steps took {peak:.2f} GiB and {context:.2f} GiB"
            f" for CUDA, of {total:.1f} GiB)"
        )
        if footprint.busy is None:
            return f"gpu: auto: {what}; {memory}; how busy one keeps the card was not measured"
        busy = f"one keeps the card {100 * footprint.busy:.0f} % busy"
        time = f"by time {worth_starting(footprint)} ({busy})"
        return f"gpu: auto: {what}; {memory}, {time}"


def workers_of(footprint: Footprint) -> int:
    """Return the number of workers for a card: those that fit and still raise its throughput.

    Raises
    ------
    SweepError
        If not even one worker fits.
    """
    return min(fitting(footprint), worth_starting(footprint))


def worth_starting(footprint: Footprint) -> int:
    """Return the number of workers after which one more adds less than `WORTH`, 1 to `MOST`.

    Workers take turns on a card: w of them do at most min(w, 1 / busy) times the work of one.
    """
    if footprint.busy is None:
        return MOST
    return min(math.ceil(1 / (WORTH * footprint.busy)), MOST)


def fitting(footprint: Footprint) -> int:
    """Return the number of workers that fit on a card with their headroom, 1 to `MOST`.

    Raises
    ------
    SweepError
        If not even one worker fits.
    """
    each = footprint.peak * (1 + HEADROOM) + footprint.context
    fit = int(footprint.total * (1 - KEPT_FREE) / each)
    if not fit and footprint.peak + footprint.context > footprint.total:
        raise SweepError(
            f"gpu: auto: two steps take {footprint.peak:,} bytes and the card has"
            f" {footprint.total:,}; lower workload.recipe.device_batch_size"
        )
    return max(1, min(fit, MOST))


def configuration(fingerprint: str, recipe: dict[str, Any], card: str) -> str:
    """Return a name for the facts a probe depends on: model, data, recipe and kind of card."""
    facts = json.dumps(
        [fingerprint, recipe, card, HEADROOM, KEPT_FREE, MOST, WORTH], sort_keys=True
    )
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def settle(store: "Store", key: str, probe: Callable[[], Footprint | None]) -> Packing:
    """Return the packing of a configuration: the stored one, or that of a new probe.

    Parameters
    ----------
    store
        The dataset whose folder stores the packing (`packing.json`).
    key
        Name of the configuration.
    probe
        Function that runs two steps on one worker with a card for itself.
    """
    stored = _read(store)
    if stored is not None and stored.key == key:
        return stored
    footprint = probe()
    packing = Packing(key, footprint, 1 if footprint is None else workers_of(footprint))
    store.write_file(FILE, (json.dumps(asdict(packing), indent=2) + "\n").encode())
    return packing


def _read(store: "Store") -> Packing | None:
    """Return the stored packing; None without one, or if the file is damaged."""
    try:
        facts = json.loads(store.read_text(FILE) or "null")
        footprint = facts["footprint"]
        return Packing(facts["key"], footprint and Footprint(**footprint), int(facts["workers"]))
    except (ValueError, TypeError, KeyError):
        return None
