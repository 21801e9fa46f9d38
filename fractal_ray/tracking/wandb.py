"""Tracker that sends the states of a sweep to a process beside it, which talks to W&B.

wandb has a service process of its own, threads, hooks at the end of the interpreter, and calls that
wait for a server. In a separate process, which is ended when it takes too long, none of these can
stop, slow or outlive a sweep. Messages are JSON objects, one a line; `sender.py` receives them.
"""

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fractal_ray.analysis.sweep_data import SweepData
from fractal_ray.dataset.header import HEADER
from fractal_ray.dataset.plain_json import to_json
from fractal_ray.dataset.secrets import without_keys
from fractal_ray.engine.progress import Progress
from fractal_ray.tracking.base import Tracker
from fractal_ray.tracking.target import Target

if TYPE_CHECKING:
    from fractal_ray.analysis.advice.advice import Advice
    from fractal_ray.analysis.summary import Analysis
    from fractal_ray.plane.boundary import Raster

STATE_SECONDS: Final = 5.0
"""Seconds between two states of one stage that are sent."""
STOP_SECONDS: Final = 15.0
"""Seconds for the end of a sweep that was stopped."""
END_SECONDS: Final = 60.0
"""Seconds for the end of any other sweep, plus a second for each MB of data and `RUN_SECONDS` for
each point with a run of its own."""
RUN_SECONDS: Final = 5.0
_GRACE = 10.0  # seconds
_WAITING = 64  # states in the queue; further states are dropped while wandb is busy


class WandbTracker(Tracker):
    """View that sends the states of a sweep; after a first fault it warns once and stops sending.

    Parameters
    ----------
    sweep
        The tracked sweep.
    target
        Place of its runs.
    note, warn
        Called with one line, as in `tracked`.
    """

    def __init__(
        self,
        sweep: SweepData,
        target: Target,
        note: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._sweep, self._target = sweep, target
        self._note, self._warn = note, warn
        self._since = datetime.now(UTC)
        self._last: Progress | None = None
        self._held = False  # True while the last state has not been sent
        self._sent_at = 0.0
        self._box: queue.Queue[dict[str, Any] | None] = queue.Queue(_WAITING)
        self._process: subprocess.Popen[str] | None = None
        self._temporary = ""  # folder of the process for temporary files
        self._threads: list[threading.Thread] = []
        self._over = self._finishing = self._warned = False

    def __call__(self, progress: Progress) -> None:
        """Receive a state of the running sweep; returns at once."""
        self._guarded(self._follow, progress)

    def end(
        self, result: "Analysis", raster: "Raster", progress: Progress, figure: str | None
    ) -> None:
        """Send the summary, and wait until W&B has all data or the time is over."""
        self._guarded(self._end, result, raster, progress, figure)

    def close(self, exit_code: int) -> None:
        """End the runs of a sweep that has no result; after `end` nothing is left to do."""
        self._over = False  # runs that were begun are ended, also after a fault
        if self._process is not None and not self._finishing:
            message = {"kind": "stop", "exit_code": exit_code, "seconds": STOP_SECONDS}
            self._guarded(self._finish, message)
        if self._temporary:  # the process removes it, unless it died or had to be ended
            shutil.rmtree(self._temporary, ignore_errors=True)
        self._over = True

    def _guarded(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call a function; warn of its first error and ignore later calls, so the sweep goes on."""
        if self._over:
            return
        try:
            call(*arguments)
        except Exception as error:
            self._over = True
            self._trouble(f"{type(error).__name__}: {error}")

    def _trouble(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            first = without_keys(next(iter(text.splitlines()), ""))
            self._warn(f"W&B: {first}; the sweep goes on without it (docs/tracking.md)")

    def _follow(self, progress: Progress) -> None:
        last, self._last = self._last, progress
        if progress.done == progress.reused and not progress.failures:
            return  # Nothing has run in this stage: an earlier run of the sweep finished it.
        due = time.monotonic() - self._sent_at >= STATE_SECONDS or progress.finished
        if last is not None and last.stage != progress.stage:
            due = True
            if self._held:
                self._send(last)  # the last state of its stage
        self._held = not due
        if due:
            self._send(progress)

    def _send(self, progress: Progress) -> None:
        self._start()
        self._sent_at = time.monotonic()
        try:
            state = {**asdict(progress), "rate": progress.rate, "eta": progress.eta}
            self._box.put_nowait({"kind": "state", **state})
        except queue.Full:
            pass  # wandb waits for its server; a later state replaces this one

    def _end(
        self, result: "Analysis", raster: "Raster", progress: Progress, figure: str | None
    ) -> None:
        from fractal_ray.tracking.summary import advice_values, summary_values

        summary = summary_values(result, raster, progress)
        if self._sweep.spec.workload.records_losses:
            summary |= advice_values(_advice(self._sweep))
        self._start()
        megabytes = _size(Path(self._sweep.store().root)) / 1e6
        seconds = END_SECONDS + megabytes + RUN_SECONDS * self._target.sampled
        self._note(f"W&B: finishing (at most {seconds:.0f} s)")
        self._finish({"kind": "end", "summary": summary, "figure": figure, "seconds": seconds})
        self._over = True

    def _finish(self, message: dict[str, Any]) -> None:
        """Send the last message and wait a limited time for the end of the process."""
        assert self._process is not None
        self._finishing = True
        try:
            for each in (message, None):
                self._box.put(each, timeout=1.0)
            # The process ends itself in time; the limit here is for one that hangs.
            self._process.wait(message["seconds"] + _GRACE)
        except (queue.Full, subprocess.TimeoutExpired):
            self._trouble("it does not answer, and was ended")
        finally:
            self._process.kill()
            self._process.wait()
            for thread in self._threads:
                thread.join(1.0)

    def _start(self) -> None:
        if self._process is not None:
            return
        setup = self._setup()
        self._temporary = setup["temporary"] = tempfile.mkdtemp(prefix="fractal-ray-wandb-")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fractal_ray.tracking.sender"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # Without the service of runs that this process may have open: it would outlive them.
            env={key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"},
            start_new_session=True,  # Ctrl-C goes to the sweep only, which then ends its runs
        )
        self._box.put_nowait(setup)
        for work in (self._write, self._read):
            thread = threading.Thread(target=work, name="wandb", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _setup(self) -> dict[str, Any]:
        text = self._sweep.store().read_text(HEADER)
        return {
            "location": self._sweep.location,
            "target": asdict(self._target),
            "header": json.loads(text or "{}"),
            "since": self._since.isoformat(),
        }

    def _write(self) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            with self._process.stdin as stream:
                while (message := self._box.get()) is not None:
                    stream.write(f"{to_json(message)}\n")
                    stream.flush()
        except OSError:
            pass  # the process has ended; `_read` reports the reason

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                message = json.loads(line)
                text = without_keys(message["text"])
                (self._trouble if message["trouble"] else self._note)(text)
        if self._process.wait() > 0:
            self._trouble(f"its process has ended with {self._process.returncode}")


def _size(folder: Path) -> int:
    """Return the bytes of a local folder's files; 0 for a remote folder, which is not copied."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _advice(sweep: "SweepData") -> "Advice":
    from fractal_ray.analysis.advice.advise import advise
    from fractal_ray.analysis.frame_data import read_frame

    return advise(read_frame(sweep, min(sweep.frames)))
