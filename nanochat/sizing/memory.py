"""Memory of a training step, estimated from the shape of a model.

No torch here; `nanochat.sizing.measured_peak` makes a step and measures it.
"""

from dataclasses import dataclass

from nanochat.model.config import GPTConfig


def count_parameters(shape: GPTConfig) -> dict[str, int]:
    """Count the parameters of the token embedding, of all blocks, and of the output head."""
    width = shape.n_embd
    vocabulary = shape.vocab_size * width
    # Query and output, key and value, and the two matrices of a perceptron four times as wide.
    block = 2 * width**2 + 2 * width * shape.kv_width + 8 * width**2
    return {"wte": vocabulary, "blocks": shape.n_layer * block, "lm_head": vocabulary}


@dataclass(frozen=True)
class Assumptions:
    """Assumptions of a memory estimate. All are bytes but `accumulates`, `chunk`, `overhead` and
    the texts.

    Attributes
    ----------
    title
        Short name.
    weight, gradient
        Bytes of a parameter and of its gradient.
    cast
        Bytes of a second copy of each block parameter, kept for the step; 0 if none.
    block, block_kv
        Kept for the backward pass by a block, per token, for each channel of the width, and of the
        keys.
    ends
        The same for what lies before the first and after the last block, per channel of the width.
    overhead
        Added share of the blocks' bytes.
    accumulates
        If all gradients, of earlier batches, exist at the loss; else only the head's.
    logit
        Bytes of each logit that exists in the backward pass of the loss.
    chunk
        Logits that are there at a time, at least those of a token; None for all.
    head
        Besides, for each parameter of the head when the loss is taken back.
    backward
        Held for a moment on the way back through a block, per token and channel of the width.
    update
        Held while Muon works on matrices of equal shapes, for each of their parameters.
    stated
        The above in words.
    """

    title: str
    weight: int
    gradient: int
    cast: int
    block: int
    block_kv: int
    ends: int
    overhead: float
    accumulates: bool
    logit: int
    chunk: int | None
    head: int
    backward: int
    update: int
    stated: str


_CHUNK = {
    "cuda": 1 << 27,
    "cpu": 1 << 18,
}  # nanochat.model.head_loss.CELLS, whose module loads torch
_HERE = (
    "one batch a step, plain kernels, every position supervised; at most {chunk:,} logits at a "
    "time, {logit} bytes each; passing: 4 bytes per parameter of the head at the loss, 20 per "
    "token and channel on the way back, 20 per parameter of Muon's largest set of equal shapes in "
    "the update"
)

ASSUMPTIONS = {
    # fractal-llm's table is 0.40 GB + 0.425 GB · batch. Its fixed part is weights, gradients and
    # optimizer states; of the slope, logits and their gradient are 0.403 GB. The other 0.022 GB
    # has no derivation there: the residual stream with the 20 % that fractal-llm adds comes to it.
    "source": Assumptions(
        title="source, bf16",
        weight=2,
        gradient=2,
        cast=0,
        block=2 * 2,
        block_kv=0,
        ends=2,
        overhead=0.2,
        accumulates=True,
        logit=2 * 4,
        chunk=None,
        head=0,
        backward=0,
        update=0,
        stated="compiled, fused training as in fractal-llm's table: bf16 weights and gradients; "
        "fp32 logits of all positions and their gradient; of the blocks only the bf16 residual "
        "stream, once after attention and once after the perceptron, + 20 %; all parts at once",
    ),
    # The two below count the tensors of `train/stepper.py`, on a CPU in both kinds of arithmetic;
    # a GPU's kernels may keep a little more or less.
    "cuda": Assumptions(
        title="here, GPU",
        weight=4,
        gradient=4,
        cast=2,
        block=3 * 4 + 14 * 2,
        block_kv=4 + 2 * 2,
        ends=4 * 4 + 2 * 2,
        overhead=0.0,
        accumulates=False,
        logit=2 * 4,
        chunk=_CHUNK["cuda"],
        head=2 * 2,
        backward=5 * 4,
        update=2 * 4 + 6 * 2,
        stated="this package's fine-tune under bf16 autocast: fp32 weights and gradients; bf16 "
        "copies of the matrices; of a block 3 fp32 and 14 bf16 tensors as wide as the model, 1 "
        "fp32 and 2 bf16 as wide as the keys; " + _HERE.format(chunk=_CHUNK["cuda"], logit=8),
    ),
    "cpu": Assumptions(
        title="here, CPU",
        weight=4,
        gradient=4,
        cast=0,
        block=15 * 4,
        block_kv=3 * 4,
        ends=5 * 4,
        overhead=0.0,
        accumulates=False,
        logit=2 * 4,
        chunk=_CHUNK["cpu"],
        head=4,
        backward=5 * 4,
        update=2 * 4 + 6 * 2,
        stated="this package's fine-tune in fp32 throughout: weights, gradients; of a block 15 "
        "tensors as wide as the model, 3 as wide as the keys; "
        + _HERE.format(chunk=_CHUNK["cpu"], logit=8),
    ),
}
"""Estimates by name; "cuda" and "cpu" are held against `sizing/measured_peak.py`."""

STATED_FOR_ALL = (
    "fp32 optimizer states: 8 bytes per embedding and head parameter (AdamW), 4 per block "
    "parameter (Muon); everything is trained; no attention matrix is kept; the largest of three "
    "moments (loss, way back through the last block, update), where 0 is what is not there then; "
    "not counted: what the allocator keeps of freed memory"
)


def estimate_moments(
    shape: GPTConfig, batch_size: int, assumptions: Assumptions
) -> dict[str, dict[str, int]]:
    """Estimate the bytes by component at three moments, one of which is the peak of the step.

    "loss": all that the backward pass needs is kept, and the head is taken back. "backward": the
    last block is; from here to the first, what is kept falls and gradients grow evenly. "update":
    all gradients are there. Process and driver are not counted.

    Parameters
    ----------
    batch_size
        Rows of ``shape.sequence_len`` tokens that are on the device at once.
    assumptions
        An entry of `ASSUMPTIONS`.
    """
    parts = count_parameters(shape)
    total = sum(parts.values())
    tokens = batch_size * shape.sequence_len
    block = assumptions.block * shape.n_embd + assumptions.block_kv * shape.kv_width
    kept = tokens * (shape.n_layer * block + assumptions.ends * shape.n_embd)
    logits = tokens * shape.vocab_size
    if assumptions.chunk is not None:
        logits = min(logits, max(assumptions.chunk, shape.vocab_size))
    # A block's four of attention, or either of its perceptron's two.
    largest = 4 * shape.n_layer * shape.n_embd**2
    weights = assumptions.weight * total
    states = {
        "AdamW state": 8 * (parts["wte"] + parts["lm_head"]),
        "Muon state": 4 * parts["blocks"],
    }
    forward = {
        "weights": weights + assumptions.cast * parts["blocks"],
        "gradients": assumptions.gradient
        * (total if assumptions.accumulates else parts["lm_head"]),
        **states,
        "blocks": kept,
        "overhead": round(assumptions.overhead * kept),
    }
    return {
        "loss": {
            **forward,
            "logits": assumptions.logit * logits,
            "passing": assumptions.head * parts["lm_head"],
        },
        "backward": {
            **forward,
            "logits": 0,
            "passing": assumptions.backward * tokens * shape.n_embd,
        },
        "update": {
            "weights": weights,
            "gradients": assumptions.gradient * total,
            **states,
            "blocks": 0,
            "overhead": 0,
            "logits": 0,
            "passing": assumptions.update * largest,
        },
    }


def estimate_memory(shape: GPTConfig, batch_size: int, assumptions: Assumptions) -> dict[str, int]:
    """Estimate the bytes by component at the peak of a training step."""
    moments = estimate_moments(shape, batch_size, assumptions)
    return max(moments.values(), key=lambda parts: sum(parts.values()))
