"""The workload `mlp` beside the published notebook's own runs of its six experiments.

    OMP_NUM_THREADS=1 python benchmarks/mlp_golden.py           # a minute on one core

From the root of the repository: it reads sweeps/paper and tests/golden. Prints how many of the
33 x 33 labels differ from the notebook's, how many of ours one ulp of the axes' values changes, and
where the measure agrees to 1e-6: at all nodes, and at those whose measure that ulp leaves as it is.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fractal_ray.engine.workload_of import workload_of
from fractal_ray.plane.axes import Point
from fractal_ray.spec.yaml_file import load_spec
from fractal_ray.workloads.mlp.measure import measure

FILES = {"offset": "init"}  # the notebook's own name for it
GOLDEN = Path("tests/golden/sohl_dickstein")


def measured(path: Path, factor: float) -> NDArray[np.float64]:
    """Compute (33, 33) measures with the values of both axes times `factor`."""
    spec = load_spec(path)
    workload = workload_of(spec)
    runner = workload.open(workload.prepare().shared, "cpu")
    nodes = list(spec.plan.frame(0).points())
    moved = [Point(0, 0, p.ix, p.iy, p.x * factor, p.y * factor) for p in nodes]
    found = np.empty((33, 33))
    for point, record in zip(nodes, runner.evaluate(moved), strict=True):
        found[point.iy, point.ix] = measure(record.losses, 500)
    return found


def main() -> None:
    print("| experiment | labels that differ | ours changed by one ulp | measure, all | regular |")
    print("|---|---|---|---|---|")
    for path in sorted(Path("sweeps/paper").glob("[!z]*.yaml")):  # without the zooms
        with np.load(GOLDEN / f"{FILES.get(path.stem, path.stem)}.npz") as file:
            theirs = file["measure"]
        ours, nudged = (measured(path, factor) for factor in (1.0, 1 + 2.0**-52))
        said = ~np.isnan(theirs)  # inf * 0 in the notebook, where loss / first loss overflows
        close = np.isclose(ours, theirs, rtol=1e-6, atol=0)
        regular = said & np.isclose(ours, nudged, rtol=1e-9, atol=0)
        print(
            f"| {path.stem} | {np.sum((ours < 0) != (theirs < 0))} |"
            f" {np.sum((ours < 0) != (nudged < 0))} | {close[said].mean():.1%} |"
            f" {close[regular].mean():.1%} of {regular.sum()} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
