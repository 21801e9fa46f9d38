"""Contents of the datasets of `tests/golden/datasets`, read by public functions only.

These are the command line, `fractal_ray.load` and what a sweep offers, so that the same lines read
a dataset wherever the code behind them lies. `tests/golden/datasets/make.py` keeps what they found.
"""

import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from PIL import Image

import fractal_ray
from fractal_ray.spec.yaml_file import load_spec

ROOT: Final = Path(__file__).parents[2]
GOLDEN: Final = ROOT / "tests" / "golden" / "datasets"
EXPECTED: Final = GOLDEN / "expected.json"


@dataclass(frozen=True)
class Stored:
    """Settings for reading a stored dataset.

    Parameters
    ----------
    verified
        Frames with a verification sheet, and how many points each was made of.
    asked
        Arguments of `analyze`, folder and `--json` left out.
    drawn
        Arguments of `plot --figure all`, one figure set each.
    lost
        Folders of `points/` that a test deletes. Of no bisection: what it has found is in
        `frames.json`, so a sweep that goes on does not run it again.
    """

    verified: Mapping[int, int]
    asked: Sequence[str]
    drawn: Sequence[str]
    lost: Sequence[str]


PUBLISHED: Final = "".join(
    f" --published {name}"
    for name in ("sohl-dickstein-2024", "fractal-llm", "attractors.jl", "torkamandi-2025")
)
DATASETS: Final[Mapping[str, Stored]] = {
    "map": Stored(
        {0: 90, 4003: 24},
        ["", f"--frame 0 --force{PUBLISHED}", "--frame 4000 --force", "--against zoom --force"],
        ["--frame 0 --force"],
        ["frame=0/level=1", "frame=3/level=3", "frame=4003/level=2", "frame=6000/level=4"],
    ),
    "zooms": Stored(
        {0: 24},
        ["", f"--frame 0 --force{PUBLISHED}", "--set label.boundary=trainable --frame 2000"],
        [],
        ["frame=0/level=0", "frame=2002/level=0", "frame=6001/level=1"],
    ),
    "mlp": Stored(
        {0: 24},
        [
            "",
            f"--force{PUBLISHED}",
            "--set label.threshold=0.5 --set label.window=2",
            "--against steps --force",
            "--against threshold --force",
        ],
        ["--force --colors safe"],
        ["frame=0/level=1"],
    ),
    "nanochat": Stored(
        {0: 8},
        ["", f"--force{PUBLISHED}", "--set label.threshold=0.8", "--against threshold --force"],
        [],
        ["frame=0/level=1"],
    ),
}
SPECS: Final = sorted(
    str(path.relative_to(ROOT))
    for folder in (ROOT / "sweeps", ROOT / "sweeps" / "paper", GOLDEN)
    for path in folder.glob("*.yaml")
)
CHANGED: Final = {"sweeps/lr_tokens.yaml": ["label.window=20"]}
"""Former values of settings that were changed on purpose since the results were recorded."""
RECORDED_BORDERS: Final = {"tests/golden/datasets/zooms.yaml": "stable"}
"""Borders of the recorded specs; `trainable`, the former default, of all others."""
DPI: Final = 60
"""Of figures: enough to see another line, and quick to draw."""

FOUND: Final = ("point_id", "frame", "level", "ix", "iy", "x", "y", "outcome", "ratio", "losses")
"""Columns that say where a point lies and what its run showed."""
CIRCUMSTANCES: Final = ("seconds", "side_by_side", "host", "device", "attempt", "created_at")
"""Columns that a repetition of a run may change."""
ADDED: Final = ("val_loss",)
"""Columns that the recorded results do not have."""
_BESIDE: Final = ("numpy", "scipy", "torch", "numba", "matplotlib", "pillow", "pyarrow")
_CHILD: Final = """
import contextlib, io, json, runpy, socket, sys

asked, said = json.load(sys.stdin), []
if asked["host"]:
    socket.gethostname = lambda: asked["host"]
for call in asked["calls"]:
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["fractal-ray", *call]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module("fractal_ray", run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
    said.append([code, out.getvalue(), err.getvalue()])
json.dump(said, sys.stdout)
"""


def command_line(calls: Sequence[Sequence[str]], host: str = "") -> list[str]:
    """Run ``python -m fractal_ray`` for each call in one new process; return the outputs.

    Parameters
    ----------
    calls
        Arguments of each.
    host
        Name that rows give to this machine; its own if empty.
    """
    asked = json.dumps({"calls": calls, "host": host})
    done = subprocess.run(
        [sys.executable, "-c", _CHILD], input=asked, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    printed = []
    for call, (code, out, err) in zip(calls, json.loads(done.stdout), strict=True):
        assert code == 0, f"{' '.join(call)}: exit code {code}\n{err}"
        printed.append(out)
    return printed


def environment() -> dict[str, str]:
    """Describe the libraries and the processor on which the last bits of numbers depend."""
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.is_file() else ""
    vendor = re.search(r"vendor_id\s*:\s*(\S+)", text)
    return {
        "machine": platform.machine(),
        "vendor": vendor[1] if vendor else platform.processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        **{package: version(package) for package in _BESIDE},
    }


def copy_of(name: str, folder: Path, *without: str) -> Path:
    """Copy a stored dataset, less some of its folders."""
    shutil.copytree(GOLDEN / name, folder / name)
    for part in without:
        shutil.rmtree(folder / name / part)
    return folder / name


def files_of(folder: Path) -> dict[str, str]:
    """Compute the SHA-256 of every file of a folder by its place, but not of locks and drivers."""
    return {
        path.relative_to(folder).as_posix(): _sha(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "driver.json")
    }


def rows_of(folder: Path) -> dict[str, Any]:
    """Summarize a dataset: its number of rows, their columns, and digests of them."""
    sweep = fractal_ray.load(folder)
    table = sweep.table()
    table = table.drop_columns(list(ADDED))
    every = [name for name in table.column_names if name not in CIRCUMSTANCES]
    columns = {name: table[name].to_pylist() for name in every}
    ids = columns["point_id"]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    header = sweep.header()
    assert header is not None
    points = sweep.points.sort_values("point_id")
    labels = zip(*(points[name] for name in ("point_id", "outcome", "label")), strict=True)
    frames = folder / "frames.json"
    return {
        "fingerprint": header["fingerprint"],
        "recipe": header["recipe"],
        "rows": len(ids),
        "schema": {field.name: str(field.type) for field in table.schema},
        "point_ids": _sha("\n".join(sorted(ids))),
        "found": _rows({name: columns[name] for name in FOUND}, order),
        "every": _rows({name: columns[name] for name in sorted(every)}, order),
        "labels": _sha("\n".join(f"{i} {outcome} {bool(yes)}" for i, outcome, yes in labels)),
        "frames": _sha(frames.read_bytes()) if frames.is_file() else None,
    }


def check_rows_of(folder: Path) -> dict[str, Any]:
    """Summarize the runs of a dataset's verifications like `rows_of`, by their places."""
    found = {}
    for header in sorted(folder.glob("verify/*/*/sweep.json")):
        found[header.parent.relative_to(folder).as_posix()] = rows_of(header.parent)
    return found


def sheets_of(folder: Path) -> dict[str, Any]:
    """Read the verification sheets by their places, without the version that wrote them."""
    found = {}
    for path in sorted(folder.glob("verify/*/sheet-*.json")):
        sheet = json.loads(path.read_text())
        del sheet["fractal_ray"]
        found[path.relative_to(folder).as_posix()] = sheet
    return found


def verification(name: str, folder: Path) -> list[list[str]]:
    """List the calls that verify the frames of a dataset."""
    how = ["--engine", "local", "--quiet", "--json"]
    return [
        ["verify", str(folder), "--frame", str(frame), "--points", str(points), *how]
        for frame, points in DATASETS[name].verified.items()
    ]


@dataclass(frozen=True)
class Said:
    """Outputs of the commands on a dataset: of `verify`, and of `analyze` by its arguments.

    Figures are digests of their pixels by the arguments of `plot`.
    """

    verified: list[Any]
    analyses: dict[str, Any]
    figures: dict[str, dict[str, str]]


@dataclass(frozen=True)
class Copy:
    """Folders of a copy on which the commands run.

    Parameters
    ----------
    folder
        The dataset.
    pictures
        Folder for its figures.
    verify
        A copy of it to verify; None verifies nothing.
    """

    folder: Path
    pictures: Path
    verify: Path | None = None


def ask(copies: Mapping[str, Copy]) -> dict[str, Said]:
    """Run all calls on datasets by name in one process: imports take the longest."""
    calls = {name: _calls(name, copy) for name, copy in copies.items()}
    texts = iter(command_line([call for each in calls.values() for call in each]))
    return {
        name: _said(name, copy, [next(texts) for _ in calls[name]]) for name, copy in copies.items()
    }


def _calls(name: str, copy: Copy) -> list[list[str]]:
    calls = [] if copy.verify is None else verification(name, copy.verify)
    for asked in DATASETS[name].asked:
        calls.append(["analyze", str(copy.folder), "--json", *asked.split()])
    for number, drawn in enumerate(DATASETS[name].drawn):
        out = ["--out", str(copy.pictures / str(number)), "--dpi", str(DPI)]
        calls.append(["plot", str(copy.folder), "--figure", "all", *out, *drawn.split()])
    return calls


def _said(name: str, copy: Copy, texts: list[str]) -> Said:
    stored = DATASETS[name]
    verified = 0 if copy.verify is None else len(stored.verified)
    analyses = {
        f"analyze {asked}".strip(): _recorded(json.loads(text.replace(str(copy.folder), "DATASET")))
        for asked, text in zip(stored.asked, texts[verified:], strict=False)
    }
    figures = {
        f"plot --figure all {drawn}".strip(): _pixels(copy.pictures / str(number))
        for number, drawn in enumerate(stored.drawn)
    }
    return Said([json.loads(text) for text in texts[:verified]], analyses, figures)


def _recorded(analysis: Any) -> Any:
    """Leave out of the JSON of `analyze` the keys and notes that came later."""
    if not isinstance(analysis, dict):
        return analysis
    later = ("too_slow and degraded", "label.window")
    warnings = [w for w in analysis["warnings"] if not w.startswith(later)]
    return {
        **{k: v for k, v in analysis.items() if k not in ("not_improved", "parts_left_out")},
        "warnings": warnings,
    }


def without_probes(spec: str | Path) -> list[str]:
    """List the overrides that leave out the probes, which came after the stored datasets."""
    stages = yaml.safe_load((ROOT / spec).read_text())["stages"]
    return [f"stages.{i}.refine.probes=0" for i, stage in enumerate(stages) if "refine" in stage]


def plans_of(specs: Sequence[str], storage: Path) -> dict[str, Any]:
    """Read the output of `plan` for specs that have not been run, without probes."""
    calls = [
        ["plan", spec, "--json", "--storage", str(storage)]
        + [word for override in without_probes(spec) for word in ("--set", override)]
        for spec in specs
    ]
    said = command_line(calls)
    return {spec: json.loads(text) for spec, text in zip(specs, said, strict=True)}


def identity_of(spec: str) -> dict[str, Any]:
    """Digest a spec and recipe, and name some points under a made-up fingerprint."""
    border = f"label.boundary={RECORDED_BORDERS.get(spec, 'trainable')}"
    sweep = fractal_ray.load(ROOT / spec, border)
    former = (border, *CHANGED.get(spec, ()))
    if load_spec(ROOT / spec).resources.gpu is None:
        former = (*former, "resources.gpu=0")
    dumped = load_spec(ROOT / spec, former).model_dump(mode="json")
    frame = next(iter(sweep.frames.values())).frame
    points = [frame.point(0, *address) for address in ((0, 0), (1, 2), (3, 1))]
    params = (sweep.spec.axes.x.param, sweep.spec.axes.y.param)
    recipe = sweep.workload().recipe
    return {
        "spec": _sha(json.dumps(dumped, sort_keys=True)),
        "recipe": _sha(json.dumps(dict(recipe), sort_keys=True)),
        "point_ids": [point_id("0" * 32, recipe, params, (p.x, p.y)) for p in points],
    }


def point_id(
    fingerprint: str,
    recipe: Mapping[str, Any],
    params: tuple[str, str],
    values: tuple[float, float],
) -> str:
    """Compute a point's id by a second implementation; a test compares it with stored rows."""
    fields = {**recipe, **dict(zip(params, values, strict=True))}
    text = f"fractal-ray point 1\n{fingerprint}\n"
    for name in sorted(fields):
        value = fields[name]
        said = repr(value) if isinstance(value, bool | str) else float(value).hex()
        text += f"{name}={said}\n"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _rows(columns: Mapping[str, list[Any]], order: Iterable[int]) -> str:
    digest = hashlib.sha256()
    for i in order:
        for name, values in columns.items():
            digest.update(f"{name}={_exactly(values[i])}\n".encode())
    return digest.hexdigest()


def _exactly(value: Any) -> str:
    """Write a value to its last bit."""
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, list):
        return np.asarray(value, dtype="<f4").tobytes().hex()
    return repr(value)


def _pixels(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as image:
            pixels = image.convert("RGBA")
            found[path.name] = _sha(f"{pixels.size}".encode() + pixels.tobytes())
    return found


def _sha(data: bytes | str) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()
