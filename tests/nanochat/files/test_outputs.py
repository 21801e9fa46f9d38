"""Paths that commands write to: refused before the work, and on a full disk named in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nanochat.errors import NanochatError
from nanochat.files.atomic import write_atomically
from nanochat.files.outputs import output_file, output_folder, writing


def test_a_file_whose_folders_are_missing_can_be_written(tmp_path: Path) -> None:
    for path in (tmp_path / "a" / "b" / "map.png", tmp_path / "map.png"):
        assert output_file(path) == path
        assert output_folder(path) == path
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("{}", "cannot write .*: it is a folder; name a file in it"),
        ("/dev/null", "cannot write /dev/null: it is a device or a pipe, not a file"),
        ("{}/file/map.png", "cannot be used as a path: Not a directory|/file is not a folder"),
        ("{}/" + "a" * 300, "cannot be used as a path: File name too long"),
        ("{}/a\0b", "cannot be used as a path: .*null"),
    ],
)
def test_a_path_that_no_file_can_have_is_refused(tmp_path: Path, path: str, reason: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NanochatError, match=reason) as caught:
        output_file(path.format(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["{}/file", "{}/file/more", "/dev/null", "/dev/null/more"])
def test_a_path_that_no_folder_can_have_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NanochatError, match="is not a folder"):
        output_folder(path.format(tmp_path))


def test_a_folder_that_may_not_be_written_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(NanochatError, match=f"{tmp_path} may not be written to"):
        output_file(tmp_path / "more" / "map.png")


def test_a_name_as_long_as_the_file_system_allows_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 127)  # 254 bytes
    write_atomically(path, lambda file: file.write(b"x"))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), TimeoutError("slow")])
def test_an_error_of_the_network_is_no_error_of_writing(error: OSError) -> None:
    with pytest.raises(type(error)), writing("rows.jsonl"):
        raise error


FULL_DISK = """
import resource, sys, traceback
from pathlib import Path
import pyarrow as pa
import torch
from PIL import Image
from matplotlib import colormaps
from fractal_ray.figures.canvas import new_figure, save
from fractal_ray.figures.movie.video import open_video
from nanochat.cli.model_options import write_nanochat
from nanochat.data.messages_table import write_table
from nanochat.model.checkpoint import Checkpoint
from nanochat.model.gpt import GPT, GPTConfig
from nanochat.files.outputs import writing
from nanochat.prepare.row_files import write_jsonl, write_parquet
from nanochat.sharing.transformers_format import export_transformers
from nanochat.tokenizer.tokenizer import Tokenizer
import safetensors.torch

folder = Path(sys.argv[1])
rows = [{"text": f"{number ** 9}"} for number in range(4000)]
table = {"text": pa.array([row["text"] for row in rows])}
tokenizer = Tokenizer.train(["one two three", "two four"] * 20, 275)
model = GPT(GPTConfig(16, 275, 1, 1, 1, 64), vocab_rows=320)
model.init_weights(torch.Generator().manual_seed(0))
checkpoint = Checkpoint(model.state_dict(), model.config, 1, {"step": 1})

def export():
    with writing(folder / "exported"):  # as `nanochat export` does
        export_transformers(checkpoint, tokenizer, folder / "exported")

def movie():
    with open_video(folder / "zoom.gif", (400, 400), 9, colormaps["viridis"]) as add:
        add(Image.effect_noise((400, 400), 99).convert("RGB"), 1)

writers = {
    "map.png": lambda: save(new_figure((9, 9), "title"), folder / "map.png"),
    "map.svg": lambda: save(new_figure((9, 9), "title"), folder / "map.svg"),
    "map.pdf": lambda: save(new_figure((9, 9), "title"), folder / "map.pdf"),
    "zoom.gif": movie,
    "rows.jsonl": lambda: write_jsonl(folder / "rows.jsonl", rows),
    "rows.parquet": lambda: write_parquet(
        folder / "rows.parquet", rows, pa.schema([("text", pa.string())])
    ),
    "shard.parquet": lambda: write_table(folder / "shard.parquet", table),
    "model": lambda: write_nanochat(folder / "model", checkpoint, tokenizer),
    "exported": export,
}
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
for name, write in writers.items():
    try:
        write()
        print(f"{name}: written")
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {error}")
"""


def test_every_writer_names_the_file_that_finds_no_room(tmp_path: Path) -> None:
    # -B: the limit would cut the files of compiled modules as well.
    command = [sys.executable, "-B", "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    lines = done.stdout.splitlines()
    assert len(lines) == 9, done.stderr
    for line in lines:
        name = line.partition(":")[0]
        kind = "SweepError" if name.startswith(("map", "zoom")) else "NanochatError"
        assert line.startswith(f"{name}: {kind}: cannot write {tmp_path}/{name}: "), line
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.stat().st_size <= 1500 and not path.name.startswith(".") for path in left)
