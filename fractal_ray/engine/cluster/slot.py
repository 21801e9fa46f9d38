"""A worker under Ray Tune: it opens the workload once and runs one tile a step."""

import gc
import os
import socket
import sys
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray import tune

from fractal_ray.engine.base import (
    NoTile,
    Place,
    RunFailure,
    Tile,
    TileResult,
    describe,
    evaluate_tile,
    not_opened,
)
from fractal_ray.engine.cluster.remote_dispatcher import RemoteDispatcher
from fractal_ray.plane.axes import Point
from fractal_ray.workloads.base import ReportsProgress, Runner, Workload

_WAIT_SECONDS = 0.05
_RENEW_SECONDS = 1.0
_OVER = {"done": True, "sweep_over": True, "points": 0, "tile_seconds": 0.0}


class ReplacedError(RuntimeError):
    """End of a worker's process, which Tune replaces by a new one; no result is lost."""


class Slot(tune.Trainable):
    """Worker that opens the workload once and runs a tile (or a point) a step."""

    def setup(  # pyright: ignore[reportIncompatibleMethodOverride] - tune.with_parameters
        self,
        config: dict[str, Any],
        *,
        workload: Workload,
        shared: Any,
        dispatcher: RemoteDispatcher,
        device: str,
        tiles_per_worker: int | None,
    ) -> None:
        """Open the workload.

        An exception is reported at the first step: raised here, it would make Tune start the worker
        again for ever.
        """
        os.environ.update(dispatcher.keys())
        self._dispatcher, self._device = dispatcher, device
        self._open = lambda: self._with_progress(workload.open(shared, device))
        self._renewed = 0.0
        self._tiles_left = tiles_per_worker
        self._result: TileResult | None = None
        self._runner: Runner | None = None
        self._unopened: RunFailure | None = None
        self.reset_config(config)
        try:
            self._runner = self._open()
        except Exception as error:
            self._unopened = describe(error)
        else:
            self._dispatcher.opened(self._slot)

    def _with_progress(self, runner: Runner) -> Runner:
        """Let a runner that reports progress renew the lease of its tile."""
        if isinstance(runner, ReportsProgress):
            runner.on_progress = self._renew
        return runner

    def _renew(self) -> None:
        now = time.monotonic()
        if now - self._renewed > _RENEW_SECONDS:
            self._renewed = now
            self._dispatcher.renew(self._slot)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial's configuration and keep the workload (`trials: points`)."""
        self._slot = int(new_config["slot"])
        self._tile = _tile_from(new_config)
        self._announce()
        if self._runner is not None:
            self._dispatcher.opened(self._slot)
        return True

    def _announce(self) -> None:
        """Report the place of this worker; wait while another worker has the card for itself."""
        me = ray.get_runtime_context().current_actor
        while not self._dispatcher.opening(self._slot, _place(), me):
            time.sleep(_WAIT_SECONDS * 10)

    def step(self) -> dict[str, Any]:
        """Run a tile of the dispatcher, or the one point of this trial."""
        if self._unopened is not None:
            return self._open_failed(self._unopened)
        if self._tile is not None:
            return self._point_step(self._tile)
        return self._slot_step()

    def _open_failed(self, failure: RunFailure) -> dict[str, Any]:
        """Try again in a new process, unless the dispatcher has ended the sweep."""
        pause = self._dispatcher.open_failed(self._slot, failure, socket.gethostname())
        if pause is None:
            return _OVER
        time.sleep(pause)
        raise ReplacedError(failure.error)

    def _slot_step(self) -> dict[str, Any]:
        result, self._result = self._result, None
        reply = self._exchange(result)
        while isinstance(reply, str):
            if reply == "stop":
                return _OVER
            if reply == "rest":
                self._rest()
            time.sleep(_WAIT_SECONDS)
            reply = self._exchange(None)
        self._result = self._run(reply)
        self._tiles_left = None if self._tiles_left is None else self._tiles_left - 1
        if self._result.worn or self._tiles_left == 0:
            self._replace(self._result)
        seconds = self._result.seconds
        return {"sweep_over": False, "points": len(reply.points), "tile_seconds": seconds}

    def _exchange(self, result: TileResult | None) -> Tile | NoTile:
        """Exchange a tile; report this worker's place to a dispatcher that was rebuilt."""
        life = self._dispatcher.life
        reply = self._dispatcher.exchange(self._slot, result)
        if life not in (None, self._dispatcher.life):
            self._announce()
        return reply

    def _run(self, tile: Tile) -> TileResult:
        try:
            self._runner = self._runner or self._open()  # it was freed for a rest
        except Exception as error:
            return not_opened(tile, describe(error), self._device)
        return evaluate_tile(self._runner, tile)

    def _rest(self) -> None:
        """Free the card's memory for another worker."""
        if self._runner is not None:
            self._runner = None
            gc.collect()
            if "torch" in sys.modules:
                sys.modules["torch"].cuda.empty_cache()  # does nothing if CUDA was not used

    def _replace(self, result: TileResult) -> None:
        self._dispatcher.deliver(self._slot, result)
        self._dispatcher.retire(self._slot)
        raise ReplacedError("this worker is replaced by a new process")

    def _point_step(self, tile: Tile) -> dict[str, Any]:
        result = self._run(tile)
        self._dispatcher.deliver(self._slot, result)
        if result.worn:
            raise ReplacedError("out of memory")
        (item,) = result.results
        if isinstance(item, RunFailure):
            return {"done": True, "outcome": "failed", "error": item.error}
        return {
            "done": True,
            "outcome": item.outcome.value,
            "ratio": item.ratio,
            "final_loss": item.final_loss,
            "steps": item.steps,
            "seconds": item.seconds,
        }


def _place() -> Place:
    """Return this worker's place; workers without a card share the memory of their node."""
    node = ray.get_runtime_context().get_node_id()
    cards = ",".join(str(card) for card in ray.get_gpu_ids())
    return Place(node, f"{node}/{cards}")


def _tile_from(config: Mapping[str, Any]) -> Tile | None:
    """Return the one-point tile in a trial's configuration; None under `trials: slots`."""
    if "tile" not in config:
        return None
    x, y = (config[name] for name in config["params"])
    point = Point(config["frame"], config["level"], config["ix"], config["iy"], x, y)
    return Tile(config["tile"], (point,))
