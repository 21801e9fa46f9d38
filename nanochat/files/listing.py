"""Files of a model source before any is fetched, and those of a folder on this machine."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nanochat.errors import NanochatError
from nanochat.files.checkpoint_layout import STAGE_FOLDERS, TOKENIZER_FILES

_PATTERNS = ("*model_*.pt", "*meta_*.json", "*.safetensors", *TOKENIZER_FILES)
_DEPTHS = ("", "*/", "*/*/")


@dataclass(frozen=True)
class Listing:
    """Files of a model source, and the function that fetches them.

    Attributes
    ----------
    paths
        Relative, with forward slashes.
    fetch
        Function of some of `paths` that returns the folder with these files, each complete.
    changed
        When a path was last changed, in seconds, where that is known.
    warning
        Warning to show before the files are used; empty for none.
    hint
        Addition to an error about missing files; empty for none.
    """

    paths: Sequence[str]
    fetch: Callable[[Sequence[str]], Path]
    changed: Mapping[str, float] = field(default_factory=dict)
    warning: str = ""
    hint: str = ""


def check_names(source: str, paths: Iterable[str]) -> None:
    """Refuse names of files, as a server sent them, that lead out of the folder that they go to.

    Raises
    ------
    NanochatError
        Names the source and the first such name.
    """
    for name in paths:
        path = Path(name)
        if not name or path.is_absolute() or path.drive or ".." in path.parts or "\0" in name:
            raise NanochatError(
                f"model {source!r}: it names the file {name[:200]!r}, which leads out of its"
                " folder; nothing was fetched: take another model"
            )


def check_links(source: str, folder: Path, files: Iterable[str]) -> None:
    """Refuse files of a folder of the cache that are links to a place outside of it.

    Raises
    ------
    NanochatError
        Names the source, the file and the place.
    """
    root = folder.resolve()
    for name in files:
        place = (folder / name).resolve()
        if not place.is_relative_to(root):
            raise NanochatError(
                f"model {source!r}: {folder / name} is a link that leads out of its folder, to"
                f" {place}; delete {folder}, and the same command fetches it again"
            )


def list_folder(folder: Path) -> Listing:
    """List the files of a folder, or of the model folder that it is part of.

    For a part (``checkpoints/``, ``base_checkpoints/``, ``base_checkpoints/d20``) paths start
    where the whole does: that tells the stage and the tag, and the tokenizer is beside.
    """
    folder = Path(folder).absolute()
    root = _root(folder)
    beside = [root / "tokenizer" / name for name in TOKENIZER_FILES] if root != folder else []
    return _listing(root, [*_found(folder), *beside])


def list_whole_folder(folder: Path) -> Listing:
    """List the files of a folder that is not part of another model folder."""
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
