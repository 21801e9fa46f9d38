"""The process beside a sweep that talks to W&B: ``python -m fractal_ray.tracking.sender``.

It reads JSON objects from standard input, one a line: the setup, states of the sweep, and the end
of the sweep. It writes messages for the user to standard output. It ends soon after its sweep.
"""

import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from nanochat.errors import first_line_with_type
from nanochat.files.wandb_rules import refused_setting

STOP_SECONDS: Final = 15.0
"""Seconds to finish runs after a fault, or after a sweep that ended without a message."""
DEFAULTS: Final = {
    "WANDB_CONSOLE": "off",
    "WANDB_SILENT": "true",
    "WANDB_INIT_TIMEOUT": "30",
}
"""Settings of wandb that the environment may override; wandb itself waits 90 s for a server."""
_TIME_IS_UP = 3

Say = Callable[..., None]


def main() -> None:
    """Serve one sweep, then end the process."""
    # The output of wandb and its service is dropped; a pipe that they hold would never close.
    output = os.fdopen(os.dup(1), "w")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)

    def say(text: str, *, trouble: bool = False) -> None:
        print(json.dumps({"text": text, "trouble": trouble}), file=output, flush=True)

    messages = map(json.loads, sys.stdin)
    setup = next(messages)
    # wandb makes folders for temporary files when it is imported. It removes them at the end of the
    # interpreter, which this process does not reach.
    tempfile.tempdir = setup["temporary"]
    try:
        serve(setup, messages, say)
    except Exception as error:
        refused = refused_setting(error, os.environ)
        say(refused or first_line_with_type(error), trouble=True)
    # The runs are finished. This skips wandb's hook at the end of the interpreter, which waits for
    # a server that may be gone.
    _end(0, setup)


def serve(setup: dict[str, Any], messages: Iterable[dict[str, Any]], say: Say) -> None:
    """Log a sweep from its setup and the messages that follow it."""
    folder = files_folder(setup["location"])
    for name, value in {**DEFAULTS, "WANDB_DATA_DIR": str(folder / "wandb")}.items():
        os.environ.setdefault(name, value)
    os.environ["WANDB_MODE"] = setup["target"]["mode"]  # wandb takes no empty value, nor capitals
    from fractal_ray.tracking.runs import Runs

    runs = Runs(setup, folder, say)
    message: dict[str, Any] = {"kind": "stop", "exit_code": 1, "seconds": STOP_SECONDS}
    try:
        for message in messages:
            if message["kind"] != "state":
                break
            runs.state(message)
        else:
            message = {"kind": "stop", "exit_code": 1, "seconds": STOP_SECONDS}
        _give_up_after(message["seconds"], setup, folder, say)
        if message["kind"] == "end":
            runs.end(message["summary"], message["figure"])
        runs.close(message.get("exit_code", 0))
    except Exception:
        _give_up_after(STOP_SECONDS, setup, folder, say)
        runs.close(1)
        raise


def files_folder(location: str) -> Path:
    """Return the parent of wandb's folder ``wandb``: the dataset's folder if that is local."""
    if "WANDB_DIR" in os.environ:
        return Path(os.environ["WANDB_DIR"])
    return Path.cwd() if "://" in location else Path(location)


def _give_up_after(seconds: float, setup: dict[str, Any], folder: Path, say: Say) -> None:
    """End this process after `seconds`, even if wandb still waits."""

    def give_up() -> None:
        say(
            f"not all was sent within {seconds:.0f} s; wandb sync {folder / 'wandb'}/<run> sends"
            " the rest",
            trouble=True,
        )
        _end(_TIME_IS_UP, setup)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()


def _end(code: int, setup: dict[str, Any]) -> None:
    """Remove the temporary files, then end the process without the hooks of the interpreter."""
    shutil.rmtree(setup["temporary"], ignore_errors=True)
    os._exit(code)


if __name__ == "__main__":
    main()
