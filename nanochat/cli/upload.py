"""``nanochat upload``: a model sent to the Hugging Face hub."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nanochat.cli.model_options import Stage, Step, Tag

if TYPE_CHECKING:
    from nanochat.sharing.upload import LocalModel


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
    step, tag, stage
        Checkpoint to choose where there are several (`nanochat.sources.load.ModelSource`).

    Raises
    ------
    NanochatError
        For a folder without a complete model.
    """
    from nanochat.sharing.upload import LocalModel
    from nanochat.sources.load import ModelSource, read_model

    resolved = ModelSource(str(folder), step, tag, stage).resolve()
    return LocalModel(folder, resolved.checkpoint_dir, *read_model(resolved))
