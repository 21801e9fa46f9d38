"""``nanochat export``: a model in the format of transformers or of nanochat."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nanochat.cli.model_options import OUT_HELP, Stage, Step, Tag, claim_folder, write_nanochat
from nanochat.cli.output_options import check_folder

SOURCE_HELP = (
    "Model: a folder, preset:NAME, hf:owner/name[@revision], or wandb:entity/project/name:version."
)


class Format(StrEnum):
    """Format of an exported model."""

    transformers = "transformers"
    nanochat = "nanochat"


def export_command(
    model: Annotated[str, typer.Option(help=SOURCE_HELP, show_default=False)],
    out: Annotated[Path, typer.Option(callback=check_folder, help=OUT_HELP, show_default=False)],
    format: Annotated[Format, typer.Option(help="Whose format.")] = Format.transformers,
    step: Step = None,
    model_tag: Tag = None,
    source_stage: Stage = None,
) -> None:
    """Write a model as transformers reads it, or as nanochat publishes it; print the folder.

    No value is rounded and every dtype is kept.
    """
    from nanochat.sources.load import ModelSource

    checkpoint, tokenizer = ModelSource(model, step, model_tag, source_stage).load()
    if format is Format.nanochat:
        write_nanochat(out, checkpoint, tokenizer)
    else:
        from nanochat.files.outputs import writing
        from nanochat.sharing.transformers_format import EXPORTED, export_transformers

        claim_folder(out, EXPORTED)
        with writing(out):
            export_transformers(checkpoint, tokenizer, out)
    typer.echo(str(out))
