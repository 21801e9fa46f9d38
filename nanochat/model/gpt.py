"""The model: nanochat's GPT of October 2025 to January 2026 (generation 0: d20, d32, d34).

Rotary positions, RMS norm of queries and keys, squared ReLU, grouped queries, untied head, logits
soft-capped at 15, and norms without weights. State-dict keys are nanochat's own, so that published
checkpoints load as they are. Not covered: key/value cache, distributed training, later generations.
"""

from collections.abc import Collection
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nanochat.errors import NanochatError
from nanochat.model.config import GPTConfig
from nanochat.model.rotary_relu import rotate, squared_relu

ROPE_BASE = 10_000
Rotary = dict[int, tuple[Tensor, ...]]
"""By number of heads, what `rotate` takes."""

SOFT_CAP = 15.0
IGNORED = -1  # target that is not supervised


class _Linear(nn.Linear):
    """Linear map without bias whose weight is left unset: building a model draws no numbers.

    In a stack of copies the weight is (K, outputs, inputs), and the rows of each copy follow those
    of the one before.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def reset_parameters(self) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        if self.weight.dim() == 2:
            return F.linear(input, self.weight)
        of_each = input.reshape(len(self.weight), -1, input.size(-1))
        return torch.bmm(of_each, self.weight.mT).view(*input.shape[:-1], -1)


class _Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        if self.weight.dim() == 2:
            return F.embedding(input, self.weight)
        copies, rows, _ = self.weight.shape
        first_rows = torch.arange(copies, device=input.device)[:, None, None] * rows
        return F.embedding((input + first_rows).flatten(0, 1), self.weight.flatten(0, 1))


def _norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.size(-1),))


def _take(x: Tensor, positions: Tensor, copies: int) -> Tensor:
    """Select positions of the rows of each copy: (K·B, T, d) to (K, N, d)."""
    return x.reshape(copies, -1, x.size(-1)).index_select(1, positions)


class _Attention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.grouped = config.n_kv_head != config.n_head
        self.c_q = _Linear(config.n_embd, config.n_head * config.head_dim)
        self.c_k = _Linear(config.n_embd, config.n_kv_head * config.head_dim)
        self.c_v = _Linear(config.n_embd, config.n_kv_head * config.head_dim)
        self.c_proj = _Linear(config.n_embd, config.n_embd)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        """Return the attention output, the input of `c_proj`."""
        batch, time, _ = x.shape
        heads = (batch, time, -1, self.head_dim)
        q, k = self.c_q(x).view(heads), self.c_k(x).view(heads)
        q, k = (_norm(rotate(z, *rotary[z.size(2)])).transpose(1, 2) for z in (q, k))
        v = self.c_v(x).view(heads).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.grouped)
        return y.transpose(1, 2).reshape(batch, time, -1)


class _MLP(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_fc = _Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = _Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(squared_relu(self.c_fc(x)))


class _Block(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attn = _Attention(config)
        self.mlp = _MLP(config)

    def forward(
        self,
        x: Tensor,
        rotary: Rotary,
        positions: Tensor | None = None,
        copies: int = 1,
    ) -> Tensor:
        mixed = self.attn(_norm(x), rotary)
        if positions is not None:  # the layers below treat each position by itself
            x, mixed = _take(x, positions, copies), _take(mixed, positions, copies)
        x = x + self.attn.c_proj(mixed)
        return x + self.mlp(_norm(x))


class GPT(nn.Module):
    """Causal language model. Its weights are unset until `init_weights` or `load_state_dict`.

    Parameters
    ----------
    vocab_rows
        Rows of the two vocabulary matrices, at least ``config.vocab_size`` (the default).

    Attributes
    ----------
    gradient_checkpointing
        If the activations inside blocks are computed again in the backward pass rather than
        kept.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: GPTConfig, vocab_rows: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.gradient_checkpointing = False
        rows = config.vocab_size if vocab_rows is None else vocab_rows
        self.transformer = nn.ModuleDict(
            {
                "wte": _Embedding(rows, config.n_embd),
                "h": nn.ModuleList(_Block(config) for _ in range(config.n_layer)),
            }
        )
        self.lm_head = _Linear(config.n_embd, rows)
        cos, sin = _rotary_table(config.reach, config.head_dim)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    @property
    def wte(self) -> nn.Embedding:
        """Return the token embedding."""
        return self.transformer["wte"]  # pyright: ignore[reportReturnType]

    @property
    def blocks(self) -> nn.ModuleList:
        """Return the blocks, first to last."""
        return self.transformer["h"]  # pyright: ignore[reportReturnType]

    @torch.no_grad()
    def init_weights(self, generator: torch.Generator) -> None:
        """Draw the weights a base training starts from.

        ==========================  =======================================================
        ``wte``                     N(0, 1)
        ``c_q c_k c_v c_fc``        N(0, σ), σ = min(1, √(out/in)) / √in
        ``c_proj`` and ``lm_head``  0, so that every block starts as the identity
        ==========================  =======================================================

        Parameters
        ----------
        generator
            Source of the numbers, on the model's device; the global one is not touched.
        """
        for name, weight in self.named_parameters():
            if name.endswith(("c_proj.weight", "lm_head.weight")):
                weight.zero_()
            elif name.endswith("wte.weight"):
                weight.normal_(generator=generator)
            else:
                outputs, inputs = weight.shape
                std = min(1.0, (outputs / inputs) ** 0.5) / inputs**0.5
                weight.normal_(std=std, generator=generator)

    def forward(
        self,
        idx: Tensor,
        targets: Tensor | None = None,
        loss_reduction: Literal["mean", "sum", "none"] = "mean",
    ) -> Tensor:
        """Return the logits, or the cross-entropy of targets.

        Parameters
        ----------
        idx
            int64 tensor (B, T).
            Token ids; T at most ten times ``sequence_len``.
        targets
            int64 tensor (B, T).
            Next-token ids, -1 where there is nothing to predict.
        loss_reduction
            One of "mean", "sum", "none".
            Over the supervised positions. "none" gives (B·T,), 0 where unsupervised.

        Returns
        -------
        float32 tensor
            Logits (B, T, V), within ±15; with `targets` the loss in nats.

        Raises
        ------
        NanochatError
            Where the text is longer than the rotary table.
        """
        logits = self.lm_head(self.states(idx))[..., : self.config.vocab_size].float()
        logits = SOFT_CAP * torch.tanh(logits / SOFT_CAP)
        if targets is None:
            return logits
        return F.cross_entropy(
            logits.flatten(0, 1),
            targets.flatten(),
            ignore_index=IGNORED,
            reduction=loss_reduction,
        )

    def states(self, idx: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return the normed states of the last block, the input of the head.

        Parameters
        ----------
        idx
            int64 tensor (B, T).
            Token ids; T at most ten times ``sequence_len``.
        positions
            int64 tensor (N,).
            Where in B·T they are wanted: the last block does all but its attention only there.

        Returns
        -------
        tensor (B, T, d), or (K, N, d) with `positions`
            K is the number of copies, 1 where neither embedding nor blocks are stacked. Without
            `positions`, the rows of all copies: (K·B, T, d).

        Raises
        ------
        NanochatError
            Where the text is longer than the rotary table.
        """
        time = idx.size(1)
        if time > self.cos.size(0):
            raise NanochatError(f"text of {time} tokens; this model reaches {self.cos.size(0)}")
        rotary = self._rotary(time)
        x = _norm(self.wte(idx))
        weight = next(self.blocks.parameters())
        copies = len(weight) if weight.dim() == 3 else len(x) // len(idx)
        if len(x) < copies * len(idx):
            x = x.repeat(copies, 1, 1)
        for block in self.blocks:
            last = positions is not None and block is self.blocks[-1]
            arguments = (x, rotary, positions, copies) if last else (x, rotary)
            if self.gradient_checkpointing and torch.is_grad_enabled():
                # Nothing in a block is random, so no generator state must be restored.
                x = checkpoint(block, *arguments, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(*arguments)
        return _norm(x)

    def _rotary(self, time: int) -> Rotary:
        """Return the tables for queries and keys, made once for all blocks."""
        device = self.cos.device.type
        narrow = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        # They hold bfloat16 values; a mixed product would convert them at every use.
        dtype = torch.bfloat16 if narrow == torch.bfloat16 else torch.float32
        return {
            heads: tuple(
                table[:time, None].to(dtype).expand(-1, heads, -1).contiguous()
                for table in (self.cos, self.sin)
            )
            for heads in (self.config.n_head, self.config.n_kv_head)
        }

    def stack(self, copies: int, groups: Collection[str]) -> None:
        """Give `copies` copies of these groups' weights, side by side, in place of one.

        What is not stacked is shared. Each copy computes what a model of its own would; the rows
        of a batch are repeated for each. On a CPU its bits do not depend on how many there are, but
        where shared blocks lie above a stacked embedding.

        Parameters
        ----------
        copies
            At least 1.
        groups
            Some of ``embedding``, ``matrix`` (the blocks) and ``unembedding``.
        """
        parts = {"embedding": self.wte, "matrix": self.blocks, "unembedding": self.lm_head}
        for group in groups:
            for module in parts[group].modules():
                if isinstance(module, _Linear | _Embedding):
                    stacked = module.weight.detach().expand(copies, -1, -1).clone()
                    module.weight = nn.Parameter(stacked)

    @torch.inference_mode()
    def generate_greedy(
        self, ids: list[int], max_new_tokens: int, stop: Collection[int] = ()
    ) -> list[int]:
        """Return the most probable continuation, token by token (the whole text is read every
        time).

        It ends before a token of `stop`, which is not part of it.
        """
        text = list(ids)
        for _ in range(max_new_tokens):
            logits = self(torch.tensor([text], device=self.cos.device))
            token = int(logits[0, -1].argmax())
            if token in stop:
                break
            text.append(token)
        return text[len(ids) :]


def _rotary_table(length: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """Return the (cos, cos) and (sin, -sin) of position × frequency, each bfloat16 (length,
    head_dim).
    """
    channel = torch.arange(0, head_dim, 2, dtype=torch.float32)
    frequency = 1.0 / (ROPE_BASE ** (channel / head_dim))
    angle = torch.outer(torch.arange(length, dtype=torch.float32), frequency)
    # Published weights were trained with tables rounded to bfloat16.
    cos, sin = angle.cos().bfloat16(), angle.sin().bfloat16()
    return torch.cat([cos, cos], dim=-1), torch.cat([sin, -sin], dim=-1)
