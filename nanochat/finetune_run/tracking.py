"""Tracking of a single fine-tune in Weights & Biases: curves, samples, summary, model artifact.

Keys are those of fractal-llm. One of the two files of this package that import
wandb, when a run is named and not before.
"""

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nanochat.errors import LaterSteps, NanochatError, first_line, first_line_with_type
from nanochat.files.wandb_rules import refused_setting
from nanochat.finetune_run.settings import Settings

SAMPLE_COLUMNS = ["step", "sample_idx", "prompt", "generated", "expected"]


class Tracker:
    """Tracker of runs that are not logged: it keeps nothing. Base class of the others."""

    url: str | None = None

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Log all values after `step` steps; steps must ascend."""

    def samples(self, rows: Sequence[Sequence[Any]], step: int, last: bool) -> None:
        """Log the rows of `SAMPLE_COLUMNS` that are new at a step; `last` ends the table."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Log values of the whole run."""

    def model(self, folder: Path, meta: Mapping[str, Any]) -> None:
        """Log the saved model."""


class WandbTracker(Tracker):
    """Tracker that writes to an open W&B run; after a first error it says so and writes no more.

    Parameters
    ----------
    run
        The open run.
    say
        Called with one line after the first error.
    """

    def __init__(self, run: Any, say: Callable[[str], None]) -> None:
        self._run, self._say = run, say
        self._over = False
        self._rows: list[Any] = []
        self._growing: Any = None
        self.url = run.url

    def log(self, values: Mapping[str, Any], step: int) -> None:
        self._guarded(self._run.log, dict(values), step=step)

    def samples(self, rows: Sequence[Sequence[Any]], step: int, last: bool) -> None:
        self._guarded(self._log_samples, rows, step, last)

    def summary(self, values: Mapping[str, Any]) -> None:
        self._guarded(self._run.summary.update, dict(values))

    def model(self, folder: Path, meta: Mapping[str, Any]) -> None:
        self._guarded(self._log_model, folder, meta)

    def _guarded(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """Call a function unless an earlier call failed; an error is said, not raised."""
        if self._over:
            return
        try:
            call(*arguments, **options)
        except Exception as error:
            self._over = True
            self._say(f"W&B: {first_line_with_type(error)}; nothing more is sent to it")

    def _log_samples(self, rows: Sequence[Sequence[Any]], step: int, last: bool) -> None:
        import wandb

        self._rows += rows
        if self._growing is None:
            self._growing = wandb.Table(columns=list(SAMPLE_COLUMNS), log_mode="INCREMENTAL")
        for row in rows:
            self._growing.add_data(*row)
        tables = {"samples/generations_incr": self._growing}
        if last:
            tables["samples/generations"] = wandb.Table(list(SAMPLE_COLUMNS), self._rows)
        self._run.log(tables, step=step)

    def _log_model(self, folder: Path, meta: Mapping[str, Any]) -> None:
        import wandb

        artifact = wandb.Artifact(f"{self._run.name}-artifact", type="model", metadata=dict(meta))
        artifact.add_dir(str(folder))
        self._run.log_artifact(artifact, aliases=["finetune", self._run.name, "latest"])


@contextlib.contextmanager
def tracked(
    settings: Settings, config: Mapping[str, Any], folder: Path, later: LaterSteps
) -> Iterator[Tracker]:
    """Open the tracker of a run; it is closed as failed where the block raises.

    A value that wandb's settings refuse, or a fault of wandb's own, is said in one line, and the
    run goes on untracked.

    Parameters
    ----------
    settings
        Without a name of a run nothing is logged and wandb is not imported.
    config
        Settings and recipe, as plain JSON values.
    folder
        Where W&B keeps its files, unless WANDB_DIR says otherwise.
    later
        Steps after the training, to which the end of the W&B run belongs.

    Raises
    ------
    NanochatError
        Where W&B refuses the run.
    """
    if not settings.logged:
        yield Tracker()
        return
    run = _open(settings, config, folder, later)
    if run is None:
        yield Tracker()
        return
    finish = "send the rest of the run to W&B"
    try:
        yield WandbTracker(run, later.say)
    except BaseException:
        later.run(finish, run.finish, 1)
        raise
    later.run(finish, run.finish)


def _open(settings: Settings, config: Mapping[str, Any], folder: Path, later: LaterSteps) -> Any:
    """Open a run of W&B; return None, after a line, where a fault of wandb prevents it."""
    import wandb
    from wandb.errors import Error as WandbError

    sweep = settings.grid_sweep_id or f"{datetime.datetime.now():%Y-%m-%d_%H-%M}"
    tags = [tag.strip() for tag in settings.wandb_tags.split(",") if tag.strip()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return wandb.init(
            name=settings.run_name,
            job_type="finetune",
            group=settings.grid_sweep_id or None,
            tags=[*dict.fromkeys([*tags, sweep])],
            config=dict(config),
            dir=os.environ.get("WANDB_DIR") or str(folder),
        )
    except Exception as error:
        refused = refused_setting(error, os.environ)
        if refused is None and isinstance(error, WandbError):
            raise NanochatError(
                f"run {settings.run!r}: W&B refused it ({first_line(error)}); "
                "`wandb login`, or WANDB_MODE=offline, or leave out --run"
            ) from error
        later.say(f"W&B: {refused or first_line_with_type(error)}; the run goes on without it")
        return None
