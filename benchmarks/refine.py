"""What refinement finds of a border, for how many points; what planning costs.

    python benchmarks/refine.py                      # all tables, about 20 minutes on one core
    python benchmarks/refine.py --tables recall      # one of: recall sizes others audit bound
                                                     # cost busy

Lattices of 1024 x 1024 cells that start from 32 x 32; truth is the dense raster; a boundary cell
is one whose corners differ. Every row is the mean over five offsets of the lattice against the set
(of the random sets: five seeds as well, none of which was used to choose the halo's radii). The
share counts every point, those of the audit included. Only the table `bound` has probes, and sets
of its own (`refine_bound.py`). `others` compares with python-adaptive's Learner2D if it is
installed (`pip install '.[bench]'`).
"""

import argparse
import itertools
import statistics
from collections import defaultdict
from collections.abc import Callable

import numpy as np
from refine_bound import bound_table
from refine_cases import (
    CASES,
    CELLS,
    LEVELS,
    OFFSETS,
    START,
    Case,
    means,
    mixed,
    refined,
    score,
    truth,
)
from refine_cost import busy_table, cost_table
from refine_others import others_table
from scipy import ndimage

from fractal_ray.dimension.audit import audit_report
from fractal_ray.planners.refine import RefinePlanner


def recall_table() -> None:
    print("| set | true cells | rules | recall | share | precision | D found | D dense | asked |")
    print("|---|---|---|---|---|---|---|---|---|")
    ways = {"follow": (0, 0.0), "halo 1": (1, 0.02), "halo 2": (2, 0.02)}
    for case in CASES:
        cells = statistics.fmean(mixed(truth(case, k)).mean() * 100 for k in range(len(OFFSETS)))
        for way, (halo, audit) in ways.items():
            rows = []
            for number in range(len(OFFSETS)):
                found, measured, _ = refined(case, number, halo, audit)
                rows.append(score(found, int(measured.sum()), truth(case, number)))
            recall, share, precision, d, dense = means(rows)
            goal = case.goal if way == "halo 1" else ""
            print(
                f"| {case.title} | {cells:.2f} % | {way} | {recall:.4f} | {share:.2f} % |"
                f" {precision:.3f} | {d:.3f} | {dense:.3f} | {goal} |",
                flush=True,
            )


def sizes_table() -> None:
    """Print recall by component size; a component is boundary cells joined by their sides."""
    edges = [8, 64, 512]
    names = ["1 to 8", "9 to 64", "65 to 512", "above"]
    print("| set | rules | " + " | ".join(f"{name} cells: share, recall" for name in names) + " |")
    print("|---|---|" + "---|" * len(names))
    for case, halo in itertools.product(CASES, (0, 1, 2)):
        totals, hits = np.zeros(4, dtype=np.int64), np.zeros(4, dtype=np.int64)
        for number in range(len(OFFSETS)):
            true = mixed(truth(case, number))
            found, *_ = refined(case, number, halo, 0.02 if halo else 0.0)
            parts = np.asarray(ndimage.label(true, output=np.int32)[0], dtype=np.int64)  # type: ignore[index]
            group = np.digitize(np.bincount(parts.ravel())[parts], edges, right=True)
            totals += np.bincount(group[true], minlength=4)
            hits += np.bincount(group[true & found], minlength=4)
        columns = [
            f"{100 * n / totals.sum():.1f} %, {h / n:.3f}" if n else "none"
            for n, h in zip(totals, hits, strict=True)
        ]
        print(f"| {case.title} | halo {halo} | " + " | ".join(columns) + " |", flush=True)


def audit_table() -> None:
    print("| set | halo | audited | surprises | rate, 95 % | really | found | corrected | true |")
    print("|---|---|---|---|---|---|---|---|---|")
    for case, halo in itertools.product(CASES, (0, 1)):
        rows = defaultdict(list)
        for number in range(len(OFFSETS)):
            *_, planner = refined(case, number, halo, 0.02)
            report = audit_report(planner)
            rows["audited"].append(report.audited)
            rows["surprises"].append(report.surprises)
            rows["low"].append(report.low)
            rows["rate"].append(report.rate)
            rows["high"].append(report.high)
            rows["really"].append(missed_rate(case, number, halo))
            rows["found"].append(report.found[-1])
            rows["corrected"].append(report.corrected[-1])
            rows["true"].append(mixed(truth(case, number)).sum())
        m = {key: statistics.fmean(values) for key, values in rows.items()}
        print(
            f"| {case.title} | {halo} | {m['audited']:.0f} | {m['surprises']:.1f} |"
            f" {100 * m['rate']:.2f} % ({100 * m['low']:.2f} to {100 * m['high']:.2f}) |"
            f" {100 * m['really']:.2f} % | {m['found']:.0f} | {m['corrected']:.0f} |"
            f" {m['true']:.0f} |",
            flush=True,
        )


def missed_rate(case: Case, number: int, halo: int) -> float:
    """Compute from the truth the share that the audit estimates: audit every skipped cell."""
    *_, planner = refined(case, number, halo, 0.0)
    labels, tree = truth(case, number).ravel(), planner.tree
    seen = []
    for cell in skipped_cells(planner):
        nodes = list(tree.nodes.nine(*cell))
        y, x = np.divmod(nodes, tree.nodes.stride)
        seen.append(len(set(labels[y * (CELLS + 1) + x].tolist())) > 1)
    return statistics.fmean(seen)


def skipped_cells(planner: RefinePlanner) -> list[tuple[int, int, int]]:
    tree, whole = planner.tree, list(itertools.product([0], range(START), range(START)))
    found = []
    while whole:
        level, x, y = cell = whole.pop()
        if not tree.is_boundary(*cell):
            if any(node not in tree.nodes.codes for node in tree.nodes.nine(*cell)):
                found.append(cell)
        elif level + 1 < LEVELS:
            whole += [(level + 1, 2 * x + i, 2 * y + j) for i in (0, 1) for j in (0, 1)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--learner-points", type=int, default=12_000)
    tables: dict[str, Callable[[argparse.Namespace], None]] = {
        "recall": lambda _: recall_table(),
        "sizes": lambda _: sizes_table(),
        "others": lambda options: others_table(options.learner_points),
        "audit": lambda _: audit_table(),
        "bound": lambda _: bound_table(),
        "cost": lambda _: cost_table(),
        "busy": lambda _: busy_table(),
    }
    parser.add_argument("--tables", nargs="+", choices=tables, default=list(tables))
    options = parser.parse_args()
    for table in options.tables:
        print(f"\n{table}\n")
        tables[table](options)


if __name__ == "__main__":
    main()
