"""``fractal-ray init``: write an example that runs into a folder."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

_TEMPLATES = Path(__file__).parent / "templates"
_ROWS = 200


class Example(StrEnum):
    """Example to write."""

    FUNCTION = "function"
    NANOCHAT = "nanochat"


_FILES = {
    Example.FUNCTION: ("function.yaml", "train.py"),
    Example.NANOCHAT: ("nanochat.yaml", "conversations.jsonl"),
}


def init(
    example: Annotated[
        Example,
        typer.Argument(
            help="function: a training function of your own; nanochat: a fine-tune on"
            " conversations in a file.",
            show_default=False,
        ),
    ],
    folder: Annotated[
        Path, typer.Option(help="Folder to write to; it is made if need be.")
    ] = Path(),
) -> None:
    """Write a spec with what it needs, ready to run and to change."""
    from fractal_ray.errors import SweepError
    from nanochat.files.outputs import writing

    files = {folder / name: _content(name) for name in _FILES[example]}
    if there := [str(path) for path in files if path.exists() or path.is_symlink()]:
        raise SweepError(
            f"{' and '.join(there)} exist{'s' if len(there) == 1 else ''} already, and nothing was"
            " written; take another --folder, or remove what you do not need"
        )
    for path, text in files.items():
        with writing(path, SweepError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        print(path)
    spec = folder / _FILES[example][0]
    print(f"run it: fractal-ray run {spec}")


def _content(name: str) -> str:
    if name != "conversations.jsonl":
        return (_TEMPLATES / name).read_text(encoding="utf-8")
    from nanochat.data.conversations import load_conversations

    rows = load_conversations("stdlib_qa", limit=_ROWS)
    return "".join(f"{json.dumps({'messages': row}, ensure_ascii=False)}\n" for row in rows)
