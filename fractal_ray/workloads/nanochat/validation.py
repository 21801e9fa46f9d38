"""Conversations of a sweep: those to train on, and those of `workload.data.validation`."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fractal_ray.errors import SweepError
from fractal_ray.workloads.nanochat.settings import DataSpec, ValidationSpec
from nanochat.data.bad_rows import SkippedRows
from nanochat.data.source import DataSource
from nanochat.errors import NanochatError, Note

if TYPE_CHECKING:
    from nanochat.data.conversations import Conversation
    from nanochat.data.examples import Examples
    from nanochat.tokenizer.tokenizer import Tokenizer
    from nanochat.train.batches import Batch

_KEY = "workload.data.validation"


@dataclass(frozen=True)
class LoadedData:
    """Tokenised conversations of a sweep.

    Parameters
    ----------
    training
        Examples to train on.
    validation
        Examples of the validation batches; None without validation.
    facts
        Facts for `Prepared.data_facts`.
    """

    training: "Examples"
    validation: "Examples | None"
    facts: Mapping[str, Any]


def load_data(
    data: DataSpec, tokenizer: "Tokenizer", budget: int | None, batch_size: int, reach: int
) -> LoadedData:
    """Read and tokenise the conversations of a sweep.

    Parameters
    ----------
    data
        The section `data`.
    budget
        Supervised tokens that a folder of shards must hold.
    batch_size
        Number of rows of a validation batch.
    reach
        Largest number of positions of the model.

    Raises
    ------
    NanochatError
        Where data are missing or bad.
    SweepError
        Where the validation data are missing, or are the training data.
    """
    source, setting = data.to_source(), data.validation
    skipped = source.new_record()
    conversations = source.conversations(budget, skipped)
    _note(source.name, skipped)
    held_out: list[Conversation] = []
    if setting is not None and setting.share is not None:
        from nanochat.data.held_out import hold_out

        conversations, held_out = hold_out(
            conversations, setting.share, f"{_KEY}.share", f"{_KEY}.file"
        )
    elif setting is not None:
        # Twice the number needed, as some may have nothing to predict; a split can be very long.
        held_out = _read_validation(data, setting, budget, 2 * setting.batches * batch_size)
    training = source.tokenise(conversations, tokenizer)
    facts: dict[str, Any] = {"skipped_rows": skipped.record()} if skipped.count else {}
    if setting is None:
        return LoadedData(training, None, facts)
    with _named(setting):
        examples = source.tokenise(held_out, tokenizer)
        longest = int(examples.lengths.max()) - 1  # the last token is only predicted
        if longest > reach:
            raise NanochatError(
                f"a conversation has {longest + 1:,} tokens, and the model reaches {reach:,}; set"
                f" workload.data.max_seq_len: {reach} or less"
            )
    examples = examples.take(np.arange(min(len(examples), setting.batches * batch_size)))
    facts["validation"] = {
        "rows": len(examples),
        "batches": -(-len(examples) // batch_size),
        "tokens": examples.num_supervised,
        "fingerprint": examples.fingerprint[:32],
    }
    return LoadedData(training, examples, facts)


def validation_batches(
    validation: "Examples | None", pad_id: int, batch_size: int, device: str
) -> "list[Batch]":
    """Return the fixed validation batches on a device; none without validation."""
    from nanochat.train.batches import Batches

    if validation is None:
        return []
    batches = Batches(validation, batch_size, None, pad_id, device)
    return [batches.batch(index) for index in range(batches.per_epoch)]


def _read_validation(
    data: DataSpec, setting: ValidationSpec, budget: int | None, limit: int
) -> "list[Conversation]":
    """Read the first conversations of a split or a file."""
    from nanochat.data.conversations import is_file, location

    source = data.to_source()
    with _named(setting):
        if setting.file is None:
            if is_file(source.name):
                raise NanochatError(
                    f"{source.name} is one file, whose rows are all in one split; set"
                    f" {_KEY}.share: 0.05 to hold some of them out, or {_KEY}.file"
                )
            wanted = replace(source, split=str(setting.split), limit=limit)
        else:
            split = "train" if is_file(setting.file) else "validation"
            wanted = DataSource(setting.file, split, limit, data.max_seq_len, data.skip_bad_rows)
        if location(wanted.name, wanted.split) == location(source.name, source.split, budget):
            raise NanochatError(
                "these are the training data, so their loss would be no validation; name other"
                f" conversations, or set {_KEY}.share: 0.05"
            )
        skipped = wanted.new_record()
        conversations = wanted.conversations(skipped=skipped)
    _note(f"{wanted.name} (validation)", skipped)
    return conversations


@contextmanager
def _named(setting: ValidationSpec) -> Iterator[None]:
    try:
        yield
    except NanochatError as error:
        raise SweepError(f"{_KEY}.{setting.key}: {error}") from error


def _note(name: str, skipped: SkippedRows) -> None:
    if skipped.count:
        warnings.warn(f"{name}: {'; '.join(skipped.lines())}", Note, stacklevel=2)
