"""Options and output folders that the commands about models share."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nanochat.errors import NanochatError

if TYPE_CHECKING:
    from nanochat.model.checkpoint import Checkpoint
    from nanochat.tokenizer.tokenizer import Tokenizer

OUT_HELP = "Folder to write: new, empty, or with the same files from before."

Step = Annotated[
    int | None,
    typer.Option(
        "--step", "--model-step", help="Step of the model. Default: the newest.", show_default=False
    ),
]
Tag = Annotated[
    str | None,
    typer.Option(help="Model of a folder with several, such as d20.", show_default=False),
]
Stage = Annotated[
    str | None,
    typer.Option(
        help="base, mid, sft or rl, where the model has several stages.", show_default=False
    ),
]


def write_nanochat(out: Path, checkpoint: "Checkpoint", tokenizer: "Tokenizer") -> None:
    """Write a model as nanochat publishes it, into a folder without other files."""
    from nanochat.files.outputs import writing
    from nanochat.sharing.published import model_files, save_model_folder

    claim_folder(out, model_files(checkpoint.step))
    with writing(out):
        save_model_folder(out, checkpoint, tokenizer, checkpoint.step, checkpoint.meta)


def claim_folder(out: Path, names: Iterable[str]) -> None:
    """Refuse a folder that holds files other than those that will be written."""
    held = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()}
    others = sorted(held - set(names))
    if others:
        raise NanochatError(f"--out {out} holds {others[0]} already; give a new or empty folder")
