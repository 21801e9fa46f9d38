"""What a fine-tune costs: the product against a plain loop and against a process for every point.

    python benchmarks/finetune.py                    # CPU, 4 to 6 minutes: points per second
    python benchmarks/finetune.py --switches         # what each switch gains, on the device at hand
    python benchmarks/finetune.py --memory           # of a d20 step, counted without a card
    python benchmarks/finetune.py --device cuda      # d4, d12 and d20; the default with a card
    python benchmarks/finetune.py --shapes --device cpu --depths 1 --vocab-size 256 --row-tokens 32

On a CPU: 32 points of sweeps/quickstart.yaml, one worker, one thread, seconds of the CPU, ways
taking turns. With a card, or with `--shapes`: shapes of nanochat's models with random weights
(finetune_shapes.py), for which neither Ray nor anything of `fractal_ray` must be installed.
"""

import argparse
from pathlib import Path

import torch
from finetune_flops import peak_flops
from finetune_measure import about
from finetune_runs import ROWS, Case
from finetune_shapes import shapes_table

from nanochat.errors import NanochatError
from nanochat.model.config import GPTConfig

# The model and the data of sweeps/quickstart.yaml: 60 positions in a row, 57 % of them supervised.
TINY = Case(GPTConfig(128, 512, 2, 2, 1, 48), "full", 61, 8, "float32", 0.57)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--switches", action="store_true", help="the gain of each switch alone")
    what.add_argument("--memory", action="store_true", help="bytes of a step, counted")
    what.add_argument("--shapes", action="store_true", help="d4, d12, d20 on a CPU too")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--depths", type=int, nargs="+", help="of the models: 4 12 20, memory: 20")
    parser.add_argument("--rows", choices=ROWS, nargs="+", help="both; memory: full")
    parser.add_argument("--vocab-size", type=int, default=65536)
    parser.add_argument("--row-tokens", type=int, default=1024, help="of the longest row")
    parser.add_argument("--batch", type=int, default=48, help="rows; halved until it fits")
    parser.add_argument("--steps", type=int, default=8, help="of a run that is timed")
    parser.add_argument("--peak-tflops", type=float, help="of a card that is not known")
    parser.add_argument("--json", type=Path, help="file that gets a line for each row of shapes")
    options = parser.parse_args()
    counts = ("repeats", "batch", "steps")
    if wrong := [name for name in counts if getattr(options, name) < 1]:
        parser.error(f"--{wrong[0]} must be at least 1")
    tiny = not (options.switches or options.memory or options.shapes or torch.cuda.is_available())
    if tiny and (options.depths or options.rows):
        parser.error("--depths and --rows have no meaning for the tiny model: add --shapes")
    if options.row_tokens < 2:
        parser.error("--row-tokens must be at least 2")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no card here")
    return options


def cases(options: argparse.Namespace, depths: list[int], rows: tuple[str, ...]) -> list[Case]:
    tokens = options.row_tokens
    try:
        configs = [
            GPTConfig.from_depth(depth, vocab_size=options.vocab_size, sequence_len=tokens)
            for depth in options.depths or depths
        ]
    except NanochatError as error:
        raise SystemExit(str(error)) from error
    return [
        Case(config, kind, tokens, options.batch)
        for config in configs
        for kind in options.rows or rows
    ]


def main() -> None:
    options = arguments()
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cpu":
        torch.set_num_threads(1)
    shapes = options.shapes or (device.type == "cuda" and not options.memory | options.switches)
    if not shapes and (options.json or options.peak_tflops):
        raise SystemExit("--json and --peak-tflops are for the table of shapes: add --shapes")
    print(about(device) + "\n", flush=True)
    if shapes:
        card = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        given = options.peak_tflops
        peak = given * 1e12 if given else peak_flops(card)
        both = cases(options, [4, 12, 20], ROWS)
        shapes_table(both, device, options.steps, options.repeats, peak, options.json)
    elif options.memory:
        from finetune_memory import memory_table

        memory_table(cases(options, [20], ("full",)))
    elif options.switches:
        from finetune_switches import switches_table

        large = device.type == "cuda" or options.depths
        chosen = cases(options, [4, 20], ("full",)) if large else [TINY]
        switches_table(chosen, device, options.repeats)
    else:
        from finetune_tiny import tiny_tables  # Ray's dependencies, which a card's machine may lack

        tiny_tables(options.repeats)


if __name__ == "__main__":
    main()
