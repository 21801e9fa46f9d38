"""The files of a source before any is fetched, and those of a folder on this machine."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nanochat.files.checkpoint_layout import STAGE_FOLDERS, TOKENIZER_FILES

_PATTERNS = ("*model_*.pt", "*meta_*.json", "*.safetensors", *TOKENIZER_FILES)
_DEPTHS = ("", "*/", "*/*/")


@dataclass(frozen=True)
class Listing:
    """The files of a source, and how to come by them.

    Attributes
    ----------
    paths : sequence of str
        Relative, with forward slashes.
    fetch : callable
        Gets some of `paths`, and returns the folder that they lie in, each of them whole.
    changed : mapping of str to float
        When a path was last changed, in seconds, where that is known.
    warning : str
        What the user has to be told before the files are used; empty for nothing.
    hint : str
        What an error about missing files should add; empty for nothing.
    """

    paths: Sequence[str]
    fetch: Callable[[Sequence[str]], Path]
    changed: Mapping[str, float] = field(default_factory=dict)
    warning: str = ""
    hint: str = ""


def list_folder(folder: Path) -> Listing:
    """What could belong to a model in a folder, or in the model's folder that it is a part of.

    For a part (``checkpoints/``, ``base_checkpoints/``, ``base_checkpoints/d20``) paths start
    where the whole does: that tells the stage and the tag, and the tokenizer is beside.
    """
    folder = Path(folder).absolute()
    root = _root(folder)
    beside = [root / "tokenizer" / name for name in TOKENIZER_FILES] if root != folder else []
    return _listing(root, [*_found(folder), *beside])


def list_whole_folder(folder: Path) -> Listing:
    """What could belong to a model in a folder, which is no part of another's."""
    return _listing(folder, _found(folder))


def _found(folder: Path) -> list[Path]:
    return [path for depth in _DEPTHS for name in _PATTERNS for path in folder.glob(depth + name)]


def _listing(root: Path, found: list[Path]) -> Listing:
    changed = {
        path.relative_to(root).as_posix(): path.stat().st_mtime for path in found if path.is_file()
    }
    return Listing(sorted(changed), lambda _: root, changed)


def _root(folder: Path) -> Path:
    stages = STAGE_FOLDERS.values()
    if folder.parent.name in stages:
        return folder.parent.parent
    return folder.parent if folder.name in (*stages, "checkpoints") else folder
