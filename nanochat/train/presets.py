"""Small models that are trained on this machine, so that a first sweep needs no download."""

from dataclasses import dataclass

from nanochat.errors import unknown_name


@dataclass(frozen=True)
class Preset:
    """Shape and base training of a small model.

    Attributes
    ----------
    vocab_size, n_layer, n_head, n_kv_head, n_embd, sequence_len
        As in `nanochat.model.gpt.GPTConfig`.
    steps, rows
        Optimizer steps, and rows of `sequence_len` tokens in each.
    matrix_lr, embedding_lr, unembedding_lr
        As in `nanochat.train.recipe.Recipe`.
    warmdown_frac
        Share of the steps over which the rate falls to 0, in (0, 1].
    seed
        Seed of the initial weights.
    data
        Source of the text (`nanochat.data.conversations.load_conversations`).
    """

    vocab_size: int
    n_layer: int
    n_head: int
    n_kv_head: int
    n_embd: int
    sequence_len: int
    steps: int
    rows: int
    matrix_lr: float = 0.02
    embedding_lr: float = 0.2
    unembedding_lr: float = 0.004
    warmdown_frac: float = 0.2
    seed: int = 42
    data: str = "stdlib_qa"


PRESETS = {
    "tiny": Preset(
        vocab_size=512,
        n_layer=2,
        n_head=2,
        n_kv_head=1,
        n_embd=48,
        sequence_len=128,
        steps=100,
        rows=16,
    ),
}


def get_preset(name: str) -> Preset:
    """Return the preset of a name.

    Raises
    ------
    NanochatError
        For a name that is none.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]
