"""Resources that a slot takes of a node, and slots that share a card, computed without Ray."""

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fractal_ray.dataset.store import Store
from fractal_ray.engine.cluster.packing import FILE, Packing, configuration, settle, workers_of
from fractal_ray.engine.cluster.placement import SlotResources, matches, pinned, room_for
from fractal_ray.errors import SweepError
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.workloads.base import Footprint
from fractal_ray.workloads.nanochat import footprint
from tests.fractal_ray.conftest import raw_spec

GIB = 2**30


def node(kind: str | None = None, **resources: Any) -> dict[str, Any]:
    """Make a node in the form of `ray.nodes()`."""
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


@pytest.mark.parametrize(
    ("busy", "workers"),
    [(None, 7), (1.0, 1), (0.95, 1), (0.9, 2), (0.5, 2), (0.45, 3), (0.3, 4), (0.01, 7)],
)
def test_no_more_workers_than_fill_the_card(busy: float | None, workers: int) -> None:
    """Add workers while each adds a tenth or more, if work is shared out without loss."""
    one = Footprint(9 * GIB, GIB // 2, 80 * GIB, busy)
    assert workers_of(one) == workers
    if busy is not None and workers < 7:
        assert min(workers + 1, 1 / busy) < 1.1 * workers
        assert workers == 1 or min(workers, 1 / busy) >= 1.1 * (workers - 1)
    roomy = Footprint(GIB // 10, GIB // 10, 80 * GIB, busy)
    assert workers_of(roomy) == (8 if busy in (None, 0.01) else workers)


@pytest.mark.parametrize(
    ("busy", "words"),
    [
        (0.48, r"2 workers a card; by memory 7 \(.* 80.0 GiB\), by time 2 \(.* 48 % busy\)"),
        (0.99, r"1 worker a card; by memory 7 .* by time 1 \(.* 99 % busy\)"),
        (None, "7 workers a card; by memory 7 .* was not measured"),
    ],
)
def test_the_line_says_what_decided(busy: float | None, words: str) -> None:
    one = Footprint(9 * GIB, GIB // 2, 80 * GIB, busy)
    assert re.search(words, str(Packing("key", one, workers_of(one))))


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


def test_a_packing_of_before_cards_were_timed_is_made_anew(tmp_path: Any) -> None:
    taken = {"peak": 9 * GIB, "context": GIB // 2, "total": 80 * GIB}
    facts = json.dumps(["fingerprint", {}, "H100", 0.10, 0.05, 8])
    old = {"key": hashlib.sha256(facts.encode()).hexdigest()[:32], "footprint": taken, "workers": 7}
    (tmp_path / FILE).write_text(json.dumps(old))
    store, key = Store(str(tmp_path)), configuration("fingerprint", {}, "H100")
    made = settle(store, key, lambda: Footprint(**taken, busy=0.5))
    assert made.workers == 2
    assert settle(store, key, lambda: pytest.fail("it was asked again")) == made


def kernel(start: float, end: float, **more: Any) -> Any:
    """Make an event of a kernel as torch's profiler reports it, in microseconds."""
    from torch.autograd.profiler_util import FunctionEvent
    from torch.profiler import DeviceType

    facts = {"device_type": DeviceType.CUDA, **more}
    return FunctionEvent(1, "kernel", 0, start, end, **facts)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Callable[..., float | None]:
    """Return a call: `busy_share` of steps of 0.1 s wall time on a card with given events."""

    def share(*events: Any) -> float | None:
        class Seen:
            def __init__(self, activities: Any) -> None:
                self.began = len(calls)

            def __enter__(self) -> "Seen":
                return self

            def __exit__(self, *error: object) -> None:
                assert len(calls) == self.began + 1, "the profiler sees one call"

            def events(self) -> list[Any]:
                return list(events)

        calls: list[int] = []
        clock = iter((5.0, 5.1))
        monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
        monkeypatch.setattr(torch.profiler, "profile", Seen)
        monkeypatch.setattr(footprint, "perf_counter", lambda: next(clock))
        found = footprint.busy_share(lambda: calls.append(1))
        assert len(calls) == 3
        return found

    return share


def test_a_card_is_busy_while_any_kernel_runs(card: Callable[..., float | None]) -> None:
    from torch.profiler import DeviceType

    kernels = [kernel(40e3, 60e3), kernel(0, 20e3), kernel(10e3, 30e3), kernel(12e3, 15e3)]
    assert card(*kernels) == pytest.approx(0.5)
    beside = [
        kernel(0, 90e3, is_user_annotation=True),
        kernel(0, 90e3, device_type=DeviceType.CPU),
    ]
    assert card(*kernels, *beside) == pytest.approx(0.5)
    assert card(kernel(0, 500e3)) == 1.0
    assert card() is None
    assert card(*beside) is None


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
