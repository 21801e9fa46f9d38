"""Source of the conversations that a model is trained or validated on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.data.bad_rows import SkippedRows
from nanochat.errors import NanochatError

if TYPE_CHECKING:
    from nanochat.data.conversations import Conversation
    from nanochat.data.examples import Examples
    from nanochat.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class DataSource:
    """Conversations of a data source, and the part of them that is used.

    Importing this loads nothing else, so that settings and specs are quick to check.

    Attributes
    ----------
    name
        Source in a form of `nanochat.data.conversations.load_conversations`.
    split
    limit
        Number of conversations to use, from the first; all of them where None.
    max_seq_len
        Tokens kept of a conversation, at least 2.
    skip_bad_rows
        Number of bad rows that may be left out; the next bad row is an error.
    """

    name: str
    split: str = "train"
    limit: int | None = None
    max_seq_len: int = 1024
    skip_bad_rows: int = 0

    def check_place(self) -> None:
        """Refuse a source that can hold conversations on no machine; nothing is read."""
        from nanochat.data.conversations import SHIPPED
        from nanochat.data.rows import check_place

        if self.name not in SHIPPED:
            check_place(self.name, self.split)

    def local_files(self) -> list[Path]:
        """List the file that is read in a folder with a file for each split; empty for others."""
        from nanochat.data.rows import find_file

        if not self.name or not Path(self.name).expanduser().is_dir():
            return []
        try:
            return [find_file(self.name, self.split)]
        except NanochatError:  # a folder of shards, or one that holds no data
            return []

    def conversations(
        self, num_tokens: int | None = None, skipped: SkippedRows | None = None
    ) -> "list[Conversation]":
        """Load and check the conversations.

        Parameters
        ----------
        num_tokens
            Supervised tokens that a folder of shards must hold (`load_conversations`).
        skipped
            Record of this source (`new_record`) that counts the bad rows.
        """
        from nanochat.data.conversations import load_conversations

        skipped = self.new_record() if skipped is None else skipped
        return load_conversations(self.name, self.split, self.limit, num_tokens, skipped=skipped)

    def new_record(self) -> SkippedRows:
        """Make an empty record of bad rows for one reading of this source."""
        return SkippedRows(self.skip_bad_rows)

    def tokenise(
        self, conversations: "Sequence[Conversation]", tokenizer: "Tokenizer"
    ) -> "Examples":
        """Tokenise conversations, each cut to `max_seq_len`."""
        from nanochat.data.examples import tokenize_conversations

        return tokenize_conversations(conversations, tokenizer, self.max_seq_len)

    def examples(
        self,
        tokenizer: "Tokenizer",
        num_tokens: int | None = None,
        skipped: SkippedRows | None = None,
    ) -> "Examples":
        """Load the conversations and tokenise them; parameters of `conversations`."""
        return self.tokenise(self.conversations(num_tokens, skipped), tokenizer)
