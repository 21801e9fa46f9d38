"""Tokenizers that count tokens without a model: tiktoken's, with nanochat's special tokens."""

from typing import TYPE_CHECKING

from nanochat.errors import NanochatError, quoted, user_path
from nanochat.files.retry import offline_note, offline_variables, with_retries
from nanochat.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer

if TYPE_CHECKING:
    import tiktoken


def load_tokenizer(source: str) -> Tokenizer:
    """Load the tokenizer of an encoding, of a folder, or of a model.

    Parameters
    ----------
    source
        A name of tiktoken's, such as ``cl100k_base`` (fetched once, over the network); a folder
        with ``tokenizer.json`` or ``tokenizer.pkl``; or a model (`nanochat.sources.load`).

    Raises
    ------
    NanochatError
        If the source is none of these, or cannot be fetched.
    """
    import tiktoken

    names = tiktoken.list_encoding_names()
    if source in names:
        try:
            return from_encoding(_encoding(source))
        except OSError as error:  # the error of its HTTP client
            offline = f"; {offline_note()}" if offline_variables() else ""
            raise NanochatError(
                f"tokenizer {quoted(source)} could not be fetched"
                f" ({type(error).__name__}{offline});"
                " without a network use one that is there: --tokenizer FOLDER"
            ) from error
    folder = user_path(source)
    if any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.pkl")):
        return Tokenizer.load(folder)
    from nanochat.sources.load import resolve_tokenizer

    try:
        return Tokenizer.load(resolve_tokenizer(source))
    except NanochatError as error:
        raise NanochatError(
            f"tokenizer {quoted(source)}: {error}; or one of {', '.join(names)}"
        ) from error


def _encoding(name: str) -> "tiktoken.Encoding":
    """Load an encoding of tiktoken, from its cache or over the network; offline only once."""
    import tiktoken

    if offline_variables():
        return tiktoken.get_encoding(name)
    return with_retries(lambda: tiktoken.get_encoding(name))


def from_encoding(encoding: "tiktoken.Encoding") -> Tokenizer:
    """Build a tokenizer of an encoding's ordinary tokens and nanochat's nine special ones.

    Special tokens of the encoding's own are left out, and the ids that they leave free are closed
    up: the order of the merges, which decides how text is split, stays as it is.
    """
    ordered = sorted(encoding._mergeable_ranks, key=encoding._mergeable_ranks.__getitem__)
    ranks = {token: rank for rank, token in enumerate(ordered)}
    special = {name: len(ranks) + index for index, name in enumerate(SPECIAL_TOKENS)}
    return Tokenizer(encoding._pat_str, ranks, special)
