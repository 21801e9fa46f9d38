"""``nanochat import``: a model of transformers in the format of nanochat."""

from pathlib import Path
from typing import Annotated

import typer

from nanochat.cli.model_options import OUT_HELP, write_nanochat
from nanochat.cli.output_options import check_folder


def import_command(
    model: Annotated[
        Path, typer.Option(help="Folder in transformers' format.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(callback=check_folder, help=OUT_HELP, show_default=False)],
) -> None:
    """Write a model of transformers (NanoChatForCausalLM) as nanochat's; print the folder."""
    from nanochat.sharing.transformers_format import import_transformers

    write_nanochat(out, *import_transformers(model))
    typer.echo(str(out))
