"""W&B runs of a sweep: one for each stage, one with the summary, some for single points.

This code runs in the process beside a sweep (`sender.py`), so it may raise and may wait for a
server.
"""

import io
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import wandb
from PIL import Image

from fractal_ray.dataset.baseline_file import read_baseline
from fractal_ray.dataset.relabel import outcomes
from fractal_ray.dataset.secrets import cleaned, without_secrets
from fractal_ray.dataset.store import Store
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.plane.outcome import split_counts, stored_counts
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.tracking.artifact import add_dataset
from fractal_ray.tracking.filling_map import map_picture
from fractal_ray.tracking.points import point_runs
from fractal_ray.tracking.summary import dataset_id, outcome_values, results_table, run_id
from fractal_ray.tracking.target import SUMMARY, point_part

IMAGE_SECONDS: Final = 60.0
"""Seconds between two pictures of a stage's map."""
_COUNTS: Final = ("done", "total", "reused", "running", "failures", "gave_up", "slots", "seconds")


class Runs:
    """The open W&B runs of one sweep.

    Parameters
    ----------
    setup
        The first message of `WandbTracker`.
    folder
        Folder of wandb's own files.
    say
        Called with a line for the user.
    clock
        Monotonic clock in seconds; tests replace it.
    """

    def __init__(
        self,
        setup: Mapping[str, Any],
        folder: Path,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target, self._folder, self._say = setup["target"], folder, say
        self._spec = parse_spec(setup["header"]["spec"])
        self._store = Store(setup["location"])
        self._dataset = dataset_id(setup["header"])
        self._config = _config(setup)
        self._since = datetime.fromisoformat(setup["since"])
        self._clock = clock
        self._open: dict[str, Any] = {}
        self._begun: set[str] = set()
        self._pictured: dict[str, float] = {}
        self._last: Mapping[str, Any] | None = None

    # A stage each ---------------------------------------------------------------------------

    def state(self, state: Mapping[str, Any]) -> None:
        """Log the counts of a running sweep, and its map every `IMAGE_SECONDS`, to its stage."""
        stage = state["stage"]
        if self._last is not None and self._last["stage"] != stage:
            self._leave(self._last, stage)
        due = self._clock() - self._pictured.get(stage, -IMAGE_SECONDS) >= IMAGE_SECONDS
        self._log_state(state, picture=due or state["finished"])
        self._last = state

    def close(self, exit_code: int) -> None:
        """Finish the open runs."""
        while self._open:
            self._open.popitem()[1].finish(exit_code=exit_code)

    def _leave(self, last: Mapping[str, Any], stage: str) -> None:
        """Log the last state of a stage, and finish the runs of stages that cannot come again."""
        self._log_state(last, picture=True)
        for name in [name for name in self._open if self._turns(name) != self._turns(stage)]:
            self._open.pop(name).finish()

    def _turns(self, stage: str) -> int:
        """Return a number that stages share if they take turns, as those of a chain of zooms do."""
        index = _index(stage)
        base = self._spec.plan.base(index)
        return base if self._spec.stages[base].zoom is not None else index

    def _log_state(self, state: Mapping[str, Any], *, picture: bool) -> None:
        run = self._stage_run(state["stage"])
        values: dict[str, Any] = {f"sweep/{name}": state[name] for name in _COUNTS}
        values |= outcome_values(state["outcomes"], state["not_improved"])
        values["sweep/rate"] = state["rate"]
        if state["eta"] is not None:
            values["sweep/eta"] = state["eta"]
        if picture and state["map"]:
            self._pictured[state["stage"]] = self._clock()
            caption = f"{state['x_param']} to the right, {state['y_param']} upwards"
            values["fractal/map"] = wandb.Image(map_picture(state["map"]), caption=caption)
        run.log(values, step=state["done"])

    def _stage_run(self, stage: str) -> Any:
        if stage not in self._open:
            self._open[stage] = self._start(stage, stage.partition(":")[2], {"stage": stage})
        return self._open[stage]

    def _rule(self) -> LabelRule:
        return self._spec.label_rule(read_baseline(self._store))

    def _log_missed(self, table: pa.Table) -> None:
        """Log stages that began and ended between two states, from their rows."""
        row_outcomes = outcomes(table, self._rule())
        stages, times = table.column("stage").to_pylist(), table.column("created_at").to_pylist()
        new = {stage for stage, made in zip(stages, times, strict=True) if made >= self._since}
        failed = self._store.read_failures(skip_corrupt=True).column("stage").to_pylist()
        for stage in sorted(new - self._begun, key=_index):
            until = _index(stage)
            pairs = zip(stages, row_outcomes, strict=True)
            counts = Counter(outcome for name, outcome in pairs if _index(name) <= until)
            values = outcome_values(stored_counts(counts), split_counts(counts))
            values["sweep/done"] = done = counts.total()
            values["sweep/failures"] = sum(_index(name) <= until for name in failed)
            self._stage_run(stage).log(values, step=done)

    # At the end -----------------------------------------------------------------------------

    def end(self, summary: Mapping[str, Any], figure: str | None) -> None:
        """Log the summary with map, table and artifact, and the points with runs of their own."""
        table = self._store.read(skip_corrupt=True)
        self._log_missed(table)
        self.close(0)
        self._log_summary(table, summary, figure)
        for config, history, summed in point_runs(
            self._spec, self._rule(), table, self._target["sampled"]
        ):
            run = self._start(point_part(config["point_id"]), "point", config)
            first = run.step
            for step, values in history:
                if step >= first:  # earlier steps were logged by an earlier end of the sweep
                    run.log(values, step=step)
            run.summary.update(summed)
            run.finish()

    def _log_summary(self, table: pa.Table, summary: Mapping[str, Any], figure: str | None) -> None:
        run = self._start(SUMMARY, "summary", {})
        columns = results_table(self._spec, self._rule(), table)
        values: dict[str, Any] = {"results_table": wandb.Table(**columns)}
        if figure is not None:
            with self._store.filesystem.open_input_stream(f"{self._store.root}/{figure}") as stream:
                values["fractal/image"] = wandb.Image(Image.open(io.BytesIO(stream.read())))
        run.log(values, step=max(run.step, table.num_rows))
        failures = self._store.read_failures(skip_corrupt=True).num_rows
        numbers = {**summary, "sweep/failures": failures}
        run.summary.update(numbers)
        artifact = wandb.Artifact(
            f"{self._spec.name}-results", type="sweep-results", metadata=numbers
        )
        copied = self._target["mode"] == "offline"
        if left_out := add_dataset(artifact, self._store, copied=copied):
            self._say(
                "W&B: not sent, because links lead out of the dataset's folder:"
                f" {', '.join(left_out[:3])}{', ...' if len(left_out) > 3 else ''}"
            )
        run.log_artifact(artifact)
        run.finish()

    def _start(self, part: str, job_type: str, config: Mapping[str, Any]) -> Any:
        target = self._target
        run = wandb.init(
            project=target["project"],
            entity=target["entity"],
            group=target["group"],
            job_type=job_type,
            name=f"{target['prefix']} {part}",
            id=run_id(self._dataset, part),
            resume="allow",
            tags=target["tags"],
            config={**self._config, **config},
            dir=self._folder,
            mode=target["mode"],
            reinit="create_new",
        )
        if not self._begun:
            self._say(f"W&B: {run.url or self._folder / 'wandb'}")
        self._begun.add(part)
        return run


def _index(stage: str) -> int:
    """Return the number of a stage from its name in the dataset, such as ``"2:refine"``."""
    return int(stage.partition(":")[0])


def _config(setup: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of all runs: the spec and the dataset's identity, without keys."""
    header = cleaned(setup["header"])
    return {
        "spec": header["spec"],
        "recipe": header["recipe"],
        "fingerprint": header["fingerprint"],
        "created_at": header["created_at"],
        "dataset": without_secrets(setup["location"]),
    }
