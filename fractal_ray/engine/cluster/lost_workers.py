"""What Ray says of workers that are gone, and what the dispatcher is told."""

import contextlib
import pickle
import socket
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from fractal_ray.engine.base import FailureKind

# Ray's words; those for any crash speak of the kernel's "OOM killer" as one cause among others.
_NO_MEMORY = ("low on memory", "OutOfMemoryError:")
_NO_NODE = ("its node has died", "its node is dead")


NODE_LOST = "the node was lost"


class Release(tune.Callback):
    """Frees the lease of a worker that Tune has lost, whether or not it ever comes back.

    Parameters
    ----------
    dispatcher
        The actor.
    """

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher = dispatcher

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune will start the worker again."""
        self._release(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune will not."""
        self._release(trial)

    def _release(self, trial: Any) -> None:
        slot = trial.config["slot"]
        error = _error_of(trial)
        kind, why = why_lost(error)
        said = str(error) if isinstance(error, RayTaskError) else ""
        if kind == "lost_worker":
            with contextlib.suppress(RayError, GetTimeoutError):
                node: Any = ray.get(self._dispatcher.node_of.remote(slot), timeout=10)
                if node and not _answers(node):
                    kind, why = "lost_node", NODE_LOST
        self._dispatcher.release.remote(slot, why, kind, said)


def why_lost(error: BaseException | None) -> tuple[FailureKind, str]:
    """Kind and reason of a lost worker, from the exception that Ray has for it."""
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, RayTaskError):  # raised in the worker, outside a point
        return "error", said.strip().splitlines()[-1]
    if any(words in said for words in _NO_MEMORY):
        return "out_of_memory", "the worker was ended because its node ran low on memory"
    if getattr(error, "preempted", False) or any(words in said for words in _NO_NODE):
        return "lost_node", NODE_LOST
    return "lost_worker", "the worker process was lost"


def _answers(node_id: str) -> bool:
    """Whether a node is there. Its workers are missed before Ray has noticed that it is gone."""
    for node in ray.nodes():
        if node["NodeID"] == node_id and node["Alive"]:
            address = (node["NodeManagerAddress"], node["NodeManagerPort"])
            try:
                socket.create_connection(address, timeout=2).close()
            except OSError:
                return False
            return True
    return False


def _error_of(trial: Any) -> BaseException | None:
    """The trial's last exception: Tune's callbacks are not told, it is in a file of the driver."""
    path = trial.pickled_error_file
    try:
        return pickle.loads(Path(path).read_bytes()) if path else None
    except Exception:  # an exception of somebody's own need not come back from a pickle
        return None
