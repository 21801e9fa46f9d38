"""Cost of a model before it is made: parameters, FLOPs, memory of a step, and data.

No torch here; `nanochat.sizing.measured_peak` makes a step and measures it. 1 GB is 1e9 bytes.
"""

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from nanochat.model.config import GPTConfig, check_number
from nanochat.sizing.memory import ASSUMPTIONS, STATED_FOR_ALL, count_parameters, estimate_memory

GB = 1e9

CHINCHILLA_RATIO = 20
"""Tokens per parameter of a compute-optimal training: Hoffmann et al., 2022, arXiv:2203.15556."""

CHARS_PER_TOKEN = 4.8  # measured with nanochat's tokenizer on FineWeb-Edu
CHARS_PER_SHARD = 250_000_000
BYTES_PER_SHARD = 100_000_000  # download size, compressed

RUNTIME = 2_600_000_000
"""Bytes that a training took on fractal-llm's GPU beyond its estimate: CUDA context 1 to 1.5 GB,
compile cache 0.8, accumulation 0.4, mixed precision 0.3, fragmentation 0.3."""

_NOTED_MODEL = (2048, 24576, 4, 512)  # sequence, vocabulary, blocks and width of the table below
_NOTED = {32: (14.0, 16.6), 40: (17.4, 20.0), 48: (20.8, 23.4), 56: (24.2, 27.0)}
"""fractal-llm's table for that model: batch size to GB estimated and GB measured by its author."""


def flops_per_token(shape: GPTConfig) -> int:
    """Return the floating-point operations of training on one token: 6 (N - N_wte) + 12 · L · width
    · T.

    Chowdhery et al., 2022 (PaLM), arXiv:2204.02311, appendix B; the embedding is a look-up.
    """
    parts = count_parameters(shape)
    attention = 12 * shape.n_layer * shape.n_embd * shape.sequence_len
    return 6 * (parts["blocks"] + parts["lm_head"]) + attention


def data_needs(tokens: int) -> dict[str, int]:
    """Return the text that holds `tokens` tokens: characters, shards of the base data, bytes to
    fetch.
    """
    chars = round(tokens * CHARS_PER_TOKEN)
    shards = -(-chars // CHARS_PER_SHARD)
    fetch = shards * BYTES_PER_SHARD
    return {"tokens": tokens, "chars": chars, "shards": shards, "download_bytes": fetch}


@dataclass(frozen=True)
class Measured:
    """Measured and estimated peak of a step, in bytes.

    Attributes
    ----------
    device
        One of "cuda", "cpu".
        Also the name in `ASSUMPTIONS`.
    peak
        GPU: largest total of allocated tensors. CPU: growth of the process's largest resident set.
    free
        Free on the device before.
    """

    device: str
    peak: int
    estimate: int
    free: int


@dataclass(frozen=True)
class Sizing:
    """Report of ``nanochat size`` about a model.

    Attributes
    ----------
    batch_size
        Rows in a batch.
    steps, tokens_per_step
        The training whose data is counted.

    Raises
    ------
    NanochatError
        On construction, for a number below 1 or above `LARGEST`.
    """

    shape: GPTConfig
    batch_size: int
    steps: int
    tokens_per_step: int
    measured: Measured | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "steps", "tokens_per_step"):
            check_number(name, getattr(self, name))

    @property
    def memory(self) -> dict[str, dict[str, int]]:
        """Return the bytes by component at the peak, for each entry of `ASSUMPTIONS`."""
        return {
            name: estimate_memory(self.shape, self.batch_size, assumptions)
            for name, assumptions in ASSUMPTIONS.items()
        }

    @property
    def data(self) -> dict[str, dict[str, int]]:
        """Return `data_needs` of the steps, and of a compute-optimal training."""
        parameters = sum(count_parameters(self.shape).values())
        return {
            "training": data_needs(self.steps * self.tokens_per_step),
            "chinchilla": data_needs(CHINCHILLA_RATIO * parameters),
        }

    def table(self) -> list[dict[str, float]]:
        """Return fractal-llm's published table beside the "source" estimate, in GB; empty for
        another model.
        """
        shape = self.shape
        model = (shape.sequence_len, shape.vocab_size, shape.n_layer, shape.n_embd)
        if model != _NOTED_MODEL or shape.n_kv_head != shape.n_head:
            return []
        rows = []
        for batch, (noted, measured) in _NOTED.items():
            total = sum(estimate_memory(shape, batch, ASSUMPTIONS["source"]).values())
            rows.append(
                {
                    "batch_size": batch,
                    "estimate_gb": total / GB,
                    "noted_gb": noted,
                    "with_runtime_gb": (total + RUNTIME) / GB,
                    "noted_measured_gb": measured,
                }
            )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return all values as plain JSON types; memory in bytes."""
        parts = count_parameters(self.shape)
        memory = {
            name: {"components": components, "total": sum(components.values())}
            for name, components in self.memory.items()
        }
        stated = {name: assumptions.stated for name, assumptions in ASSUMPTIONS.items()}
        return {
            "model": asdict(self.shape),
            "parameters": {**parts, "total": sum(parts.values())},
            "flops_per_token": flops_per_token(self.shape),
            "batch_size": self.batch_size,
            "memory_bytes": memory,
            "assumptions": {**stated, "all": STATED_FOR_ALL},
            "source_table": self.table(),
            "data": self.data,
            "measured": asdict(self.measured) if self.measured else None,
        }

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        return [*self._model(), *self._memory(), *self._table(), *self._data(), *self._measured()]

    def _model(self) -> Iterator[str]:
        shape = self.shape
        yield (
            f"{shape.n_layer} blocks of width {shape.n_embd:,}, {shape.n_head} heads of "
            f"{shape.n_embd // shape.n_head} ({shape.n_kv_head} key/value), vocabulary "
            f"{shape.vocab_size:,}, sequence {shape.sequence_len:,}"
        )
        parts = count_parameters(shape)
        total = sum(parts.values())
        yield f"\nparameters {total:>26,}"
        for name, count in parts.items():
            yield f"  {name:<12}{count:>23,}  {100 * count / total:6.2f} %"
        yield f"FLOPs per token {flops_per_token(shape):>21,}"

    def _memory(self) -> Iterator[str]:
        columns = list(self.memory.values())
        yield f"\nestimated memory at the peak of a training step, batch {self.batch_size:,}, GB"
        yield " " * 14 + "".join(f"{each.title:>15}" for each in ASSUMPTIONS.values())
        for name in columns[0]:
            yield f"  {name:<12}" + "".join(f"{each[name] / GB:>15.3f}" for each in columns)
        yield f"  {'total':<12}" + "".join(f"{sum(each.values()) / GB:>15.3f}" for each in columns)
        stated = {each.title: each.stated for each in ASSUMPTIONS.values()}
        for title, text in {**stated, "all": STATED_FOR_ALL}.items():
            yield textwrap.fill(f"  {title}: {text}", 100, subsequent_indent="    ")

    def _table(self) -> Iterator[str]:
        rows = self.table()
        if rows:
            yield "\nagainst fractal-llm's table for this model, GB"
            yield "  batch  estimate     noted  + 2.6 run time  measured there"
        for row in rows:
            yield (
                f"  {row['batch_size']:>5}{row['estimate_gb']:>10.1f}{row['noted_gb']:>10.1f}"
                f"{row['with_runtime_gb']:>16.1f}{row['noted_measured_gb']:>16.1f}"
            )

    def _data(self) -> Iterator[str]:
        titles = {
            "training": f"{self.steps:,} steps of {self.tokens_per_step:,}",
            "chinchilla": f"Chinchilla, {CHINCHILLA_RATIO} per parameter",
        }
        yield "\ndata"
        for name, need in self.data.items():
            yield (
                f"  {titles[name]}: {need['tokens']:,} tokens, {need['chars'] / 1e9:.2f} B "
                f"characters, {need['shards']:,} shards, {need['download_bytes'] / GB:.1f} GB"
            )

    def _measured(self) -> Iterator[str]:
        if self.measured is not None:
            device, peak, estimate = (
                self.measured.device,
                self.measured.peak,
                self.measured.estimate,
            )
            yield (
                f"\nmeasured on this machine's {'GPU' if device == 'cuda' else 'CPU'}: peak "
                f"{peak / GB:.3f} GB; estimated {estimate / GB:.3f} GB, "
                f"{100 * estimate / peak:.0f} % of that"
            )
