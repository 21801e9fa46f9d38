"""Model folders as nanochat itself and users of its published models expect them.

    checkpoints/model_000700.pt    checkpoints/meta_000700.json
    tokenizer/tokenizer.pkl        tokenizer/token_bytes.pt        tokenizer/tokenizer.json

``tokenizer.json`` is this package's own (`Tokenizer.load` prefers it: a pickle is read with
tweezers); the other four are nanochat's.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tiktoken
import torch
from torch import Tensor

from nanochat.errors import NanochatError
from nanochat.files.atomic import write_atomically
from nanochat.files.digest import with_digest
from nanochat.model.checkpoint import Checkpoint, save_checkpoint, weights
from nanochat.model.gpt import GPT
from nanochat.tokenizer.tokenizer import Tokenizer

TOKENIZER_FILES = ("tokenizer.pkl", "token_bytes.pt", "tokenizer.json")


def token_bytes(tokenizer: Tokenizer) -> Tensor:
    """Return the number of bytes of each token: int32 (V,), 0 for the special tokens.

    Bits per byte are computed from it. It is the length of the token itself, which may not be UTF-8
    on its own; files of nanochat from before July 2026 count three bytes for such a piece.
    """
    counts = torch.zeros(tokenizer.vocab_size, dtype=torch.int32)
    for token, rank in tokenizer.ranks.items():
        counts[rank] = len(token)
    return counts


def write_published_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write nanochat's two files of a tokenizer, and this package's ``tokenizer.json`` beside.

    Files of another tokenizer are removed first: a write that is cut short leaves some missing,
    and never those of two tokenizers.

    Parameters
    ----------
    folder
        Made if needed.
    """
    folder = Path(folder)
    for name in TOKENIZER_FILES:
        (folder / name).unlink(missing_ok=True)
    counts = token_bytes(tokenizer)
    encoding = tiktoken.Encoding(
        "rustbpe",
        pat_str=tokenizer.pattern,
        mergeable_ranks=tokenizer.ranks,
        special_tokens=tokenizer.special,
    )
    content = with_digest(pickle.dumps(encoding))
    write_atomically(folder / "token_bytes.pt", lambda file: torch.save(counts, file))
    write_atomically(folder / "tokenizer.pkl", lambda file: file.write(content))
    tokenizer.save(folder)


def model_files(step: int) -> list[str]:
    """Return the files that `save_model_folder` writes, relative to its folder."""
    checkpoint = [f"checkpoints/model_{step:06d}.pt", f"checkpoints/meta_{step:06d}.json"]
    return [*checkpoint, *(f"tokenizer/{name}" for name in TOKENIZER_FILES)]


def save_model_folder(
    folder: Path,
    source: GPT | Checkpoint,
    tokenizer: Tokenizer,
    step: int,
    meta: Mapping[str, Any],
    wte_dtype: Literal["float32", "bfloat16"] | None = None,
) -> Path:
    """Write a whole model, tokenizer included, so that nanochat reads it (at generation 0).

    nanochat takes the dtypes as they are in the file. It stores the token embedding in bfloat16
    and everything else in float32, but loads a float32 embedding too, and then keeps the residual
    stream in float32. An embedding that was trained in float32 would be rounded, so it is not,
    unless that is asked for.

    Its versions since December 2025 pad the vocabulary to a multiple of 64 and load nothing else;
    `vocab_size` should be one.

    Parameters
    ----------
    folder
        Made if needed.
    tokenizer
        Tokenizer of the model.
    step
        0 to 999,999; becomes part of the names.
    meta
        Plain JSON values for the meta file. ``step``, ``model_config`` and
        ``tokenizer_fingerprint`` are added.
    wte_dtype
        One of "float32", "bfloat16".
        Type of the token embedding; its own by default.

    Returns
    -------
    Path
        The meta file, which is written last.

    Raises
    ------
    NanochatError
        If the tokenizer has another number of tokens than the model.
    """
    check_size(tokenizer, source)
    folder = Path(folder)
    state = weights(source)
    if wte_dtype is not None:
        name = "transformer.wte.weight"
        state[name] = state[name].to(getattr(torch, wte_dtype))
    write_published_tokenizer(tokenizer, folder / "tokenizer")
    fields = {**meta, "tokenizer_fingerprint": tokenizer.fingerprint}
    checkpoint = Checkpoint(state, source.config, step, fields)
    return save_checkpoint(folder / "checkpoints", checkpoint, step, fields)


def check_size(tokenizer: Tokenizer, source: GPT | Checkpoint) -> None:
    """Refuse a tokenizer with another number of tokens than the model."""
    if tokenizer.vocab_size != source.config.vocab_size:
        raise NanochatError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model {source.config.vocab_size}"
        )
