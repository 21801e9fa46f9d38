"""Conversations of a single fine-tune: those to train on, and those for validation."""

from dataclasses import dataclass

from nanochat.data.bad_rows import SkippedRows
from nanochat.data.conversations import Conversation, is_file, location
from nanochat.data.held_out import hold_out
from nanochat.data.rows import MissingSplitError
from nanochat.data.source import DataSource
from nanochat.errors import NanochatError
from nanochat.finetune_run.samples import COUNT
from nanochat.finetune_run.settings import Settings
from nanochat.train.recipe import Recipe

VALIDATION = "validation"


@dataclass(frozen=True)
class Rows:
    """Conversations of a fine-tune.

    Attributes
    ----------
    training
    validation
        Empty where none are needed, or nothing is held out.
    origin
        Data source and split of `validation`, or the reason why there are none; for users.
    skipped
        Bad rows left out, by ``training`` and ``validation``.
    """

    training: list[Conversation]
    validation: list[Conversation]
    origin: str
    skipped: dict[str, SkippedRows]


def load_rows(settings: Settings, recipe: Recipe, budget: int | None) -> Rows:
    """Load the conversations to train on, and those for validation and samples.

    Parameters
    ----------
    budget
        Supervised tokens that a folder of shards must hold.

    Raises
    ------
    NanochatError
        Where data are missing or bad, or where ``val_data`` is the training data.
    """
    source = settings.training_data
    left_out = {"training": source.new_record(), VALIDATION: source.new_record()}
    training = source.conversations(budget, left_out["training"])
    # Twice the number needed, as some may have nothing to predict; a split can be very long.
    limit = 2 * max(COUNT * 10, settings.eval_batches * recipe.device_batch_size)
    if settings.val_share:
        count = len(training)
        training, held_out = hold_out(training, settings.val_share)
        origin = f"{len(held_out):,} of {count:,} conversations of {source.name}, held out by hash"
        return Rows(training, held_out[:limit] if settings.watched else [], origin, left_out)
    if not settings.watched:
        return Rows(training, [], "none", left_out)
    read = _given if settings.val_data else _own_split
    validation, origin = read(settings, budget, limit, left_out[VALIDATION])
    return Rows(training, validation, origin, left_out)


def _given(
    settings: Settings, budget: int | None, limit: int, skipped: SkippedRows
) -> tuple[list[Conversation], str]:
    """Load the conversations of ``val_data`` and name their origin."""
    name = settings.val_data
    split = "train" if is_file(name) else VALIDATION
    source = settings.training_data
    if location(name, split) == location(source.name, source.split, budget):
        raise NanochatError(
            f"val_data {name} is the training data, so its loss would be no validation; name other "
            "conversations, or --val-share 0.05 to hold some out"
        )
    conversations = DataSource(name, split, limit).conversations(skipped=skipped)
    return conversations, name if is_file(name) else f"{name}, split {split}"


def _own_split(
    settings: Settings, budget: int | None, limit: int, skipped: SkippedRows
) -> tuple[list[Conversation], str]:
    """Load the validation split of the training data; empty, with the reason, without one."""
    source = settings.training_data
    if is_file(source.name):
        return [], f"none ({source.name} has one split)"
    try:
        place = location(source.name, VALIDATION)
        if place == location(source.name, source.split, budget):
            return [], f"none (the {VALIDATION} split of {source.name} is trained on)"
        data = DataSource(source.name, VALIDATION, limit)
        conversations = data.conversations(skipped=skipped)
    except MissingSplitError as error:
        names = ["train" if name.startswith("shard_") else name for name in error.splits]
        others = list(dict.fromkeys(names))
        only = len(others) < 2
        reason = "has one split" if only else f"has no {VALIDATION} split: {', '.join(others)}"
        return [], f"none ({source.name} {reason})"
    return conversations, f"{source.name}, split {VALIDATION}"
