"""``nanochat export``, ``import`` and ``upload``: models in formats of others, and on the hub."""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nanochat.errors import NanochatError

if TYPE_CHECKING:
    from nanochat.model.checkpoint import Checkpoint
    from nanochat.sharing.upload import LocalModel
    from nanochat.tokenizer.tokenizer import Tokenizer

_SOURCE = (
    "Model: a folder, preset:NAME, hf:owner/name[@revision], or wandb:entity/project/name:version."
)
_OUT = "Folder to write: new, empty, or with the same files from before."


class Format(StrEnum):
    """What a model can be exported to."""

    transformers = "transformers"
    nanochat = "nanochat"


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


def export_command(
    model: Annotated[str, typer.Option(help=_SOURCE, show_default=False)],
    out: Annotated[Path, typer.Option(help=_OUT, show_default=False)],
    format: Annotated[Format, typer.Option(help="Whose format.")] = Format.transformers,
    step: Step = None,
    model_tag: Tag = None,
    source_stage: Stage = None,
) -> None:
    """Write a model as transformers reads it, or as nanochat publishes it; print the folder.

    No value is rounded and every dtype is kept.
    """
    from nanochat.sources.load import load_model

    checkpoint, tokenizer = load_model(model, step=step, tag=model_tag, stage=source_stage)
    if format is Format.nanochat:
        _write_nanochat(out, checkpoint, tokenizer)
    else:
        from nanochat.sharing.transformers_format import EXPORTED, export_transformers

        _claim(out, EXPORTED)
        export_transformers(checkpoint, tokenizer, out)
    typer.echo(str(out))


def import_command(
    model: Annotated[
        Path, typer.Option(help="Folder in transformers' format.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help=_OUT, show_default=False)],
) -> None:
    """Write a model of transformers (NanoChatForCausalLM) as nanochat's; print the folder."""
    from nanochat.sharing.transformers_format import import_transformers

    _write_nanochat(out, *import_transformers(model))
    typer.echo(str(out))


def upload_command(
    model: Annotated[Path, typer.Option(help="Folder with the model.", show_default=False)],
    repo: Annotated[
        str, typer.Option(help="owner/name; made if it does not exist.", show_default=False)
    ],
    step: Step = None,
    model_tag: Tag = None,
    source_stage: Stage = None,
    mid: Annotated[
        Path | None,
        typer.Option(help="Folder of the midtraining checkpoint, sent beside.", show_default=False),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="For a new repository; a public one is refused.")
    ] = False,
    token: Annotated[
        str | None,
        typer.Option(help="Default: HF_TOKEN, or what `hf auth login` keeps.", show_default=False),
    ] = None,
    message: Annotated[
        str | None, typer.Option(help="Of the commit. Default: names the step.", show_default=False)
    ] = None,
) -> None:
    """Send a model and its tokenizer to the Hugging Face hub, and print the commit's address."""
    from nanochat.sharing.upload import repository_name, upload_model

    repo = repository_name(repo)  # a bad name is refused before the weights are read
    url = upload_model(
        read_local_model(model, step, model_tag, source_stage),
        repo,
        token=token,
        private=private,
        message=message,
        mid=None if mid is None else read_local_model(mid, stage="mid"),
    )
    typer.echo(url)


def read_local_model(
    folder: Path, step: int | None = None, tag: str | None = None, stage: str | None = None
) -> "LocalModel":
    """Read the model of a folder for an upload.

    Parameters
    ----------
    folder
    step, tag, stage
        Checkpoint to choose where there are several (`nanochat.sources.load.resolve_model`).

    Raises
    ------
    NanochatError
        For a folder without a complete model.
    """
    from nanochat.sharing.upload import LocalModel
    from nanochat.sources.load import read_model, resolve_model

    resolved = resolve_model(str(folder), step=step, tag=tag, stage=stage)
    return LocalModel(folder, resolved.checkpoint_dir, *read_model(resolved))


def _write_nanochat(out: Path, checkpoint: "Checkpoint", tokenizer: "Tokenizer") -> None:
    from nanochat.sharing.published import model_files, save_model_folder

    _claim(out, model_files(checkpoint.step))
    save_model_folder(out, checkpoint, tokenizer, checkpoint.step, checkpoint.meta)


def _claim(out: Path, names: Iterable[str]) -> None:
    """Refuse a folder with any file but those that will be written."""
    if out.exists() and not out.is_dir():
        raise NanochatError(f"--out {out} is a file; it must be a folder")
    held = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()}
    others = sorted(held - set(names))
    if others:
        raise NanochatError(f"--out {out} holds {others[0]} already; give a new or empty folder")
