"""A share of the conversations held out of the training, chosen by the hash of each."""

import hashlib
import json
from collections.abc import Iterable

from nanochat.data.conversations import Conversation
from nanochat.errors import NanochatError


def hold_out(
    conversations: Iterable[Conversation],
    share: float,
    setting: str = "val_share",
    other: str = "--val-data FILE",
) -> tuple[list[Conversation], list[Conversation]]:
    """Split conversations into those to train on and those held out.

    The hash of a conversation's messages decides, so equal conversations are on one side, and the
    choice depends neither on the order of the rows nor on other rows.

    Parameters
    ----------
    share
        Part that is held out; above 0 and below 1.
    setting, other
        Names of the setting and of the one to take instead, for the message.

    Raises
    ------
    NanochatError
        Where one of the two sides is empty.
    """
    sides: tuple[list[Conversation], list[Conversation]] = ([], [])
    for conversation in conversations:
        sides[_fraction(conversation) < share].append(conversation)
    if not all(sides):
        count = sum(map(len, sides))
        missing = "to train on" if sides[1] else "to hold out"
        raise NanochatError(
            f"{setting} {share:g} leaves none of {count:,} conversations {missing}; "
            f"a {'smaller' if sides[1] else 'larger'} share, or {other}"
        )
    return sides


def _fraction(conversation: Conversation) -> float:
    """Return a number in [0, 1) that only the messages decide."""
    text = json.dumps(conversation, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
