"""Conversations that are held out of the training by their hash."""

import pytest

from nanochat.data.conversations import Conversation, load_conversations
from nanochat.data.held_out import hold_out
from nanochat.errors import NanochatError


def _talk(number: int) -> Conversation:
    return [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": "\ud800"}]


def test_the_share_is_held_out_and_every_row_is_on_one_side() -> None:
    talks = load_conversations("stdlib_qa")
    training, held_out = hold_out(talks, 0.05)
    assert len(held_out) / len(talks) == pytest.approx(0.05, abs=0.015)
    assert len(training) + len(held_out) == len(talks)
    assert not any(talk in training for talk in held_out)


def test_neither_order_nor_repetition_nor_other_rows_move_a_row() -> None:
    talks = [_talk(number) for number in range(200)]
    training, held_out = hold_out(talks, 0.3)
    again = hold_out([*reversed(talks), *talks[:50], *map(_talk, range(200, 300))], 0.3)
    for side, other in ((training, again[0]), (held_out, again[1])):
        assert all(talk in other for talk in side)
    assert not any(talk in again[0] for talk in held_out)
    larger = hold_out(talks, 0.5)[1]
    assert all(talk in larger for talk in held_out)


@pytest.mark.parametrize(("share", "missing"), [(1e-9, "hold out; a larger"), (0.999, "train on")])
def test_an_empty_side_is_refused(share: float, missing: str) -> None:
    with pytest.raises(NanochatError, match=f"leaves none of 3 conversations to {missing}"):
        hold_out(map(_talk, range(3)), share)
