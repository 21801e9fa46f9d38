"""The workload `mlp`: networks of Sohl-Dickstein (arXiv 2402.06184), a tile of them at a time."""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal_ray.plane.axes import Point
from fractal_ray.plane.identity import Setting
from fractal_ray.plane.outcome import Criterion, RunRecord
from fractal_ray.workloads.base import Prepared
from fractal_ray.workloads.mlp.draw import Draw, make_draw
from fractal_ray.workloads.mlp.settings import MlpSettings

NUMERICS = "mlp-1"
"""Version of the mathematics of a run, so that old rows are not mistaken for new ones."""
_FUSED = 1 << 16
"""Largest number of entries of a hidden layer that the compiled steps keep in the cache."""
_LARGEST: float = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class MlpWorkload:
    """A workload that trains one small network at every point.

    Parameters
    ----------
    spec
        Settings of the network and its data, with the parameters that are not swept.
    x_param, y_param
        Parameters that the axes sweep: `eta0`, `eta1`, `eta` (both rates) or `w0_offset`.
    criterion
        The rule that labels a loss curve.
    threads
        Number of CPU threads of one worker.
    """

    spec: MlpSettings
    x_param: str
    y_param: str
    criterion: Criterion
    threads: int = 1

    @property
    def recipe(self) -> Mapping[str, Setting]:
        """Return every setting, without those that the axes sweep."""
        fields = self.spec.model_dump(exclude={"kind"}, exclude_none=True)
        fields["seed"] = self.spec.draw if isinstance(self.spec.draw, int) else 0
        return {k: v for k, v in fields.items() if k not in (self.x_param, self.y_param)}

    def prepare(self) -> Prepared:
        """Draw weights and examples, or read them.

        Raises
        ------
        SweepError
            As `make_draw`.
        """
        spec = self.spec
        draw = make_draw(
            spec.draw,
            width=spec.width,
            examples=spec.examples,
            batch=spec.batch,
            steps=spec.steps,
        )
        named = hashlib.sha256(f"{NUMERICS}\n{draw.fingerprint}".encode()).hexdigest()
        return Prepared(named[:32], draw)

    def open(self, shared: Draw, device: str) -> "MlpRunner":
        """Return a runner on `device`, with one copy of the data for all networks."""
        return MlpRunner(self, shared, device)


class MlpRunner:
    """The runner of the workload `mlp` on one worker."""

    def __init__(self, workload: MlpWorkload, draw: Draw, device: str) -> None:
        import torch

        from fractal_ray.workloads.mlp.net import Net

        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                "resources.gpu asks for a GPU and torch sees none on this worker;"
                " set resources.gpu: 0 to run on the CPU"
            )
        spec = workload.spec
        net = Net(spec.activation, spec.readout, spec.steps, spec.offset_mode)
        fused = device == "cpu" and _fusable(spec)
        if fused:
            from fractal_ray.workloads.mlp.fused import FusedTrainer

            self._trainer = FusedTrainer(net, draw, workload.threads)
        else:
            from fractal_ray.workloads.mlp.train import Trainer

            dtype = torch.float64 if spec.dtype == "float64" else torch.float32
            self._trainer = Trainer(net, draw, dtype, device)
        self._workload = workload
        # The two trainers round differently, so the rows of a dataset name theirs.
        processor = torch.cuda.get_device_name() if device == "cuda" else "cpu"
        self.device = "cpu, numba" if fused else processor

    def evaluate(self, points: Sequence[Point]) -> Iterator[RunRecord]:
        """Train all networks of a tile together, and divide the time evenly among them."""
        start = time.perf_counter()
        curves = self._train(points)
        seconds = (time.perf_counter() - start) / max(1, len(points))
        for curve in curves:
            yield self._record(curve, seconds)

    def _train(self, points: Sequence[Point]) -> NDArray[np.float64]:
        import torch

        workload = self._workload
        x = np.array([point.x for point in points], dtype=np.float64)
        y = np.array([point.y for point in points], dtype=np.float64)
        eta0, eta1, offset = settings(workload.spec, {workload.x_param: x, workload.y_param: y})
        threads = torch.get_num_threads()
        torch.set_num_threads(workload.threads)
        try:
            return self._trainer.losses(eta0, eta1, offset)
        finally:
            torch.set_num_threads(threads)

    def _record(self, curve: NDArray[np.float64], seconds: float) -> RunRecord:
        """Return the record of a loss curve.

        Losses beyond the range of float32 become its largest number. It is far above the value at
        which `measure` cuts them, and no window with one of them counts as improved.
        """
        finite = np.isfinite(curve)
        ended = None if finite.all() else int(np.argmin(finite))
        losses = np.minimum(curve[:ended], _LARGEST).astype(np.float32)
        record = RunRecord.from_curve(
            losses,
            self._workload.criterion,
            diverged_step=ended,
            final_loss=float(curve[-1] if ended is None else curve[ended]),
            steps=len(losses),
            tokens_seen=0,
            seconds=seconds,
        )
        stored = self._workload.spec.kept_losses
        if stored == "all" or len(losses) <= stored + 1:
            return record
        tail = losses[:0] if ended is not None else losses[-stored:]
        return replace(record, losses=np.concatenate([losses[:1], tail]))


def _fusable(spec: MlpSettings) -> bool:
    """Return True if the compiled steps are faster, as measured (docs/benchmarks.md)."""
    fits = spec.examples > 1 and spec.width * spec.examples <= _FUSED
    return fits and spec.dtype == "float64" and find_spec("numba") is not None


def settings(spec: MlpSettings, swept: Mapping[str, Any]) -> tuple[NDArray[np.float64], ...]:
    """Return eta0, eta1 and the offset of W0, (networks,) float64 each.

    A parameter that no axis sweeps comes from the spec.
    """
    shape = np.shape(next(iter(swept.values())))
    named = {name: getattr(spec, name) for name in ("eta0", "eta1", "w0_offset")} | dict(swept)
    if "eta" in swept:
        named["eta0"] = named["eta1"] = swept["eta"]
    values = (
        named["eta0"],
        named["eta1"],
        0.0 if named["w0_offset"] is None else named["w0_offset"],
    )
    return tuple(np.broadcast_to(np.asarray(v, np.float64), shape).copy() for v in values)
