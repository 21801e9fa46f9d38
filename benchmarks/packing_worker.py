"""One worker of benchmarks/packing.py: a process that fine-tunes for a while and tells its steps.

Messages are plain dicts: "ready" when all is built and warm, then, after any message from the
other side, what was measured; or "fault" and what it was.
"""

import os
import platform
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nanochat.data.examples import Examples
    from nanochat.train.batches import Batches

MEMORY = "out of memory"
LONGEST = 1024
SUPERVISED = 0.05
SET = 16  # batches in an epoch: every measurement is of whole epochs, so that tokens are exact
PIECE = 2.0  # seconds of one fine-tune; a point's is longer, and its start is counted too


@dataclass(frozen=True)
class Job:
    """Task of a worker; `seconds` of it are measured."""

    depth: int
    device: str
    vocab_size: int
    seconds: float
    recipe: Mapping[str, Any]
    kernels: tuple[str, ...]


def fine_tune(connection: Connection, job: Job, environment: Mapping[str, str]) -> None:
    """Build a model, warm up, report it, wait for the others, fine-tune for `job.seconds`."""
    with _telling(connection, environment) as tell:
        subject = Subject(job)
        subject.epochs(1)
        start = time.perf_counter()
        subject.epochs(1)
        piece = min(PIECE, job.seconds / 4)
        piece_epochs = max(1, round(piece / (time.perf_counter() - start)))
        tell({"ready": True, "machine": _machine(job.device)})
        connection.recv()
        steps = SET * _count(lambda: subject.epochs(piece_epochs), job.seconds) * piece_epochs
        tell({"steps": steps, "tokens": steps * subject.step_tokens, **subject.memory()})


def probe(connection: Connection, job: Job, environment: Mapping[str, str]) -> None:
    """Measure what `resources.gpu: auto` measures, in a worker alone on the card."""
    with _telling(connection, environment) as tell:
        from fractal_ray.workloads.nanochat.footprint import busy_share, measure

        subject = Subject(job)
        found = asdict(measure(subject.two_largest_steps))
        tell({"footprint": {**found, "busy": busy_share(lambda: subject.epochs(1))}})


class Subject:
    """A model with random weights, and batches in the shape of DocVQA's."""

    def __init__(self, job: Job) -> None:
        import torch

        if job.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("torch sees no GPU; give --device cpu")
        from nanochat.model.config import GPTConfig
        from nanochat.model.gpt import GPT
        from nanochat.train.kernels import Kernels
        from nanochat.train.recipe import Recipe
        from nanochat.train.stepper import Stepper

        config = GPTConfig.from_depth(job.depth, vocab_size=job.vocab_size, sequence_len=LONGEST)
        with torch.device(job.device):
            model = GPT(config)
        model.init_weights(torch.Generator(job.device).manual_seed(0))
        self.recipe = Recipe.from_mapping(job.recipe)
        self.device = job.device
        self.stepper = Stepper(model, [self.recipe], Kernels(**dict.fromkeys(job.kernels, True)))
        rows = examples(SET * self.recipe.device_batch_size, job.vocab_size)
        self.batches = self._batches(rows)

    @property
    def step_tokens(self) -> float:
        """Compute the mean tokens of a step over an epoch, padding not counted."""
        batches = [self.batches.filled(index) for index in range(SET)]
        return sum(batches) / SET * self.recipe.accumulation

    def epochs(self, count: int) -> None:
        """Fine-tune `SET` steps for each epoch."""
        self._finetune(self.batches, SET * count)

    def two_largest_steps(self) -> None:
        """Run two steps on the longest rows, as the workload's probe; the second has states."""
        rows = self.batches.examples
        size = 2 * self.recipe.device_batch_size
        longest = rows.take(np.argsort(-rows.lengths, kind="stable")[:size])
        self._finetune(self._batches(longest), 2)

    def memory(self) -> dict[str, Any]:
        """Measure bytes: `peak` of this worker, `used` of the card by all workers."""
        import torch

        if self.device == "cpu":
            unit = 1 if sys.platform == "darwin" else 1024
            return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "used": None}
        free, total = torch.cuda.mem_get_info()
        return {"peak": torch.cuda.max_memory_reserved(), "used": total - free}

    def _batches(self, rows: "Examples") -> "Batches":
        from nanochat.train.batches import make_batches

        return make_batches(rows, self.recipe, 0, self.device, self.stepper.kernels)

    def _finetune(self, batches: "Batches", steps: int) -> None:
        import torch

        from nanochat.train.finetune import finetune_side_by_side

        recipe = self.recipe.with_values({"num_iterations": steps})
        self.stepper.reset([recipe])
        (result,) = finetune_side_by_side(self.stepper, batches, [recipe])
        if result.diverged_step is not None:
            raise RuntimeError(f"diverged at step {result.diverged_step}; lower the learning rates")
        if self.device == "cuda":
            torch.cuda.synchronize()


def examples(count: int, vocab_size: int) -> "Examples":
    """Make random tokens in rows as long as DocVQA's: mean about 400, the answer at the end."""
    from nanochat.data.examples import Examples

    random = np.random.default_rng(0)
    draws = np.sort(np.clip(random.gamma(2.5, 163.0, 4096).astype(np.int64), 32, LONGEST))
    # Evenly through the distribution, so that few rows have its mean too.
    lengths = random.permutation(draws[(np.arange(count) * 2 + 1) * len(draws) // (2 * count)])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    answer: NDArray[np.bool_] = place >= np.repeat(lengths - np.rint(SUPERVISED * lengths), lengths)
    ids = random.integers(vocab_size, size=offsets[-1], dtype=np.int32)
    return Examples(ids, answer.astype(np.uint8), offsets)


def _count(piece: Callable[[], None], seconds: float) -> float:
    """Count the runs of `piece` in a time; the last, unfinished one counts by its share.

    So every worker is at work until the time is over.
    """
    start = time.perf_counter()
    done, ended = 0, 0.0
    while True:
        began = ended
        piece()
        ended = time.perf_counter() - start
        if ended >= seconds:
            return done + (seconds - began) / (ended - began)
        done += 1


@contextmanager
def _telling(
    connection: Connection, environment: Mapping[str, str]
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a call that sends a worker's reports; send an exception as a fault and end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process ends it
    os.environ.update(environment)  # before CUDA starts
    try:
        yield connection.send
    except (EOFError, BrokenPipeError):
        pass  # the other side has given up
    except Exception as error:
        connection.send({"fault": fault(error)})


def fault(error: BaseException) -> str:
    """Describe an error in one line; `MEMORY` if memory ran out."""
    text, kind = str(error).strip(), type(error).__name__
    # A full card is torch's OutOfMemoryError, or a word in an error of CUDA or cuBLAS.
    if "Memory" in kind or MEMORY in text.lower() or "ALLOC_FAILED" in text:
        return MEMORY
    return f"{kind}: {text.splitlines()[0] if text else 'no message'}"


def _machine(device: str) -> dict[str, str]:
    import torch

    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
