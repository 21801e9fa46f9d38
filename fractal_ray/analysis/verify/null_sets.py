"""Null sets, whose dimension is known, sent through the stages of a frame.

A dimension of the real border says something only if it differs from the dimensions that the
frame's planners and estimator give for null sets: smooth curves (D = 1), quadratic bowls (D = 1)
and labels drawn by chance (D = 2). science.md names them.
"""

import random
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fractal_ray.analysis.replay import Replayed, replay
from fractal_ray.plane.axes import Axis, Frame, Point
from fractal_ray.plane.hashing import scramble
from fractal_ray.plane.outcome import Outcome
from fractal_ray.planners.base import Result
from fractal_ray.spec.frames import SweepFrame
from fractal_ray.spec.sweep_spec import SweepSpec

SMOOTH: Final = tuple(f"{kind} {number}" for kind in ("curve", "bowl") for number in (1, 2, 3, 4))
NOISE: Final = "label noise"
NULLS: Final = (*SMOOTH, NOISE)
"""Names of all null sets. Smooth sets differ in position, rotation and size."""

_NOISE_CELLS: Final = 512
"""Most cells along the longer side for label noise: all its cells are boundary cells, so every node
of its lattice is run."""

Values = NDArray[np.float64]


def replay_null(spec: SweepSpec, lattice: SweepFrame, null: str, share: float) -> Replayed:
    """Send a null set through the stages of a frame.

    Parameters
    ----------
    spec, lattice
        The spec with the stages, and the frame whose lattice is used. Label noise is refined to 512
        cells along a side at most.
    null
        One of `NULLS`.
    share
        Share of the nodes of label noise that are labelled yes, 0 to 1.
    """
    unit = Axis("x", "linear", 0.0, 1.0), Axis("y", "linear", 0.0, 1.0)
    old = lattice.frame
    frame = Frame(old.id, *unit, old.cells_x, old.cells_y)
    lattice = replace(lattice, frame=frame)
    if null == NOISE and lattice.refinement is not None:
        spec = _shallower(spec, lattice)

    def answers(points: Sequence[Point]) -> list[Result]:
        x, y = (np.array([getattr(point, side) for point in points]) for side in "xy")
        labels = _yes(null, x, y, share)
        return [
            (point, Outcome.TRAINED if is_yes else Outcome.DIVERGED)
            for point, is_yes in zip(points, labels.tolist(), strict=True)
        ]

    replayed = replay(spec, lattice, answers)
    assert replayed is not None  # every point is answered
    return replayed


def _shallower(spec: SweepSpec, lattice: SweepFrame) -> SweepSpec:
    """Return the spec with the frame's refinement cut to `_NOISE_CELLS` cells along a side."""
    assert lattice.refinement is not None
    side = max(lattice.frame.cells_x, lattice.frame.cells_y)
    levels = max(1, (_NOISE_CELLS // side).bit_length() - 1)
    stages = list(spec.stages)
    refine = stages[lattice.refinement].refine
    assert refine is not None
    changed = refine.model_copy(update={"levels": min(levels, refine.levels)})
    stages[lattice.refinement] = stages[lattice.refinement].model_copy(update={"refine": changed})
    return spec.model_copy(update={"stages": tuple(stages)})


def _yes(null: str, x: Values, y: Values, share: float) -> NDArray[np.bool_]:
    if null == NOISE:
        return _noise(x, y, share)
    kind, number = null.split()
    rng = random.Random(null)
    angle, phase, size = (rng.random() for _ in range(3))
    turn = 2 * np.pi * angle
    u = (x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn)
    v = (y - 0.5) * np.cos(turn) - (x - 0.5) * np.sin(turn)
    if kind == "curve":
        return v < (0.05 + 0.05 * int(number)) * np.sin(2 * np.pi * (u + phase))
    a, b = 0.15 + 0.2 * size, 0.2 + 0.15 * phase
    return (u / a) ** 2 + (v / b) ** 2 < 1


def _noise(x: Values, y: Values, share: float) -> NDArray[np.bool_]:
    """Return labels drawn by a hash of each place, so that every stage reads one label there."""
    bits = [
        scramble(scramble(_bits(one)) ^ _bits(other))
        for one, other in zip(x.tolist(), y.tolist(), strict=True)
    ]
    return np.array(bits, dtype=np.float64) < share * 2.0**64


def _bits(value: float) -> int:
    return struct.unpack("<Q", struct.pack("<d", value))[0]
