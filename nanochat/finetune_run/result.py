"""Result of a single fine-tune: its fields, its file, and its summary line.

Names follow fractal-llm. The file is plain JSON: NaN and infinities become null.
"""

import datetime
import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanochat.files.atomic import write_atomically
from nanochat.finetune_run.settings import Settings
from nanochat.finetune_run.trainability import judge
from nanochat.train.finetune import FinetuneResult
from nanochat.train.recipe import Recipe

PREFIX = "finetune_single_"


def result_fields(
    settings: Settings,
    recipe: Recipe,
    result: FinetuneResult,
    effective_lrs: Mapping[str, float],
    device: str,
    error: BaseException | None,
) -> dict[str, Any]:
    """Return the fields of a result, with NaN and infinities as they are.

    Parameters
    ----------
    result
        Result of the finished steps, if an error ended the run.
    effective_lrs
        Rate of each group of `Recipe.group_lrs` as the optimizer has it; 0 for one that is not
        trained.
    error
        Error that ended the run; None for divergence and for a normal end.
    """
    ended = error is not None or result.diverged_step is not None
    judged = judge(
        result.losses,
        ended,
        settings.trainable_window_steps,
        settings.trainable_loss_ratio_threshold,
    )
    nominal = recipe.group_lrs()
    return {
        "run_name": settings.run_name,
        "learning_rate": recipe.learning_rate,
        **{f"{group}_lr": nominal[group] for group in nominal},
        **{f"{group}_lr_effective": effective_lrs[group] for group in nominal},
        "num_tokens_target": recipe.num_tokens,
        "tokens_seen": result.tokens_seen,
        "avg_loss": judged.avg_loss,
        "final_loss": result.final_loss,
        "trainable_loss0": judged.loss0,
        "trainable_mean_last_k": judged.mean_last_k,
        "trainable_ratio": judged.ratio,
        "stable": judged.stable,
        "converged": judged.converged,
        "steps": result.steps,
        "planned_steps": result.planned_steps,
        "diverged_step": result.diverged_step,
        "train_s": result.seconds,
        "seed": recipe.seed,
        "world_size": 1,
        "device_type": device,
        "error": _error_text(result, error),
        "grid_i": settings.grid_i,
        "grid_j": settings.grid_j,
        "losses": [float(loss) for loss in result.losses],
    }


def _error_text(result: FinetuneResult, error: BaseException | None) -> str | None:
    if error is not None:
        return f"{type(error).__name__}: {error}"
    if result.diverged_step is not None:
        return f"non-finite loss detected ({result.final_loss} at step {result.diverged_step + 1})"
    return None


def closing_line(fields: Mapping[str, Any]) -> str:
    """Return the summary line of a run, for users and for programs that read logs."""
    return (
        f"Final: loss={fields['final_loss']:.6f} tokens_seen={fields['tokens_seen']} "
        f"stable={fields['stable']} converged={fields['converged']} "
        f"trainable_ratio={fields['trainable_ratio']:.6f}"
    )


def claim_path(folder: Path, run_name: str) -> Path:
    """Create an empty result file with the run and the time in its name.

    Two processes that ask at once get different ones.
    """
    stem = f"{PREFIX}{run_name}_{datetime.datetime.now():%Y%m%d_%H%M%S}"
    for number in itertools.count(1):
        path = folder / (f"{stem}.json" if number == 1 else f"{stem}_{number}.json")
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        return path
    raise AssertionError("count has no end")


def write_result(
    path: Path, config: Mapping[str, Any], fields: Mapping[str, Any], record: Mapping[str, Any]
) -> Path:
    """Write ``{"config": ..., "result": ..., "repro": ...}``, whole or not at all.

    Returns
    -------
    Path
        The path written.
    """
    content = plain({"config": config, "result": fields, "repro": record})
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def plain(value: Any) -> Any:
    """Replace NaN and infinities by None, which JSON can hold."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
