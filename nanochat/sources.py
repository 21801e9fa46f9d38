"""Where models come from: a folder, ``preset:tiny``, or ``hf:owner/name``.

Importing this loads no torch; `check_source` needs neither torch nor a network.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from nanochat.errors import NanochatError
from nanochat.hub import split_revision
from nanochat.presets import get_preset

_FORMS = "a model is a folder, preset:NAME, or hf:owner/name[@revision]"
_HUB_FILES = ("*model_*.pt", "*meta_*.json", "*tokenizer.pkl", "*tokenizer.json")


@dataclass(frozen=True)
class ModelFolder:
    """Where the two halves of a model lie.

    Attributes
    ----------
    checkpoint_dir : Path
        Folder with ``model_*.pt`` and ``meta_*.json``.
    tokenizer_dir : Path
        Folder with ``tokenizer.json`` or ``tokenizer.pkl``.
    """

    checkpoint_dir: Path
    tokenizer_dir: Path


def check_source(source: str) -> None:
    """Refuse a source that could be resolved nowhere; nothing is made, downloaded or loaded.

    A folder may lie on another machine, so whether it exists is left to `resolve_model`.

    Raises
    ------
    NanochatError
        For an unknown preset or scheme, or a malformed repository.
    """
    if source.startswith("preset:"):
        get_preset(source.removeprefix("preset:"))
    elif source.startswith("hf:"):
        split_revision(source)
    elif re.match(r"\w\w+:", source):
        raise NanochatError(f"model {source!r}: unknown scheme ({_FORMS})")


def resolve_model(source: str) -> ModelFolder:
    """Folders of a model, which is made or downloaded first where need be.

    Parameters
    ----------
    source : str
        A folder (files in it, or in its ``checkpoints/``; the tokenizer among them, in
        ``tokenizer/``, or in nanochat's own place beside ``base_checkpoints``);
        ``preset:NAME`` (made on first use); ``hf:owner/name[@revision]``.

    Raises
    ------
    NanochatError
        Names what was tried.
    """
    check_source(source)
    if source.startswith("preset:"):
        from nanochat.pretrain import pretrain

        return _find(pretrain(source.removeprefix("preset:")), source)
    if source.startswith("hf:"):
        return _find(_download(source), source)
    return _find(_existing(source), source)


def _existing(source: str) -> Path:
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise NanochatError(f"model {source!r}: no such folder ({_FORMS})")
    return folder


def _find(folder: Path, source: str) -> ModelFolder:
    checkpoint_dirs = [folder, folder / "checkpoints"]
    checkpoints = _first(checkpoint_dirs, ["model_*.pt"], "model_*.pt", source)
    tokenizer_dirs = [folder / "tokenizer", checkpoints.parent / "tokenizer", folder, checkpoints]
    if checkpoints.parent.name.endswith("_checkpoints"):  # $NANOCHAT_BASE_DIR/base_checkpoints/d20
        tokenizer_dirs.append(checkpoints.parent.parent / "tokenizer")
    names = ["tokenizer.json", "tokenizer.pkl"]
    return ModelFolder(checkpoints, _first(tokenizer_dirs, names, " or ".join(names), source))


def _first(folders: list[Path], patterns: list[str], wanted: str, source: str) -> Path:
    for folder in folders:
        if any(any(folder.glob(pattern)) for pattern in patterns):
            return folder
    tried = ", ".join(dict.fromkeys(map(str, folders)))
    raise NanochatError(f"model {source!r}: no {wanted} (looked in {tried})")


def _download(source: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository, revision = split_revision(source)
    try:
        folder = snapshot_download(repository, revision=revision, allow_patterns=list(_HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        reason = str(error).strip().splitlines()[0]
        raise NanochatError(f"model {source!r}: not fetched from the hub ({reason})") from error
    return Path(folder)
