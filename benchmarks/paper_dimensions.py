"""D of the six experiments of arXiv 2402.06184 over eight zoom frames each, beside the paper's.

    OMP_NUM_THREADS=1 python benchmarks/paper_dimensions.py          # half an hour of one core
    OMP_NUM_THREADS=1 python benchmarks/paper_dimensions.py tanh relu --storage /tmp/paper

Each frame is 8 times as narrow as the one before, from 1/8 of the overview to 1/8^8 of it, and lies
where that one has the most border (with `--pick boundary-point`: around one point of the border of
the overview, drawn evenly). It is a grid of 65 x 65 networks, 12 lines across, and the runs
of its verification sheet. D is by the recommended estimator (transects); `sohl-dickstein-2024`
reads the grid. Datasets and sheets are kept below --storage, so the same command goes on, and once
all is there it only prints the tables.
"""

import argparse
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fractal_ray.analysis.frame_data import read_frame
from fractal_ray.analysis.verify.kept_sheet import gather, keep, sample_of
from fractal_ray.analysis.verify.sheet import FRACTAL, Sheet
from fractal_ray.dimension import published
from fractal_ray.dimension.published import Published
from fractal_ray.dimension.result import Estimate
from fractal_ray.dimension.transects import from_flips
from fractal_ray.planners.transects import ChordFlips, count_flips
from fractal_ray.sweep import Sweep

PAPER = {
    "tanh": 1.66,
    "relu": 1.20,
    "identity": 1.17,
    "minibatch": 1.55,
    "single": 1.41,
    "offset": 1.98,
}
STAGES = (
    "stages=[{grid: {points: 33}}, {refine: {levels: 3}},"
    " {zoom: {points: 65, factor: 8, depth: 8, pick: PICK}},"
    " {transects: {count: 12, levels: 9, dense: 6}}]"
)
CHECKED = 100  # boundary points of a frame that are run again


@dataclass(frozen=True)
class Frame:
    """Results of one zoom frame."""

    times: float
    boundary_cells: int
    sheet: Sheet
    transects: Estimate
    published: Published
    flips: tuple[ChordFlips, ...]


def measured(name: str, pick: str, storage: str) -> list[Frame]:
    """Run an experiment's frames and their sheets, or go on with them; the widest frame first."""
    stages, folder = STAGES.replace("PICK", pick), f"name=dimension-{name}-{pick}"
    changes = (stages, folder, "workload.kept_losses=20", f"storage={storage}")
    sweep = Sweep.open(f"sweeps/paper/{name}.yaml", changes)
    start = time.process_time()
    sweep.run(engine="local")
    table = sweep.table()
    frames, times, checks = [], 1.0, 0
    for number, lattice in sweep.frames.items():
        if lattice.zoom is None:
            continue
        data = read_frame(sweep, number, table=table)
        sample = sample_of(data, CHECKED)
        if sample.points:
            sweep.run_checks(lattice.frame.id, sample, engine="local")
        sheet = gather(data, sample)
        checks += sum(check.runs for check in sheet.evidence.flips)
        keep(data, sheet)
        times *= lattice.zoom.factor
        assert data.replayed is not None  # the sweep is done
        given = data.labels()
        frames.append(
            Frame(
                times,
                sheet.evidence.boundary_cells,
                sheet,
                data.estimates()["transects"],
                published.estimate("sohl-dickstein-2024", given == 1),
                tuple(count_flips(planner) for planner in data.replayed.transects),
            )
        )
        print(f"{name}, {times:g} times: {sheet.verdict}; {frames[-1].transects}", flush=True)
    seconds = time.process_time() - start
    print(f"{name}: {table.num_rows:,} networks and {checks:,} checks; {seconds:.0f} s of CPU now")
    return frames


def d(estimate: Estimate) -> str:
    if estimate.value is None or estimate.interval is None:
        return "none"
    return f"{estimate.value:.2f} ({estimate.interval[0]:.2f} to {estimate.interval[1]:.2f})"


def print_frames(found: dict[str, list[Frame]]) -> None:
    """Print D of every frame by transects, its verdict, and the published estimator's value."""
    print("\n| narrower by | " + " | ".join(found) + " |")
    print("|---|" + "---|" * len(found))
    for row in zip(*found.values(), strict=False):
        cells = [f"{d(f.transects)}, {f.sheet.verdict}; {f.published.dimension:.2f}" for f in row]
        print(f"| {row[0].times:,.0f} | " + " | ".join(cells) + " |")


def print_summary(found: dict[str, list[Frame]]) -> None:
    """Print a line per experiment. The paper takes the median of all frames' local slopes."""
    print(
        "\n| experiment | paper | `sohl-dickstein-2024` | transects | median of frames |"
        " verdicts | transects, fractal frames |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, frames in found.items():
        slopes = np.concatenate([frame.published.slopes for frame in frames])
        values = [f.transects.value for f in frames if f.transects.value is not None]
        rough = [frame for frame in frames if frame.sheet.verdict == FRACTAL]
        verdicts = Counter(frame.sheet.verdict for frame in frames)
        print(
            f"| {name} | {PAPER[name]:.2f} | {np.nanmedian(slopes):.2f} | {d(pooled(frames))} |"
            f" {np.median(values):.2f} |"
            f" {', '.join(f'{count} {verdict}' for verdict, count in verdicts.items())} |"
            f" {d(pooled(rough)) if rough else 'none'} |"
        )


def pooled(frames: list[Frame]) -> Estimate:
    """Fit the lines of several frames together; each frame is a group of the bootstrap."""
    return from_flips([flips for frame in frames for flips in frame.flips])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=", ".join(PAPER))
    parser.add_argument("--pick", default="densest", choices=["densest", "boundary-point"])
    parser.add_argument("--storage", default="results", type=Path)
    arguments = parser.parse_args()
    if unknown := set(arguments.experiments) - set(PAPER):
        parser.error(f"unknown: {', '.join(unknown)}; allowed: {', '.join(PAPER)}")
    results = {
        name: measured(name, arguments.pick, str(arguments.storage))
        for name in PAPER
        if name in arguments.experiments or not arguments.experiments
    }
    print_frames(results)
    print_summary(results)
