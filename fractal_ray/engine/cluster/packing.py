"""`resources.gpu: auto`: how many workers share a card, from a probe on one worker."""

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
"""Share of the peak that is added to it: later batches and fragments of the allocator."""
KEPT_FREE = 0.05
"""Share of the card that nobody is given."""
MOST = 8
"""Workers of one card, however little each takes of it."""
WORTH = 1.10
"""A further worker is started where the card could do at least so many times the work with it."""


@dataclass(frozen=True)
class Packing:
    """What a probe has found.

    Parameters
    ----------
    key
        Of the configuration that was probed.
    footprint
        What one worker takes; None where one worker fills a card whatever its memory.
    workers
        That share a card.
    """

    key: str
    footprint: Footprint | None
    workers: int

    @property
    def gpu(self) -> float:
        """Of one worker, in Ray's steps of 1e-4."""
        return int(1e4 / self.workers) / 1e4 if self.workers > 1 else 1.0

    def __str__(self) -> str:
        """One line."""
        what = f"{self.workers} worker{'s' if self.workers > 1 else ''} a card"
        if self.footprint is None:
            return f"gpu: auto: {what}; this workload fills a card by itself"
        found = self.footprint
        peak, context, total = (n / 2**30 for n in (found.peak, found.context, found.total))
        memory = (
            f"by memory {fitting(found)} (two steps took {peak:.2f} GiB and {context:.2f} GiB for"
            f" CUDA, of {total:.1f} GiB)"
        )
        if found.busy is None:
            return f"gpu: auto: {what}; {memory}; how busy one keeps the card was not measured"
        time = f"by time {worth_starting(found)} (one keeps the card {100 * found.busy:.0f} % busy)"
        return f"gpu: auto: {what}; {memory}, {time}"


def workers_of(footprint: Footprint) -> int:
    """Workers that share a card: as many as fit, but no more than have something to gain.

    Raises
    ------
    SweepError
        If not even one fits.
    """
    return min(fitting(footprint), worth_starting(footprint))


def worth_starting(footprint: Footprint) -> int:
    """Workers after which a further one adds less than `WORTH`, at least 1 and at most `MOST`.

    Workers take turns on a card: w of them do at most min(w, 1 / busy) times the work of one.
    """
    if footprint.busy is None:
        return MOST
    return min(math.ceil(1 / (WORTH * footprint.busy)), MOST)


def fitting(footprint: Footprint) -> int:
    """Workers that fit on a card with their headroom, at least 1 and at most `MOST`.

    Raises
    ------
    SweepError
        If not even one does.
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
    """Name of what a probe depends on: model and data, the recipe, and the kind of card."""
    facts = json.dumps(
        [fingerprint, recipe, card, HEADROOM, KEPT_FREE, MOST, WORTH], sort_keys=True
    )
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def settle(store: "Store", key: str, probe: Callable[[], Footprint | None]) -> Packing:
    """The packing of a configuration: as it was found before, or by a probe now.

    Parameters
    ----------
    store
        Whose folder keeps it (`packing.json`).
    key
        Of the configuration.
    probe
        Runs two steps on one worker that has a card for itself.
    """
    kept = _read(store)
    if kept is not None and kept.key == key:
        return kept
    footprint = probe()
    packing = Packing(key, footprint, 1 if footprint is None else workers_of(footprint))
    store.write_file(FILE, (json.dumps(asdict(packing), indent=2) + "\n").encode())
    return packing


def _read(store: "Store") -> Packing | None:
    """None as well where the file is damaged: a probe makes a new one."""
    try:
        kept = json.loads(store.read_text(FILE) or "null")
        taken = kept["footprint"]
        return Packing(kept["key"], taken and Footprint(**taken), int(kept["workers"]))
    except (ValueError, TypeError, KeyError):
        return None
