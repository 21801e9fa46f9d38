"""The dispatcher as a Ray actor, and its typed proxy for workers and the driver."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fractal_ray.engine.base import (
    FailureKind,
    NoTile,
    Place,
    RunFailure,
    Tile,
    TileResult,
    describe,
)
from fractal_ray.engine.cluster.lives import Lives
from fractal_ray.engine.cluster.worker_keys import worker_keys
from fractal_ray.engine.dispatcher import Dispatcher
from fractal_ray.engine.dispatcher_spec import DispatcherSpec
from fractal_ray.engine.progress import Progress

_STORAGE = ("AWS_", "ARROW_", "GOOGLE_", "AZURE_", "STORAGE_EMULATOR_HOST")
_CALL_SECONDS = 30.0


class DispatcherActor(Dispatcher):
    """Dispatcher in a process of its own, with the driver's settings for object storage.

    It gives workers the keys that the driver has for them.
    """

    def __init__(
        self,
        spec: DispatcherSpec,
        environment: dict[str, str],
        keys: dict[str, str],
        lives: Path,
    ) -> None:
        self._lives = Lives(lives)
        self._lives.begin()
        os.environ.update({**environment, **keys})
        super().__init__(spec)
        self._life = secrets.token_hex(8)
        self._keys = keys

    def keys(self) -> dict[str, str]:
        return self._keys

    def flush_if_due(self) -> None:
        super().flush_if_due()
        if self._writer.wrote_rows:
            self._lives.record_rows()

    def exchange_in_life(self, slot: int, result: TileResult | None) -> tuple[Tile | NoTile, str]:
        """Exchange a tile; also return the id of this process's life.

        A worker that sees another id knows that the dispatcher was rebuilt and has no record of
        the worker's place. An exception in here ends the sweep, because a worker would retry the
        call for ever.
        """
        try:
            return self.exchange(slot, result), self._life
        except Exception as error:
            self.error = f"the dispatcher failed:\n{describe(error).traceback}"
            return "stop", self._life


class RemoteDispatcher:
    """Proxy of a `DispatcherActor`: each method waits for the actor's answer.

    It meets the protocol `WorkerCalls`. It can be pickled, so workers get a copy.

    Parameters
    ----------
    actor
        Handle of the actor.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self.life: str | None = None
        """Id of the actor's life in the last answer of `exchange`; None before the first one."""

    # Calls of workers -----------------------------------------------------------------------

    def keys(self) -> dict[str, str]:
        """Return the keys that workers get from the driver.

        An argument of Tune's trainable would lie in the object store, which Ray may spill to disk;
        a small answer goes from process to process.
        """
        return ray.get(self._actor.keys.remote())

    def opening(self, slot: int, place: Place, handle: Any = None) -> bool:
        return ray.get(self._actor.opening.remote(slot, place, handle))

    def exchange(self, slot: int, result: TileResult | None = None) -> Tile | NoTile:
        answer: Any = ray.get(self._actor.exchange_in_life.remote(slot, result))
        reply, self.life = answer
        return reply

    def deliver(self, slot: int, result: TileResult) -> None:
        ray.get(self._actor.deliver.remote(slot, result))

    def take(self, slot: int) -> Tile | NoTile:
        return ray.get(self._actor.take.remote(slot))

    def reserve(self, slot: int) -> Tile | NoTile:
        return ray.get(self._actor.reserve.remote(slot))

    def opened(self, slot: int) -> None:
        ray.get(self._actor.opened.remote(slot))

    def renew(self, slot: int) -> None:
        """Renew a lease without waiting for the answer."""
        self._actor.renew.remote(slot)

    def retire(self, slot: int) -> None:
        ray.get(self._actor.retire.remote(slot))

    def open_failed(self, slot: int, failure: RunFailure, host: str) -> float | None:
        return ray.get(self._actor.open_failed.remote(slot, failure, host))

    def release(
        self, slot: int, why: str, kind: FailureKind = "lost_worker", traceback: str = ""
    ) -> None:
        ray.get(self._actor.release.remote(slot, why, kind, traceback))

    def send_release(self, slot: int, why: str, kind: FailureKind, traceback: str) -> None:
        """Send a `release` without waiting for the answer."""
        self._actor.release.remote(slot, why, kind, traceback)

    # Calls of the driver --------------------------------------------------------------------

    def node_of(self, slot: int) -> str:
        return ray.get(self._actor.node_of.remote(slot), timeout=10)

    def progress(self) -> Progress:
        return ray.get(self._actor.progress.remote(), timeout=_CALL_SECONDS)

    def take_hung(self) -> list[Any]:
        return ray.get(self._actor.take_hung.remote(), timeout=_CALL_SECONDS)

    def rescue(self) -> None:
        ray.get(self._actor.rescue.remote(), timeout=2 * _CALL_SECONDS)

    def close(self) -> Progress:
        return ray.get(self._actor.close.remote())

    def kill(self) -> None:
        """End the actor's process."""
        ray.kill(self._actor)


@contextmanager
def start_dispatcher(spec: DispatcherSpec) -> Iterator[RemoteDispatcher]:
    """Start the actor, yield its proxy, and end the actor.

    The actor runs on the driver's node, because both live equally long and see the same disk. It
    takes no CPU from the slots. Without the end, it would live as long as the driver's connection
    to Ray.
    """
    options = {
        "num_cpus": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(
            node_id=ray.get_runtime_context().get_node_id(), soft=False
        ),
        "max_restarts": -1,
        "max_task_retries": -1,
    }
    with tempfile.TemporaryDirectory() as folder:
        lives = Path(folder) / "lives"
        new = ray.remote(DispatcherActor).options(**options)
        actor = new.remote(spec, _storage_environment(), worker_keys(), lives)
        dispatcher = RemoteDispatcher(actor)
        try:
            yield dispatcher
        finally:
            dispatcher.kill()


def _storage_environment() -> dict[str, str]:
    """Return the endpoint, region and keys of object stores from the environment.

    Ray passes on the keys at most. They are passed as an argument, because Ray shows the
    environment of a process on its dashboard.
    """
    return {key: value for key, value in os.environ.items() if key.startswith(_STORAGE)}
