"""Byte-level BPE with nanochat's nine special tokens.

Training is rustbpe's, encoding is tiktoken's. A tokenizer is stored as plain JSON; nanochat's own
``tokenizer.pkl`` is read, without running anything a pickle could ask for.
"""

import base64
import hashlib
import io
import json
import pickle
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import rustbpe
import tiktoken

from nanochat.errors import NanochatError, first_line
from nanochat.files.atomic import write_atomically
from nanochat.files.digest import without_digest
from nanochat.files.git_lfs import refuse_pointer
from nanochat.files.panics import panics_as_errors
from nanochat.files.pickle_limits import check_pickle
from nanochat.tokenizer.conversation import render
from nanochat.tokenizer.probe import LongestText, check_round_trip, describe_text

SPLIT_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
SPECIAL_TOKENS = (
    "<|bos|>",
    "<|user_start|>",
    "<|user_end|>",
    "<|assistant_start|>",
    "<|assistant_end|>",
    "<|python_start|>",
    "<|python_end|>",
    "<|output_start|>",
    "<|output_end|>",
)
_BYTES = 256


class Tokenizer:
    """Tokenizer from text to token ids and back.

    Parameters
    ----------
    pattern
        Regular expression that splits text before merging.
    ranks
        Id of every ordinary token; a merge of lower id is made first.
    special
        Ids of the special tokens, which no text encodes to.

    Raises
    ------
    NanochatError
        Where the ids are not exactly 0 to V - 1, where a special token or the token of a single
        byte is missing, or where text comes back from its tokens changed (`check_round_trip`).
    """

    def __init__(self, pattern: str, ranks: Mapping[bytes, int], special: Mapping[str, int]):
        if not isinstance(pattern, str) or not pattern:
            raise NanochatError(
                f"tokenizer: the pattern must be text, not {reprlib.repr(pattern)[:40]}"
            )
        self.pattern = pattern
        self.ranks = dict(ranks)
        self.special = dict(special)
        ids = sorted([*self.ranks.values(), *self.special.values()])
        if ids != list(range(len(ids))) or any(type(each) is not int for each in ids):
            raise NanochatError(f"tokenizer: ids are not 0 to {len(ids) - 1}, each once")
        missing = [name for name in SPECIAL_TOKENS if name not in self.special]
        if missing:
            raise NanochatError(f"tokenizer: no special token {missing[0]}")
        lost = [byte for byte in range(_BYTES) if bytes([byte]) not in self.ranks]
        if lost:
            raise NanochatError(f"tokenizer: no token for the byte 0x{lost[0]:02x}")
        try:
            with panics_as_errors(str):
                self._encoding = tiktoken.Encoding(
                    "nanochat",
                    pat_str=pattern,
                    mergeable_ranks=self.ranks,
                    special_tokens=self.special,
                )
        except Exception as error:  # a bad regular expression comes as a bare ValueError
            raise NanochatError(f"tokenizer: {first_line(error)}") from error
        check_round_trip(self.encode, self.decode)

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Self:
        """Learn merges from texts.

        Parameters
        ----------
        vocab_size
            Tokens in all: 256 bytes, merges, 9 specials.

        Raises
        ------
        NanochatError
            For fewer than 265 tokens, or more than the texts have merges for; for a text that
            cannot be split.
        """
        ordinary = vocab_size - len(SPECIAL_TOKENS)
        if ordinary < _BYTES:
            least = _BYTES + len(SPECIAL_TOKENS)
            raise NanochatError(f"vocab_size must be at least {least}, not {vocab_size}")
        trainer = rustbpe.Tokenizer()  # pyright: ignore[reportAttributeAccessIssue]
        longest = LongestText(texts)
        with panics_as_errors(longest.describe):
            trainer.train_from_iterator(iter(longest), ordinary, pattern=SPLIT_PATTERN)
        ranks = {bytes(token): rank for token, rank in trainer.get_mergeable_ranks()}
        if len(ranks) < ordinary:
            most = len(ranks) + len(SPECIAL_TOKENS)
            raise NanochatError(f"the texts give {most} tokens at most, not {vocab_size}")
        special = {name: ordinary + index for index, name in enumerate(SPECIAL_TOKENS)}
        return cls(SPLIT_PATTERN, ranks, special)

    @property
    def vocab_size(self) -> int:
        """Return the number of tokens, specials included."""
        return len(self.ranks) + len(self.special)

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the content: equal for tokenizers that encode alike."""
        return hashlib.sha256(_dumps(self._content()).encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text. Names of special tokens are ordinary text.

        Raises
        ------
        NanochatError
            For a text that the tokenizer's pattern cannot split, such as a million spaces in a row.
        """
        with panics_as_errors(lambda reason: describe_text(text, reason)):
            return self._encoding.encode_ordinary(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; bytes that are not UTF-8 become U+FFFD."""
        with panics_as_errors(lambda reason: f"{len(ids):,} ids cannot be decoded ({reason})"):
            return self._encoding.decode(list(ids))

    def render_conversation(
        self, messages: Sequence[Mapping[str, Any]], max_tokens: int
    ) -> tuple[list[int], list[int]]:
        """Return the ids of a conversation, and a mask of those that a fine-tune predicts.

        Parameters
        ----------
        messages
            Conversation by the rules of `nanochat.tokenizer.conversation`.
        max_tokens
            Tokens beyond this number are cut off.

        Returns
        -------
        ids : list of int
        mask : list of int
            As long as `ids`: 1 where the assistant speaks (its end token and what it sends to
            Python included, Python's output excluded), else 0.

        Raises
        ------
        NanochatError
            For a conversation that breaks the rules.
        """
        return render(messages, max_tokens, self.encode, self.special)

    def save(self, folder: Path) -> Path:
        """Write ``tokenizer.json`` into a folder, whole or not at all; returns its path."""
        path = Path(folder) / "tokenizer.json"
        text = _dumps({**self._content(), "fingerprint": self.fingerprint})
        write_atomically(path, lambda file: file.write(text.encode()))
        return path

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read ``tokenizer.json``, or nanochat's ``tokenizer.pkl`` where there is none.

        Raises
        ------
        NanochatError
            Where the folder has neither file, or the file is damaged or of another kind.
        """
        plain, published = Path(folder) / "tokenizer.json", Path(folder) / "tokenizer.pkl"
        # Repositories on the hub have a tokenizer.json of another format beside the pickle.
        if plain.is_file() and (_is_ours(plain) or not published.is_file()):
            return cls._from_json(plain)
        if published.is_file():
            return cls._from_pickle(published)
        raise NanochatError(f"no tokenizer.json or tokenizer.pkl in {folder}")

    def _content(self) -> dict[str, Any]:
        ordered = sorted(self.ranks, key=self.ranks.__getitem__)
        return {
            "pattern": self.pattern,
            # Position is rank.
            "tokens_base64": [base64.b64encode(token).decode() for token in ordered],
            "special_tokens": self.special,
        }

    @classmethod
    def _from_json(cls, path: Path) -> Self:
        refuse_pointer(path)
        try:
            content = json.loads(path.read_bytes())
            tokens = [base64.b64decode(token, validate=True) for token in content["tokens_base64"]]
            ranks = {token: rank for rank, token in enumerate(tokens)}
            tokenizer = cls(content["pattern"], ranks, dict(content["special_tokens"]))
            noted = content.get("fingerprint", tokenizer.fingerprint)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise NanochatError(f"{path} is not a tokenizer: {error}") from error

        if noted != tokenizer.fingerprint:
            raise NanochatError(
                f"{path} is damaged, or was changed: its tokens are not those that were saved"
                " (fingerprint); take a sound copy, or, if the change is meant, delete its"
                " fingerprint"
            )
        return tokenizer

    @classmethod
    def _from_pickle(cls, path: Path) -> Self:
        refuse_pointer(path)
        state = _published_state(path)
        try:
            ranks, special = state["mergeable_ranks"], state["special_tokens"]
            return cls(state["pat_str"], ranks, special)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise NanochatError(f"{path} is not a tokenizer: {error}") from error


def _dumps(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=0, sort_keys=True, ensure_ascii=True) + "\n"


def _is_ours(path: Path) -> bool:
    try:
        return "tokens_base64" in json.loads(path.read_bytes())
    except (ValueError, TypeError, RecursionError):
        return False


class _EncodingUnpickler(pickle.Unpickler):
    """Unpickler that accepts ``tiktoken.Encoding`` only, as a stand-in that keeps its state."""

    def __init__(self, file: io.BytesIO, stand_in: type) -> None:
        super().__init__(file)
        self.stand_in = stand_in

    def find_class(self, module: str, name: str, /) -> type:
        if (module, name) == ("tiktoken.core", "Encoding"):
            return self.stand_in
        raise NanochatError(f"it asks for {module}.{name}")


def _published_state(path: Path) -> dict[str, Any]:
    """Return the fields of the pickled encoding; NanochatError for any other pickle."""

    class StandIn:  # one class a file, so that no pickle can change the next one's
        state: dict[str, Any] | None = None

        def __setstate__(self, state: dict[str, Any]) -> None:
            self.state = state

    try:
        content = without_digest(path.read_bytes())
        check_pickle(content, lambda name: name == "tiktoken.core.Encoding")
        loaded = _EncodingUnpickler(io.BytesIO(content), StandIn).load()
    except MemoryError:
        raise
    except Exception as error:  # a broken pickle raises errors of many types
        raise NanochatError(f"{path} is refused: {error}") from error
    state = getattr(loaded, "state", None) if type(loaded) is StandIn else None
    if not isinstance(state, dict):
        raise NanochatError(f"{path} is refused: it holds no tiktoken encoding")
    return state
