"""Answers of a model to a few questions, for comparison with the expected answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from nanochat.data.conversations import Conversation
from nanochat.model.gpt import GPT
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.train.recipe import Recipe

COUNT = 5
LONGEST = 250  # tokens of an answer
MARGIN = 20  # tokens that an answer may have beyond the expected one


@dataclass(frozen=True)
class Sample:
    """Conversation without its last answer.

    Attributes
    ----------
    prompt
        Token ids, up to where the assistant is to speak.
    question, expected
        Last words of the user, and the answer that was left out.
    max_new_tokens
        Largest length of an answer.
    """

    prompt: list[int]
    question: str
    expected: str
    max_new_tokens: int


def make_samples(
    conversations: Sequence[Conversation],
    tokenizer: Tokenizer,
    max_seq_len: int,
    count: int = COUNT,
) -> list[Sample]:
    """Make samples of the first conversations whose prompt fits, `count` at most.

    Parameters
    ----------
    max_seq_len
        Tokens a prompt may have at most.
    """
    samples: list[Sample] = []
    for messages in conversations:
        if len(samples) == count:
            break
        if messages[-1]["role"] != "assistant":
            continue
        question_ids, _ = tokenizer.render_conversation(messages[:-1], max_seq_len)
        if (
            len(question_ids) == max_seq_len
        ):  # the prompt may have been cut, and leaves no room for the answer's first token
            continue
        expected = _text(messages[-1]["content"])
        length = min(LONGEST, len(tokenizer.encode(expected)) + MARGIN)
        prompt = [*question_ids, tokenizer.special["<|assistant_start|>"]]
        samples.append(Sample(prompt, messages[-2]["content"], expected, length))
    return samples


def answer(
    model: GPT, samples: Sequence[Sample], tokenizer: Tokenizer, recipe: Recipe
) -> list[str]:
    """Generate the greedy answer of a model to each sample, in the recipe's arithmetic."""
    stop = {tokenizer.special["<|assistant_end|>"], tokenizer.special["<|bos|>"]}
    dtype: torch.dtype = getattr(torch, recipe.dtype)
    device = model.cos.device.type
    with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
        return [
            tokenizer.decode(model.generate_greedy(each.prompt, each.max_new_tokens, stop))
            for each in samples
        ]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
