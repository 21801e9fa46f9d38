"""Every reader of users' files and settings: it accepts an odd input, or refuses it in words.

Nothing but errors of this project may come out of a reader. A failure names the reader and the
seed of the mutation; the same seed makes the same mutation again.
"""

import contextlib
import random
import shutil
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fractal_ray.analysis.frame_data import read_frame
from fractal_ray.analysis.verify.kept_sheet import read_sheet, sheet_path
from fractal_ray.dataset import driver_lease
from fractal_ray.dataset.baseline_file import BASELINE, read_baseline, write_baseline
from fractal_ray.dataset.frames_file import read_zooms
from fractal_ray.engine.claim import own_header, refuse_other_zooms
from fractal_ray.errors import SweepError
from fractal_ray.plane.baseline import Baseline
from fractal_ray.report.sentences import checks, day, estimate_of
from fractal_ray.spec.yaml_file import load_spec, parse_spec
from fractal_ray.spec.yaml_loader import parse_yaml
from fractal_ray.sweep import Sweep
from fractal_ray.tracking.target import find_target
from nanochat.data.conversations import load_conversations
from nanochat.errors import NanochatError
from nanochat.files.base_dir import base_dir
from nanochat.finetune_run.settings import VARIABLES, parse_settings
from nanochat.model.checkpoint import load_checkpoint, save_checkpoint
from nanochat.model.gpt import GPT, GPTConfig
from nanochat.sharing.transformers_tokenizer import export_tokenizer, import_tokenizer
from nanochat.tokenizer.tokenizer import Tokenizer
from tests.odd_inputs import mutated, mutated_text, odd_text

REPOSITORY = Path(__file__).parent.parent
DATASETS = REPOSITORY / "tests" / "golden" / "datasets"
SEED = 20_261_129
Reader = Callable[[random.Random], Any]
KEYS = (
    "name", "storage", "points_per_tile", "trials", "axes.x.min", "axes.y", "stages", "label",
    "stages.0.grid.points", "stages.1", "resources.cpu", "workload.kind", "workload.parameters",
    "workload.parameters.stretch_x", "tracking.wandb.tags", "cost.tokens_per_second", "new.key",
)  # fmt: skip
ROWS = "".join(
    f'{{"messages": [{{"role": "user", "content": "{n}"}},'
    f' {{"role": "assistant", "content": [{{"type": "text", "text": "{n}"}}]}}]}}\n'
    for n in range(4)
)


def of_file(file: Path, read: Callable[[], Any]) -> Reader:
    """Return a reader of mutations of a file."""
    content = file.read_bytes()

    def attempt(rng: random.Random) -> None:
        file.write_bytes(mutated(content, rng))
        try:
            read()
        finally:
            file.write_bytes(content)

    return attempt


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    """Return all readers by name, each with files of its own."""
    folder = tmp_path_factory.mktemp("odd")
    zooms, trained = folder / "zooms", folder / "nanochat"
    shutil.copytree(DATASETS / "zooms", zooms)
    shutil.copytree(DATASETS / "nanochat", trained)
    spec_file = folder / "spec.yaml"
    spec_text = (DATASETS / "map.yaml").read_text()
    spec = parse_spec(parse_yaml(spec_text))
    sweep = Sweep.open(str(trained))
    data = read_frame(sweep)
    part = next(trained.glob("points/**/*.parquet"))
    driver_file = trained / driver_lease.FILE
    with driver_lease.hold_lease(sweep.store()):
        pass
    curves = {(1e-4,): np.linspace(2, 1, 9, dtype=np.float32), (1e-2,): np.ones(9, np.float32)}
    write_baseline(sweep.store(), Baseline(("x",), curves, 1.5, 64))
    tokenizer = Tokenizer.train(["one two three", "two four"] * 20, 275)
    tokenizer.save(folder / "ours")
    export_tokenizer(tokenizer, folder / "theirs", 64)
    model = GPT(GPTConfig(16, 512, 1, 1, 1, 64), vocab_rows=512)
    model.init_weights(torch.Generator().manual_seed(0))
    meta = save_checkpoint(folder / "model", model, 1, {"val_loss": 1.0, "user": {"a": [1]}})
    rows = folder / "train.jsonl"
    rows.write_text(ROWS)

    def read_yaml(rng: random.Random) -> None:
        text = mutated_text(spec_text, rng)
        spec_file.write_bytes(text.encode(errors="surrogateescape"))
        Sweep(load_spec(spec_file)).store().is_empty()

    def read_setting(rng: random.Random) -> None:
        key = rng.choice(KEYS)
        setting = f"{key}={odd_text(rng)}"
        changed = parse_spec(
            parse_yaml(spec_text), [mutated_text(setting, rng) if rng.random() < 0.3 else setting]
        )
        Sweep(changed).store().is_empty()

    def read_header() -> None:
        opened = Sweep.open(str(trained))
        header = opened.header() or {}
        day(header.get("created_at"))
        opened.is_of_this_spec()
        own_header(opened.spec, opened.store(), "other", {})

    def read_the_baseline() -> None:
        baseline = read_baseline(sweep.store())
        rule = spec.label_rule(baseline)
        f"{rule} {baseline.val_loss or 0:.2f} {baseline.width or 0:d}"
        for values, losses in baseline.curves.items():
            f"{[f'{value:g}' for value in values]} {losses.mean():.2f}"

    def read_frames() -> None:
        opened = Sweep.open(str(zooms))
        header = opened.header() or {}
        for frame in opened.frames.values():
            frame.frame.x.values(frame.frame.cells_x)
        refuse_other_zooms(opened.spec, opened.store(), read_zooms(opened.store()), header["spec"])

    def read_the_sheet() -> None:
        sheet = read_sheet(data)
        if sheet is None:
            return
        f"{sheet['dimension'] or 0:.2f} {'; '.join(sheet['reasons'])}"
        for each in sheet["evidence"]["flips"]:
            f"{each['low'] or 0:.2f} {each['high'] or 0:.2f}"
        try:
            checks(sheet)
            estimate_of(sheet["evidence"]["estimate"])
        except (KeyError, TypeError):
            pass  # the report says that the sheet is of another version

    def read_parts() -> None:
        sweep.store().read(skip_corrupt=True)
        sweep.store().read()

    def read_driver() -> None:
        driver = driver_lease.read(sweep.store())
        if driver is not None:
            f"{driver} {driver.renewed:.1f} {driver.generation:08d} {driver.claim}"

    def read_environment(rng: random.Random) -> None:
        names = [*VARIABLES, "WANDB_MODE", "WANDB_PROJECT", "WANDB_TAGS", "WANDB_RUN_PREFIX"]
        environment = {name: odd_text(rng) for name in rng.sample(names, 3)}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NANOCHAT_BASE_DIR", odd_text(rng).replace("\0", "").strip("\udce4"))
            for read in (
                base_dir,
                lambda: find_target(spec, True, environment),
                lambda: parse_settings({}, environment),
            ):
                with contextlib.suppress(SweepError, NanochatError):
                    read()

    return {
        "yaml": read_yaml,
        "set": read_setting,
        "sweep.json": of_file(trained / "sweep.json", read_header),
        BASELINE: of_file(trained / BASELINE, read_the_baseline),
        "frames.json": of_file(zooms / "frames.json", read_frames),
        "sheet": of_file(Path(sheet_path(sweep, data.lattice.frame.id)), read_the_sheet),
        "parts": of_file(part, read_parts),
        "driver.json": of_file(driver_file, read_driver),
        "meta": of_file(meta, lambda: load_checkpoint(folder / "model")),
        "tokenizer": of_file(
            folder / "ours" / "tokenizer.json", lambda: Tokenizer.load(folder / "ours")
        ),
        "transformers": of_file(
            folder / "theirs" / "tokenizer.json", lambda: import_tokenizer(folder / "theirs")
        ),
        "rows": of_file(rows, lambda: load_conversations(str(rows))),
        "environment": read_environment,
    }


def attempt(readers: dict[str, Reader], count: int, seed: int) -> list[str]:
    """Make `count` mutations, each reader in turn; return the tracebacks of errors not ours."""
    bugs = []
    names = list(readers)
    for number in range(seed, seed + count):
        name = names[number % len(names)]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                readers[name](random.Random(number))
        except (SweepError, NanochatError) as refusal:
            if len(str(refusal)) > 20_000:
                bugs.append(f"{name}, seed {number}: {len(str(refusal)):,} characters")
        except Exception:
            bugs.append(f"{name}, seed {number}:\n{traceback.format_exc(limit=-6)[:3000]}")
    return bugs


def test_a_hundred_odd_inputs_are_read_or_refused_in_words(readers: dict[str, Reader]) -> None:
    bugs = attempt(readers, 9 * len(readers), SEED)
    assert not bugs, "\n\n".join(bugs)


@pytest.mark.slow
def test_thousands_of_odd_inputs_are_read_or_refused_in_words(readers: dict[str, Reader]) -> None:
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")
    bugs = attempt(readers, 2400, seed)
    assert not bugs, f"seed {seed}: {len(bugs)} of 2,400\n" + "\n\n".join(bugs[:40])
