"""Sample questions and what a model answers."""

import torch

from nanochat.finetune_run.samples import LONGEST, MARGIN, answer, make_samples
from nanochat.model.gpt import GPT
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.train.recipe import Recipe

ASK = {"role": "user", "content": "How many?"}
TELL = {"role": "assistant", "content": "Three."}
PARTS = [{"type": "text", "text": "Let me "}, {"type": "python", "text": "1+2"}]


def test_the_last_answer_is_left_out(tokenizer: Tokenizer) -> None:
    (sample,) = make_samples([[ASK, TELL, ASK, TELL]], tokenizer, 64)
    ids, _ = tokenizer.render_conversation([ASK, TELL, ASK, TELL], 64)
    assert sample.prompt == ids[: len(sample.prompt)]
    assert sample.prompt[-1] == tokenizer.special["<|assistant_start|>"]
    assert (sample.question, sample.expected) == ("How many?", "Three.")
    assert sample.max_new_tokens == len(tokenizer.encode("Three.")) + MARGIN


def test_long_prompts_and_open_conversations_are_passed_over(tokenizer: Tokenizer) -> None:
    long = {"role": "user", "content": "word " * 100}
    told = {"role": "assistant", "content": "word " * 400}
    found = make_samples(
        [[long, TELL], [ASK], [ASK, {"role": "assistant", "content": PARTS}], [ASK, told]],
        tokenizer,
        64,
    )
    assert [sample.expected[:10] for sample in found] == ["Let me 1+2", "word word "]
    assert found[1].max_new_tokens == LONGEST
    assert len(make_samples([[ASK, TELL]] * 9, tokenizer, 64)) == 5


def test_answers_are_greedy_and_end_where_the_assistant_does(
    model: GPT, tokenizer: Tokenizer
) -> None:
    samples = make_samples([[ASK, TELL]] * 2, tokenizer, 64)
    recipe = Recipe(dtype="float32")
    said = answer(model, samples, tokenizer, recipe)
    ids = model.generate_greedy(samples[0].prompt, samples[0].max_new_tokens)
    assert said[0] == said[1]
    assert tokenizer.decode(ids).startswith(said[0])
    # A model that can only say one thing: the end, or else a word without end.
    with torch.no_grad():
        for param in model.blocks.parameters():
            param.zero_()
        model.wte.weight.fill_(1.0)
        model.lm_head.weight.zero_()
        model.lm_head.weight[tokenizer.special["<|assistant_end|>"]] = 1.0
        assert answer(model, samples, tokenizer, recipe) == ["", ""]
        model.lm_head.weight.zero_()
        model.lm_head.weight[65] = 1.0
    word = tokenizer.decode([65])
    assert answer(model, samples, tokenizer, recipe) == [word * samples[0].max_new_tokens] * 2
