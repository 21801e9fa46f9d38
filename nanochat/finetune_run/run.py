"""One fine-tune of a user: logged line by line, with a result file and, on request, the saved
model.

The training is `nanochat.train.finetune.finetune`, which knows nothing of all this.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nanochat.errors import LaterSteps, NanochatError
from nanochat.finetune_run.inputs import RunInputs
from nanochat.finetune_run.log import Answers, RunLog
from nanochat.finetune_run.repro_record import repro_record
from nanochat.finetune_run.result import (
    claim_path,
    closing_line,
    plain,
    result_fields,
    write_result,
)
from nanochat.finetune_run.settings import Settings
from nanochat.finetune_run.tracking import tracked
from nanochat.model.checkpoint import not_finite, weights
from nanochat.model.torch_settings import isolated
from nanochat.sharing.published import save_model_folder
from nanochat.train.finetune import FinetuneResult, finetune, planned_steps
from nanochat.train.kernels import PLAIN, Kernels
from nanochat.train.recipe import Recipe

_SUMMARY = {
    "final_train_loss": "final_loss",
    **{
        name: name
        for name in (
            "converged",
            "stable",
            "trainable_loss0",
            "trainable_mean_last_k",
            "trainable_ratio",
            "tokens_seen",
            "runtime_s",
        )
    },
}
_META = (
    "final_loss",
    "tokens_seen",
    "converged",
    "stable",
    "trainable_ratio",
    "learning_rate",
    "matrix_lr",
    "embedding_lr",
    "unembedding_lr",
)


@dataclass(frozen=True, eq=False)
class Finetuned:
    """Output of a single fine-tune.

    Attributes
    ----------
    fields
        The result (`nanochat.finetune_run.result.result_fields`).
    path
        File with the result; None if it could not be written.
    answers
        Answers to the sample questions; None without samples.
    model_folder
        Folder of the saved fine-tuned model; None if it was not saved.
    later
        Steps after the training; ``later.exit_code`` is not 0 if the result or the model could not
        be saved, or after Ctrl-C.
    """

    fields: dict[str, Any]
    path: Path | None
    answers: Answers | None
    model_folder: Path | None
    later: LaterSteps


def run_finetune(
    settings: Settings,
    recipe: Recipe,
    inputs: RunInputs,
    out: Path,
    say: Callable[[str], None],
    kernels: Kernels = PLAIN,
) -> Finetuned:
    """Fine-tune once, and write ``finetune_single_<run>_<time>.json`` into a folder.

    After the training come the result, the model, the line ``Final: ...``, the answers to the
    samples and W&B, in this order. Each of them may fail without the others.

    Parameters
    ----------
    inputs
        Loaded for these two; its model is changed.
    out
        Made if needed.
    say
        Called with each line to show.
    kernels
        Kernels that the inputs were loaded for.

    Raises
    ------
    Exception
        Whatever ends the training, except divergence, which is a result. The file names it.
    """
    start = time.perf_counter()
    later = LaterSteps(say)
    config = settings.to_dict() | recipe.to_dict() | {"data": settings.data_source}
    with tracked(settings, config, make_folder(out), later) as tracker:
        claimed = claim_path(out, settings.run_name)
        log = RunLog(settings, recipe, inputs, tracker, say, later)
        record = _record(recipe, inputs)

        def conclude(
            result: FinetuneResult, error: BaseException | None = None
        ) -> tuple[dict[str, Any], Path | None]:
            device = inputs.model.cos.device.type
            fields = result_fields(settings, recipe, result, log.lrs, device, error)
            fields["runtime_s"] = time.perf_counter() - start
            save = "save the result"
            path = later.run(save, write_result, claimed, config, fields, record, needed=True)
            return fields, path

        try:
            log.before()
            result = finetune(inputs.model, inputs.batches, recipe, log.step, kernels)
        except BaseException as error:
            fields, _ = conclude(_cut_short(log, inputs, recipe), error)
            later.run("send the summary to W&B", tracker.summary, _named(fields))
            raise
        fields, path = conclude(result)
        meta = {name: plain(fields[name]) for name in _META}
        target = claimed.with_suffix("")
        model = (target, settings, inputs, fields, meta, say)
        folder = later.run("save the model", _save, *model, needed=True)
        say(closing_line(fields))
        answers = later.run("answer the samples", log.after)
        later.run("send the summary to W&B", tracker.summary, _named(fields))
        if folder is not None:
            later.run("send the model to W&B", tracker.model, folder, meta)
    return Finetuned(fields, path, answers, folder, later)


def _named(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a summary under their names in W&B."""
    return {key: fields[name] for key, name in _SUMMARY.items()}


def make_folder(out: Path) -> Path:
    """Create the folder if needed, check that it is writable, and return it.

    Raises
    ------
    NanochatError
        If the folder cannot be created or written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            return out
    except OSError as error:
        raise NanochatError(f"out {out}: no folder to write to ({error.strerror})") from error


def _record(recipe: Recipe, inputs: RunInputs) -> dict[str, Any]:
    """Take the record under the torch settings of the training."""
    with isolated(inputs.model.cos.device, recipe.deterministic):
        machine = repro_record()
    return {
        "seed": recipe.seed,
        "deterministic": recipe.deterministic,
        "fingerprints": inputs.fingerprints,
        "examples": len(inputs.batches.examples),
        **({"skipped_rows": inputs.skipped_rows} if inputs.skipped_rows else {}),
        **machine,
    }


def _cut_short(log: RunLog, inputs: RunInputs, recipe: Recipe) -> FinetuneResult:
    losses = np.asarray(log.losses, np.float32)
    return FinetuneResult(
        losses=losses,
        diverged_step=None,
        final_loss=float(losses[-1]) if losses.size else float("nan"),
        steps=len(losses),
        planned_steps=planned_steps(inputs.batches, recipe),
        tokens_seen=log.tokens_seen,
        seconds=0.0,
    )


def _save(
    folder: Path,
    settings: Settings,
    inputs: RunInputs,
    fields: dict[str, Any],
    meta: dict[str, Any],
    say: Callable[[str], None],
) -> Path | None:
    if not settings.saved:
        return None
    if not fields["stable"]:
        say("the model is not saved: its losses are not finite")
        return None
    if reason := not_finite(weights(inputs.model)):  # after the last update, which no loss follows
        say(f"the model is not saved: {reason}")
        return None
    save_model_folder(folder, inputs.model, inputs.tokenizer, fields["steps"], meta)
    return folder
