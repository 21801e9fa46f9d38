"""Check that a tokenizer is the one that a model was trained with, as far as files show."""

from pathlib import Path

import torch

from nanochat.errors import NanochatError
from nanochat.files.git_lfs import refuse_pointer
from nanochat.model.checkpoint import Checkpoint
from nanochat.model.torch_file import read_tensor
from nanochat.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer


def check_pair(checkpoint: Checkpoint, tokenizer: Tokenizer, folder: Path) -> None:
    """Refuse a tokenizer that belongs to another model.

    The size must be the model's, and the special tokens its last ids, in nanochat's order. A
    ``token_bytes.pt`` beside the tokenizer must fit it. Where the checkpoint's meta file names a
    ``tokenizer_fingerprint``, it must be this tokenizer's; without one, another tokenizer of the
    same size cannot be detected.

    Parameters
    ----------
    folder
        Folder from which the tokenizer was read.

    Raises
    ------
    NanochatError
        Names the folder and what does not fit.
    """
    size = checkpoint.config.vocab_size
    if tokenizer.vocab_size != size:
        _refuse(folder, f"has {tokenizer.vocab_size} tokens, the model {size}")
    last = {name: size - len(SPECIAL_TOKENS) + i for i, name in enumerate(SPECIAL_TOKENS)}
    for name, wanted in last.items():
        if tokenizer.special[name] != wanted:
            _refuse(folder, f"has {name} at {tokenizer.special[name]}, the model at {wanted}")
    noted = checkpoint.meta.get("tokenizer_fingerprint")
    if noted is not None and noted != tokenizer.fingerprint:
        _refuse(folder, "is not the one that the model's meta file names (tokenizer_fingerprint)")
    if (folder / "token_bytes.pt").is_file():
        _check_bytes(folder, tokenizer)


def _check_bytes(folder: Path, tokenizer: Tokenizer) -> None:
    path = folder / "token_bytes.pt"
    refuse_pointer(path)
    try:
        counts = read_tensor(path).flatten()
    except NanochatError as error:
        raise NanochatError(f"{error}; without this file the model loads too") from error
    silent = set(torch.nonzero(counts == 0).flatten().tolist())
    length = len(counts)
    if length != tokenizer.vocab_size:
        raise NanochatError(
            f"{path} counts {length} tokens, the tokenizer beside it has {tokenizer.vocab_size}:"
            " they do not belong together"
        )
    if silent != set(tokenizer.special.values()):
        raise NanochatError(
            f"{path} has its zeros elsewhere than the tokenizer beside it has its special tokens:"
            " they do not belong together"
        )
    held = counts.tolist()
    for token, rank in tokenizer.ranks.items():
        # Files from before July 2026 count three bytes for what is no UTF-8 on its own.
        if held[rank] not in (len(token), len(token.decode(errors="replace").encode())):
            raise NanochatError(
                f"{path} counts {held[rank]} bytes for token {rank}, which has {len(token)}: it is"
                " damaged, or they do not belong together; without this file the model loads too"
            )


def _refuse(folder: Path, reason: str) -> None:
    raise NanochatError(f"the tokenizer in {folder} {reason}: they do not belong together")
