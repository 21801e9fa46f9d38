"""Command line of the model package; ``nanochat --help`` lists its commands.

Exit codes: 0 done (a run that diverged is done), 1 a result could not be saved or printed, 2 bad
input. Only typer is imported here and in `nanochat.cli`; each command imports what it needs.
"""

import sys
from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_command

from nanochat.cli.arguments import normalise
from nanochat.cli.closed_pipe import fail_if_output_is_lost, survive_closed_pipes
from nanochat.cli.data import app as data_app
from nanochat.cli.escapes import escaped
from nanochat.cli.export import export_command
from nanochat.cli.finetune import finetune_command
from nanochat.cli.import_model import import_command
from nanochat.cli.notes import print_any_text, show_tracebacks_escaped, show_warnings_plainly
from nanochat.cli.pretrain import pretrain_command
from nanochat.cli.probe_batch_size import probe_batch_size_command
from nanochat.cli.repro_check import repro_check_command
from nanochat.cli.size import size_command
from nanochat.cli.stop_signals import stop_signals
from nanochat.cli.suggestions import SuggestingGroup
from nanochat.cli.torchrun import refuse_torchrun
from nanochat.cli.upload import upload_command
from nanochat.errors import NanochatError

app = typer.Typer(
    name="nanochat",
    cls=SuggestingGroup,
    help="Fine-tune a small GPT, make one, prepare its data, and share it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut long names of options in a narrow window
)

_SEVERAL = ("--budgets",)  # options that take several values in a row

app.command("finetune")(finetune_command)
app.command("repro-check")(repro_check_command)
app.command("probe-batch-size")(probe_batch_size_command)
app.command("pretrain")(pretrain_command)
app.command("size")(size_command)
app.add_typer(data_app)
app.command("export")(export_command)
app.command("import")(import_command)
app.command("upload")(upload_command)


def _flags(command: Any) -> Iterator[str]:
    """Yield the names of the options without a value, of a command and of its subcommands."""
    for option in command.params:
        if getattr(option, "is_flag", False):
            yield from option.opts
    for below in getattr(command, "commands", {}).values():
        yield from _flags(below)


def main() -> None:
    """Run the command line; bad input ends it with one line on stderr and exit code 2."""
    print_any_text()
    survive_closed_pipes()
    show_warnings_plainly()
    show_tracebacks_escaped()
    command = get_command(app)
    try:
        refuse_torchrun(
            " ".join(["nanochat", *sys.argv[1:2]]),
            ", or once for each GPU with CUDA_VISIBLE_DEVICES",
        )
        with stop_signals(), fail_if_output_is_lost():
            command(normalise(sys.argv[1:], set(_flags(command)), _SEVERAL))
    except NanochatError as error:
        typer.echo(escaped(f"error: {error}"), err=True)
        sys.exit(2)
