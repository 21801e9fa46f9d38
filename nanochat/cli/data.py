"""The ``nanochat data`` commands: make, fetch and push the conversations that a model trains on."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nanochat.cli.output_options import check_file, check_folder

if TYPE_CHECKING:
    from nanochat.data.bad_rows import SkippedRows

app = typer.Typer(
    name="data",
    help="Make, fetch and push the conversations that a model is fine-tuned on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_PLAIN_SECONDS = 5.0  # seconds between two lines where there is no terminal for a bar
_TOKENIZER = (
    "Counts the tokens: an encoding of tiktoken (fetched once), a folder with a tokenizer, or a "
    "model (folder, preset:NAME, hf:owner/name)."
)


_SkipBadRows = Annotated[
    int,
    typer.Option(
        min=0, help="Leave out this many bad rows of a split at most; the next is an error."
    ),
]


@app.command("shards")
def shards_command(
    budgets: Annotated[
        list[int],
        typer.Option(help="Supervised tokens of each shard; several values.", show_default=False),
    ],
    out_dir: Annotated[
        Path, typer.Option(callback=check_folder, help="Folder of the shards.", show_default=False)
    ],
    source: Annotated[
        str, typer.Option(help="Conversations: hf:owner/name[:config][@revision], file or folder.")
    ] = "hf:HuggingFaceTB/smol-smoltalk",
    split: Annotated[str, typer.Option(help="Split of the source.")] = "train",
    tokenizer: Annotated[str, typer.Option(help=_TOKENIZER)] = "cl100k_base",
    max_seq_len: Annotated[
        int, typer.Option(help="Tokens of a conversation that count; what is cut off does not.")
    ] = 1024,
    skip_bad_rows: _SkipBadRows = 0,
) -> None:
    """Cut a set of conversations into nested Parquet shards, one for each token budget.

    The shard of a budget is the shortest beginning of the set with at least that many supervised
    tokens. No more of the set is read than the largest budget needs.
    """
    from nanochat.data.bad_rows import SkippedRows
    from nanochat.data.conversations import iter_conversations
    from nanochat.data.nested_shards import write_shards
    from nanochat.prepare.encodings import load_tokenizer

    counter = load_tokenizer(tokenizer)
    skipped = SkippedRows(skip_bad_rows)
    conversations = iter_conversations(source, split, skipped=skipped)
    with _progress("supervised tokens") as progress:
        paths = write_shards(
            conversations,
            counter,
            budgets,
            out_dir,
            max_seq_len,
            source,
            split,
            progress,
            skipped,
        )
    _show(skipped)
    for path in paths:
        typer.echo(str(path))


@app.command("docvqa")
def docvqa_command(
    out_path: Annotated[
        Path,
        typer.Option(
            callback=check_file, help="File to write, .jsonl or .parquet.", show_default=False
        ),
    ],
    split: Annotated[str, typer.Option(help="Split of the source.")] = "train",
    source: Annotated[
        str, typer.Option(help="Rows: hf:owner/name[:config][@revision], file or folder.")
    ] = "hf:pixparse/docvqa-single-page-questions",
    workers: Annotated[int, typer.Option(help="Processes that tokenise.")] = 8,
    max_tokens: Annotated[int, typer.Option(help="Tokens of a conversation, at most.")] = 1750,
    max_answer_chars: Annotated[
        int, typer.Option(help="Characters of an answer, at most; longer ones are dropped.")
    ] = 150,
    tokenizer: Annotated[str, typer.Option(help=_TOKENIZER)] = "cl100k_base",
    skip_bad_rows: _SkipBadRows = 0,
) -> None:
    """Make conversations of DocVQA rows: the text of a page, a question, the answer.

    Lines of the page that hold the answer are kept whenever they fit, and then the lines nearest
    to them. Prints the file; what was kept and dropped goes to standard error.
    """
    from nanochat.data.bad_rows import SkippedRows
    from nanochat.prepare.docvqa import Limits, prepare_docvqa
    from nanochat.prepare.encodings import load_tokenizer

    limits = Limits(load_tokenizer(tokenizer), max_tokens, max_answer_chars)
    with _progress("rows") as progress:
        summary = prepare_docvqa(
            source,
            split,
            out_path,
            limits,
            workers,
            lambda rows: progress(rows, None),
            SkippedRows(skip_bad_rows),
        )
    for line in summary.lines():
        typer.echo(line, err=True)
    typer.echo(str(out_path))


@app.command("push")
def push_command(
    repo: Annotated[
        str, typer.Option(help="Where to: owner/name, made if need be.", show_default=False)
    ],
    train: Annotated[
        str | None, typer.Option(help="Conversations of the train split: a file or folder.")
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            "--validation", "--val", help="Conversations of the validation split: a file or folder."
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="Of the hub. Default: HF_TOKEN, or what `hf auth login` has kept."),
    ] = None,
    private: Annotated[bool, typer.Option(help="Make the repository private.")] = False,
    skip_bad_rows: _SkipBadRows = 0,
) -> None:
    """Check every conversation, then send them to the Hugging Face hub in one commit."""
    from nanochat.errors import NanochatError

    given = {"train": train, "validation": validation}
    sources = {split: source for split, source in given.items() if source is not None}
    if not sources:
        raise NanochatError("nothing to push: give --train FILE, --validation FILE, or both")

    from nanochat.data.bad_rows import SkippedRows
    from nanochat.prepare.push import push_dataset

    skipped = {part: SkippedRows(skip_bad_rows) for part in sources}
    url = push_dataset(sources, repo, token, private, skipped)
    for each in skipped.values():
        _show(each)
    typer.echo(url)


@app.command("fetch")
def fetch_command(
    source: Annotated[str, typer.Argument(help="hf:owner/name[:config][@revision]")],
    out_dir: Annotated[
        Path, typer.Option(callback=check_folder, help="Folder of the files.")
    ] = Path("data"),
    split: Annotated[
        list[str] | None,
        typer.Option(help="Fetch only this split; may be given again.  [default: all]"),
    ] = None,
    force: Annotated[
        bool, typer.Option(help="Write a file again though one with as many rows is there.")
    ] = False,
    skip_bad_rows: _SkipBadRows = 0,
) -> None:
    """Write a data set of the Hugging Face hub as JSONL, one file for each split."""
    from nanochat.prepare.fetch import fetch_dataset

    for fetched in fetch_dataset(source, out_dir, split or (), force, skip_bad_rows):
        _show(fetched.skipped)
        state = "already there" if fetched.kept else "written"
        typer.echo(f"{fetched.path}: {fetched.rows} conversations, {state}")


def _show(skipped: "SkippedRows") -> None:
    for line in skipped.lines():
        typer.echo(line, err=True)


@contextmanager
def _progress(unit: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar on a terminal, else a line on standard error every few seconds."""
    if not sys.stderr.isatty():
        yield _plain_lines(unit)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(unit), BarColumn(), TextColumn("{task.fields[done]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None, done="0")

        def progress(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total, done=_share(done, total))

        yield progress


def _plain_lines(unit: str) -> Callable[[int, int | None], None]:
    last = time.monotonic()

    def progress(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= _PLAIN_SECONDS:
            last = time.monotonic()
            typer.echo(f"{_share(done, total)} {unit}", err=True)

    return progress


def _share(done: int, total: int | None) -> str:
    return f"{done:,}" if total is None else f"{done:,}/{total:,}"
