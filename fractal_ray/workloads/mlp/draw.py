"""The draw that all networks of a sweep share: initial weights, examples, order of minibatches.

Everything is standard normal, labels included (arXiv 2402.06184). `paper` is the draw of the
notebook published with that paper (jax.random.PRNGKey(0), float64, jax_threefry_partitionable off;
minibatches from PRNGKey(42)), so that maps can be compared pixel by pixel.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal_ray.errors import SweepError
from nanochat.files.git_lfs import is_pointer, pointer_message

PAPER = Path(__file__).with_name("paper_draw.npz")
"""File with the draw `paper`."""


@dataclass(frozen=True)
class Draw:
    """The drawn numbers as plain arrays, for `examples` examples of a network of width n.

    Parameters
    ----------
    theta0
        (n, n) float64 initial W0, inputs x hidden units.
    theta1
        (n,) float64 initial W1.
    x, y
        (examples, n) and (examples,) float64 inputs and labels.
    batches
        (steps, batch) int64 indices of the examples of each step, with replacement; None for full
        batch.
    """

    theta0: NDArray[np.float64]
    theta1: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    batches: NDArray[np.int64] | None

    @property
    def fingerprint(self) -> str:
        """Return 32 hex digits that identify all numbers of the draw."""
        digest = hashlib.sha256()
        for array in (self.theta0, self.theta1, self.x, self.y, self.batches):
            if array is None:
                digest.update(b"none\n")
            else:
                digest.update(f"{array.dtype.str} {array.shape}\n".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:32]


def make_draw(
    source: int | str, *, width: int, examples: int, batch: int | None, steps: int
) -> Draw:
    """Draw numbers from a seed, or read a draw from a file.

    Parameters
    ----------
    source
        A seed (0 or more), "paper", or an .npz file with `theta0`, `theta1`, `x`, `y` and, for
        minibatches, `batches`.
    width
        Number of inputs, and of hidden units.
    examples
        Number of examples. The first ones of a source are used, so a smaller number gives a prefix
        of a larger one.
    batch
        Number of examples in a minibatch; None for full batch.
    steps
        Number of minibatches.

    Raises
    ------
    SweepError
        If a file is missing, damaged, of another width, too short, or not finite.
    """
    if isinstance(source, int):
        return _from_seed(source, width, examples, batch, steps)
    path = PAPER if source == "paper" else Path(source)
    arrays = _read(path, source)
    shape = arrays["theta0"].shape
    if shape != (width, width) or arrays["theta1"].size != width:
        raise SweepError(f"draw {source} has weights {shape} for a width of {width}")
    if len(arrays["x"]) < examples or arrays["x"].shape[1] != width:
        raise SweepError(
            f"draw {source} has examples {arrays['x'].shape}; needed: {examples} of {width}"
        )
    batches = None
    if batch is not None:
        batches = _batches_of(arrays, source, examples, batch, steps)
    return Draw(
        arrays["theta0"].astype(np.float64),
        arrays["theta1"].astype(np.float64).reshape(width),
        arrays["x"][:examples].astype(np.float64),
        arrays["y"].astype(np.float64).reshape(-1)[:examples],
        batches,
    )


def _from_seed(seed: int, width: int, examples: int, batch: int | None, steps: int) -> Draw:
    # A random stream for each array, so that the size of one array does not change another.
    streams = [np.random.default_rng([seed, part]) for part in range(5)]
    return Draw(
        streams[0].standard_normal((width, width)),
        streams[1].standard_normal(width),
        streams[2].standard_normal((examples, width)),
        streams[3].standard_normal(examples),
        None if batch is None else streams[4].integers(examples, size=(steps, batch)),
    )


def _read(path: Path, source: str) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError) as error:
        if is_pointer(path):
            raise SweepError(f"draw {pointer_message(path)}") from error
        raise SweepError(f"draw {source} cannot be read: {error}") from error
    missing = {"theta0", "theta1", "x", "y"} - set(arrays)
    if missing:
        raise SweepError(f"draw {source} lacks {', '.join(sorted(missing))}")
    for name in ("theta0", "theta1", "x", "y"):
        bad = np.argwhere(~np.isfinite(arrays[name]))
        if len(bad):
            raise SweepError(
                f"draw {source}: {name} has {len(bad):,} of {arrays[name].size:,} values that are"
                f" not finite (the first one, {arrays[name][tuple(bad[0])]}, at {bad[0].tolist()});"
                " take another file, or a seed"
            )
    return arrays


def _batches_of(
    arrays: dict[str, Any], source: str, examples: int, batch: int, steps: int
) -> NDArray[np.int64]:
    stored = arrays.get("batches")
    if stored is None or len(stored) < steps or stored.shape[1] != batch:
        has = "none" if stored is None else f"{stored.shape[0]} of {stored.shape[1]} examples"
        raise SweepError(f"draw {source} has {has} as minibatches; needed: {steps} of {batch}")
    batches = stored[:steps].astype(np.int64)
    if batches.min() < 0 or batches.max() >= examples:
        raise SweepError(f"minibatches of draw {source} name examples beyond the first {examples}")
    return batches
