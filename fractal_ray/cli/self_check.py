"""Self-test of `verify`: all its steps, on sets whose correct verdicts are known."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from fractal_ray.analysis.frame_data import read_frame
from fractal_ray.analysis.verify.kept_sheet import gather, sample_of
from fractal_ray.analysis.verify.reading import UNRESOLVED
from fractal_ray.analysis.verify.sheet import FRACTAL, SMOOTH, Sheet
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from fractal_ray.workloads.maps.known_sets import known_set

CASES: Final = {
    "line": SMOOTH,
    "disc": SMOOTH,
    "basilica": FRACTAL,
    "rabbit": FRACTAL,
    "weierstrass": FRACTAL,
    "fbm": FRACTAL,
    "noise": UNRESOLVED,
    "liu_redrawn": UNRESOLVED,
}
"""Known sets and their correct verdicts."""


@dataclass(frozen=True)
class Tested:
    """Verdict of `verify` on a known set, beside the correct one."""

    set: str
    truth: float | None
    verdict: str
    expected: str
    value: float | None
    interval: tuple[float, float] | None

    @property
    def passed(self) -> bool:
        """Return True if the verdict is correct and the interval, if any, holds the dimension."""
        if self.verdict != self.expected:
            return False
        if self.verdict == UNRESOLVED or self.truth is None or self.interval is None:
            return True
        return self.interval[0] <= self.truth <= self.interval[1]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**asdict(self), "passed": self.passed}

    def __str__(self) -> str:
        """Return the result as one line."""
        truth = "" if self.truth is None else f" (true: {self.truth:.4g})"
        dimension = ""
        if self.verdict == self.expected != UNRESOLVED and self.interval is not None:
            low, high = self.interval
            dimension = f", D = {self.value:.3f} ({low:.3f} to {high:.3f})"
        word = "passed" if self.passed else f"FAILED, expected {self.expected}"
        return f"{self.set}{truth}: {self.verdict}{dimension}: {word}"


def self_test(say: Callable[[Tested], None]) -> list[Tested]:
    """Sweep and verify every case in this process; call `say` with each result."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES:
            results.append(tested(name, sheet_of(name, folder)))
            say(results[-1])
    return results


def tested(name: str, sheet: Sheet) -> Tested:
    """Compare a verification sheet with the known answer of a case."""
    estimate = sheet.evidence.estimate
    return Tested(
        set=name,
        truth=known_set(name).dimension,
        verdict=sheet.verdict,
        expected=CASES[name],
        value=None if estimate is None else estimate.value,
        interval=None if estimate is None else estimate.interval,
    )


def sheet_of(name: str, folder: str, levels: int = 3, lines: int = 32) -> Sheet:
    """Sweep a known set into a folder, with lines across it, and verify it."""
    x_min, x_max, y_min, y_max = known_set(name).window
    raw = {
        "name": name,
        "storage": folder,
        "workload": {"kind": "map", "set": name},
        "axes": {
            "x": {"param": "x", "scale": "linear", "min": x_min, "max": x_max},
            "y": {"param": "y", "scale": "linear", "min": y_min, "max": y_max},
        },
        "stages": [
            {"grid": {"points": 33}},
            {"refine": {"levels": levels}},
            {"transects": {"count": lines, "levels": 12}},
        ],
    }
    sweep = Sweep(parse_spec(raw))
    sweep.run(engine="local")
    data = read_frame(sweep)
    sample = sample_of(data)
    sweep.run_checks(data.lattice.frame.id, sample, engine="local")
    return gather(data, sample)
