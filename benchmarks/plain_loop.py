"""One fine-tune as a first port writes it: what benchmarks/finetune.py holds the product against.

    python benchmarks/plain_loop.py --recipe '{"matrix_lr": 0.02, "num_tokens": 4000}'   # one point

Same mathematics, schedule and rule to stop as `train/finetune.py`, nothing saved: float32 logits of
the whole vocabulary at every position, batches collated for every step of every point, optimizers
built for every point, Muon one matrix after the other, and the loss read from the device at every
step. Left out, in its favour: the streamed data set, the diagnostic pass and the two sample texts
that fractal-llm's command also makes for every point.
"""

import argparse
import json
import math
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import AdamW

from nanochat.data.examples import Examples
from nanochat.model.gpt import GPT, IGNORED
from nanochat.model.torch_settings import isolated
from nanochat.train.finetune import FinetuneResult
from nanochat.train.optim.groups import ADAM_BETAS, ADAM_EPS
from nanochat.train.optim.learning_rates import lr_factor
from nanochat.train.optim.muon import NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS
from nanochat.train.recipe import GROUPS, Recipe

MOMENTUM = 0.95


def plain_finetune(model: GPT, examples: Examples, recipe: Recipe, pad_id: int) -> FinetuneResult:
    """Train a model in place, on the device of its weights, until the budget is spent.

    Raises
    ------
    ValueError
        For what a first port has not: float16, and rates of their own for parts of the matrices.
    """
    if recipe.dtype == "float16" or "mlp" in recipe.group_lrs():
        raise ValueError("the plain loop has no float16, attention_lr or mlp_lr")
    device = model.lm_head.weight.device
    start = time.perf_counter()
    losses: list[float] = []
    tokens, total, diverged_step, final_loss = 0, 1, None, math.nan
    with isolated(device, recipe.deterministic):
        adamw, muon = build(model, recipe)
        step = 0
        while step < total and diverged_step is None:
            first = step * recipe.accumulation
            batches = [
                collate(examples, recipe, first + i, pad_id) for i in range(recipe.accumulation)
            ]
            supervised = [int((targets != IGNORED).sum()) for _, targets in batches]
            if step == 0:
                total = steps_for(recipe, supervised[0])
            final_loss = gradients(model, batches, recipe, device)
            if math.isfinite(final_loss):
                losses.append(final_loss)
                tokens += sum(supervised)
                factor = lr_factor(step, total, recipe)
                if adamw is not None:
                    for group in adamw.param_groups:
                        group["lr"] = group["initial_lr"] * factor
                    adamw.step()
                for weight, buffer, lr in muon:
                    muon_step(weight, buffer, lr * factor)
                step += 1
            else:
                diverged_step = step
    seconds = time.perf_counter() - start
    curve = np.asarray(losses, np.float32)
    return FinetuneResult(curve, diverged_step, final_loss, step, total, tokens, seconds)


def steps_for(recipe: Recipe, supervised: int) -> int:
    """Compute the steps of the whole run from the supervised tokens of its first batch."""
    if recipe.num_iterations > 0:
        return recipe.num_iterations
    return max(1, math.ceil(recipe.num_tokens / (supervised * recipe.accumulation)))


def gradients(
    model: GPT, batches: list[tuple[Tensor, Tensor]], recipe: Recipe, device: torch.device
) -> float:
    """Return the mean loss of the batches; leave its gradient on the parameters."""
    model.zero_grad(set_to_none=True)
    dtype, mean = getattr(torch, recipe.dtype), torch.zeros((), device=device)
    for inputs, targets in batches:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            loss = model(inputs.to(device), targets.to(device)) / len(batches)
        if recipe.trainable_param_groups:
            loss.backward()
        mean += loss.detach()
    return mean.item()


def build(
    model: GPT, recipe: Recipe
) -> tuple[AdamW | None, list[tuple[torch.nn.Parameter, Tensor, float]]]:
    """Build AdamW for head and embedding, and list Muon's matrices with momentum and rate."""
    lrs = {
        group: lr * recipe.init_lr_frac
        for group, lr in recipe.effective_lrs(model.config.n_embd).items()
    }
    members = {
        "embedding": list(model.wte.parameters()),
        "matrix": list(model.blocks.parameters()),
        "unembedding": list(model.lm_head.parameters()),
    }
    for group in GROUPS:
        for weight in members[group]:
            weight.requires_grad_(group in recipe.trainable_param_groups)
    adamw_groups = [
        {"params": members[group], "lr": lrs[group], "initial_lr": lrs[group]}
        for group in ("unembedding", "embedding")
        if group in recipe.trainable_param_groups
    ]
    adamw = None
    if adamw_groups:
        adamw = AdamW(
            adamw_groups,
            betas=ADAM_BETAS,
            eps=ADAM_EPS,
            weight_decay=recipe.weight_decay,
            foreach=False,
            fused=False,
        )
    matrices = members["matrix"] if "matrix" in recipe.trainable_param_groups else []
    return adamw, [(weight, torch.zeros_like(weight), lrs["matrix"]) for weight in matrices]


@torch.no_grad()
def muon_step(weight: torch.nn.Parameter, buffer: Tensor, lr: float) -> None:
    """Update one matrix by its orthogonalized Nesterov momentum."""
    assert weight.grad is not None
    buffer.lerp_(weight.grad, 1 - MOMENTUM)
    update = newton_schulz(weight.grad.lerp(buffer, MOMENTUM))
    rows, columns = weight.shape
    weight.add_(update, alpha=-lr * max(1.0, rows / columns) ** 0.5)


def newton_schulz(update: Tensor) -> Tensor:
    """Push the singular values of one matrix towards 1, by five steps in bfloat16."""
    a, b, c = NEWTON_SCHULZ
    x = update.bfloat16()
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def collate(examples: Examples, recipe: Recipe, index: int, pad_id: int) -> tuple[Tensor, Tensor]:
    """Make batch `index` of the endless sequence: inputs and targets, int64 (B, T) on the CPU."""
    size = recipe.device_batch_size
    epoch, batch = divmod(index, math.ceil(len(examples) / size))
    members = order(examples, recipe, epoch)[batch * size : (batch + 1) * size]
    longest = max(int(examples.lengths[member]) for member in members) - 1
    inputs = torch.full((len(members), longest), pad_id)
    targets = torch.full((len(members), longest), IGNORED)
    for row, member in enumerate(members):
        start, end = examples.offsets[member], examples.offsets[member + 1]
        ids = torch.tensor(examples.ids[start:end], dtype=torch.int64)
        mask = torch.tensor(examples.mask[start:end])
        inputs[row, : len(ids) - 1] = ids[:-1]
        targets[row, : len(ids) - 1] = torch.where(mask[1:] == 1, ids[1:], IGNORED)
    return inputs, targets


def order(examples: Examples, recipe: Recipe, epoch: int) -> NDArray[np.int64]:
    if not recipe.shuffle:
        return np.arange(len(examples))
    return np.random.default_rng((recipe.seed, epoch)).permutation(len(examples))


def main() -> None:
    """Run one point from the start, as a sweep script does that starts a process per point."""
    from nanochat.data.conversations import load_conversations
    from nanochat.data.examples import tokenize_conversations
    from nanochat.model.checkpoint import build_model
    from nanochat.sources.load import load_model

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="preset:tiny")
    parser.add_argument("--data", default="stdlib_qa")
    parser.add_argument("--max-seq-len", type=int, default=64)
    parser.add_argument("--recipe", default="{}", help="JSON, as `recipe:` of a sweep")
    options = parser.parse_args()
    recipe = Recipe.from_mapping(json.loads(options.recipe))
    torch.set_num_threads(1)
    checkpoint, tokenizer = load_model(options.model)
    conversations = load_conversations(options.data)
    examples = tokenize_conversations(conversations, tokenizer, options.max_seq_len)
    model = build_model(checkpoint.config, checkpoint.state)
    result = plain_finetune(model, examples, recipe, tokenizer.special["<|assistant_end|>"])
    print(f"loss={result.final_loss:.6f} steps={result.steps} tokens_seen={result.tokens_seen}")


if __name__ == "__main__":
    main()
