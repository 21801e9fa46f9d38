"""How long the command line takes to answer: whole processes, wall time.

python benchmarks/startup.py
"""

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "import fractal_ray": ["-c", "import fractal_ray"],
    "fractal-ray --help": ["-m", "fractal_ray", "--help"],
    "fractal-ray plan (64 x 64)": [
        *("-m", "fractal_ray", "plan", "sweeps/d20_docvqa_matrix_unembedding.yaml")
    ],
    "an empty Python": ["-c", ""],
}
REPEATS = 9


def seconds(arguments: list[str]) -> float:
    """Measure the wall time of one process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    print(f"{'command':<28} {'median s':>9} {'min':>6} {'max':>6}")
    for name, arguments in COMMANDS.items():
        seconds(arguments)
        runs = [seconds(arguments) for _ in range(REPEATS)]
        median = statistics.median(runs)
        print(f"{name:<28} {median:>9.2f} {min(runs):>6.2f} {max(runs):>6.2f}")


if __name__ == "__main__":
    main()
