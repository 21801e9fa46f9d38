"""Classification of lost workers from Ray's exceptions, and their report to the dispatcher."""

import contextlib
import pickle
import socket
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from fractal_ray.engine.base import FailureKind
from fractal_ray.engine.cluster.remote_dispatcher import RemoteDispatcher

# Phrases of Ray's messages. Its message for any crash names the kernel's "OOM killer" as one
# possible cause, so "OOM" alone proves nothing.
_NO_MEMORY = ("low on memory", "OutOfMemoryError:")
_NO_NODE = ("its node has died", "its node is dead")

NODE_LOST = "the node was lost"


class Release(tune.Callback):
    """Callback of Tune that releases the lease of a lost worker, even if none replaces it."""

    def __init__(self, dispatcher: RemoteDispatcher) -> None:
        self._dispatcher = dispatcher

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Release the lease of a worker that Tune starts again."""
        self._release(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Release the lease of a worker that Tune does not start again."""
        self._release(trial)

    def _release(self, trial: Any) -> None:
        slot = trial.config["slot"]
        error = _error_of(trial)
        kind, why = why_lost(error)
        traceback = str(error) if isinstance(error, RayTaskError) else ""
        if kind == "lost_worker":
            with contextlib.suppress(RayError, GetTimeoutError):
                node = self._dispatcher.node_of(slot)
                if node and not _answers(node):
                    kind, why = "lost_node", NODE_LOST
        self._dispatcher.send_release(slot, why, kind, traceback)


def why_lost(error: BaseException | None) -> tuple[FailureKind, str]:
    """Return the kind and the reason of a lost worker from Ray's exception for it."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, RayTaskError):  # raised in the worker, outside a point
        return "error", text.strip().splitlines()[-1]
    if any(words in text for words in _NO_MEMORY):
        return "out_of_memory", "the worker was ended because its node ran low on memory"
    if getattr(error, "preempted", False) or any(words in text for words in _NO_NODE):
        return "lost_node", NODE_LOST
    return "lost_worker", "the worker process was lost"


def _answers(node_id: str) -> bool:
    """Return True if a node accepts connections.

    Ray reports the loss of workers before it notices that their node is gone.
    """
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
    """Return the last exception of a trial, from a file: Tune does not pass it to callbacks."""
    path = trial.pickled_error_file
    try:
        return pickle.loads(Path(path).read_bytes()) if path else None
    except Exception:  # exceptions of users need not survive pickling
        return None
