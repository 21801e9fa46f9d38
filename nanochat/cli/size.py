"""``nanochat size``: the cost of a model."""

import json
from dataclasses import replace
from typing import Annotated

import typer


def size_command(
    depth: Annotated[int, typer.Option(help="Number of blocks.", show_default=False)],
    model_dim: Annotated[
        int | None, typer.Option(help="Width. Default: 64 times the depth.", show_default=False)
    ] = None,
    head_dim: Annotated[
        int, typer.Option(help="Size of a head, even; decides how many share the width.")
    ] = 128,
    n_kv_head: Annotated[
        int | None,
        typer.Option(help="Key/value heads. Default: one per query head.", show_default=False),
    ] = None,
    vocab_size: Annotated[int, typer.Option(help="Tokens in the vocabulary.")] = 65536,
    sequence_len: Annotated[int, typer.Option(help="Tokens in a row.")] = 2048,
    batch_size: Annotated[int, typer.Option(help="Rows on the device at once.")] = 32,
    steps: Annotated[int, typer.Option(help="Steps of the training to find data for.")] = 954,
    tokens_per_step: Annotated[int, typer.Option(help="Tokens in each of these.")] = 524288,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Also train two steps on this machine and tell their peak memory."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell a model's parameters, FLOPs per token, memory of a training step, and data needs.

    Nothing is made, and no model is needed.
    """
    from nanochat.model.config import GPTConfig
    from nanochat.sizing.summary import Sizing

    shape = GPTConfig.from_depth(
        depth,
        vocab_size=vocab_size,
        sequence_len=sequence_len,
        model_dim=model_dim,
        head_dim=head_dim,
        n_kv_head=n_kv_head,
    )
    sizing = Sizing(shape, batch_size, steps, tokens_per_step)
    if measure:
        from nanochat.sizing.measured_peak import measure_peak

        sizing = replace(sizing, measured=measure_peak(shape, batch_size))
    typer.echo(json.dumps(sizing.to_dict()) if as_json else "\n".join(sizing.lines()))
