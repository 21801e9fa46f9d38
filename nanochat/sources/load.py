"""Models from a folder, ``preset:tiny``, ``hf:owner/name``, or a W&B artifact.

Importing this loads no torch; `check_source` needs neither torch nor a network.
"""

import hashlib
import os
import re
import uuid
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.errors import NanochatError, Note, quoted, user_path
from nanochat.files.artifacts import FORM, list_artifact, split_artifact
from nanochat.files.base_dir import base_dir
from nanochat.files.checkpoint_layout import Layout, choose, find_tokenizer, tokenizer_files
from nanochat.files.hub import list_repository, split_revision
from nanochat.files.listing import Listing, list_folder
from nanochat.train.presets import get_preset

if TYPE_CHECKING:
    from nanochat.model.checkpoint import Checkpoint
    from nanochat.tokenizer.tokenizer import Tokenizer

_SCHEME = r"\w\w+:"  # one letter and a colon is a drive
_FORMS = f"a model is a folder, preset:NAME, hf:owner/name[@revision], or {FORM}"


@dataclass(frozen=True)
class ModelFolder:
    """Folders of the checkpoint and of the tokenizer of a model.

    Attributes
    ----------
    checkpoint_dir
        Folder with ``model_*.pt`` and ``meta_*.json``.
    tokenizer_dir
        Folder with ``tokenizer.json`` or ``tokenizer.pkl``.
    step
        Step of the checkpoint in that folder.
    """

    checkpoint_dir: Path
    tokenizer_dir: Path
    step: int


def check_source(source: str) -> None:
    """Refuse a source that could be resolved nowhere; nothing is made, downloaded or loaded.

    A folder may lie on another machine, so whether it exists is left to `resolve_model`.

    Raises
    ------
    NanochatError
        For an unknown preset or scheme, or a malformed repository or artifact.
    """
    if source.startswith("preset:"):
        get_preset(source.removeprefix("preset:"))
    elif source.startswith("hf:"):
        split_revision(source)
    elif source.startswith("wandb:"):
        split_artifact(source)
    elif re.match(_SCHEME, source):
        raise NanochatError(f"model {quoted(source)}: unknown scheme ({_FORMS})")


def check_place(source: str) -> None:
    """Refuse a source that can be a model on no machine; quick, as `check_source`.

    Refused are a file, and a name like ``gpt2`` that is neither a folder here nor the path of one
    elsewhere.

    Raises
    ------
    NanochatError
        As `check_source` too; the message names the allowed forms.
    """
    check_source(source)
    folder = user_path(source)
    if re.match(_SCHEME, source) or folder.is_dir():
        return
    if folder.exists() or folder.name == source:
        raise _no_folder(source)


@dataclass(frozen=True)
class ModelSource:
    """Source of a model, and the choice of one of its checkpoints.

    Attributes
    ----------
    name
        A folder, ``preset:NAME``, ``hf:owner/name[@revision]``, or
        ``wandb:entity/project/name:version``.
    step, tag, stage
        Checkpoint to choose where there are several (`nanochat.files.checkpoint_layout.choose`).
    tokenizer
        Source of the tokenizer where it is not beside the model (`resolve_model`).
    """

    name: str
    step: int | None = None
    tag: str | None = None
    stage: str | None = None
    tokenizer: str | None = None

    def check_place(self) -> None:
        """Refuse a model or tokenizer that can be on no machine (`check_place`)."""
        for source in filter(None, (self.name, self.tokenizer)):
            check_place(source)

    def local_files(self) -> list[Path]:
        """List the files that `load` reads in the folder of the model; empty if none fits.

        A source that is not a folder of this machine has none.
        """
        folder = Path(self.name).expanduser()
        if not folder.is_dir():
            return []
        listing = list_folder(folder)
        choice = {"stage": self.stage, "tag": self.tag, "step": self.step}
        try:
            layout = choose(listing.paths, **choice, changed=listing.changed)
        except NanochatError:
            return []
        root = listing.fetch(layout.files)
        tokenizer = tokenizer_files(layout.files, layout.tokenizer_dir)
        unused = tokenizer if self.tokenizer is not None else []
        return [root / name for name in layout.files if name not in unused]

    def resolve(self) -> ModelFolder:
        """Find the folders of the model (`resolve_model`)."""
        return _resolve(self)

    def load(self) -> "tuple[Checkpoint, Tokenizer]":
        """Load the weights and the tokenizer of the model (`load_model`)."""
        return read_model(_resolve(self))


def resolve_model(
    source: str,
    *,
    step: int | None = None,
    tag: str | None = None,
    stage: str | None = None,
    tokenizer: str | None = None,
) -> ModelFolder:
    """Find the folders of a model; it is made or downloaded first where needed.

    Only the files of the one step are downloaded, and none twice by processes that ask at the
    same time. A UserWarning names what was chosen for the caller.

    Parameters
    ----------
    source
        A folder; ``preset:NAME`` (made on first use); ``hf:owner/name[@revision]``;
        ``wandb:entity/project/name:version``.
    step, tag, stage
        Checkpoint to choose where there are several (`nanochat.files.checkpoint_layout.choose`).
    tokenizer
        Source of the tokenizer, or a folder that has one. If not given: the one beside the model;
        else the source in the variable TOKENIZER_ARTIFACT; else ``tokenizer`` in `base_dir`.

    Raises
    ------
    NanochatError
        For a model that is not resolved; the message names what was tried.
    """
    return _resolve(ModelSource(source, step, tag, stage, tokenizer))


def resolve_tokenizer(source: str) -> Path:
    """Find the folder of a tokenizer, with a model or alone; no weights are downloaded.

    Raises
    ------
    NanochatError
        If the source has no tokenizer.
    """
    listing = _list(source)
    folder = find_tokenizer(listing.paths)
    if folder is None:
        raise NanochatError(
            f"model {quoted(source)}: no tokenizer.json or tokenizer.pkl{_also(listing.hint)}"
        )
    if listing.warning:
        warnings.warn(f"model {quoted(source)}: {listing.warning}", Note, stacklevel=2)
    return listing.fetch(tokenizer_files(listing.paths, folder)) / folder


def local_tokenizer(source: str) -> list[Path]:
    """List the files of the tokenizer in a folder of this machine; empty if it has none."""
    folder = Path(source).expanduser()
    if not source or not folder.is_dir():
        return []
    listing = list_folder(folder)
    names = tokenizer_files(listing.paths, find_tokenizer(listing.paths))
    return [listing.fetch(names) / name for name in names]


def load_model(
    source: str,
    *,
    step: int | None = None,
    tag: str | None = None,
    stage: str | None = None,
    tokenizer: str | None = None,
) -> "tuple[Checkpoint, Tokenizer]":
    """Load the weights and the tokenizer of a model, and check that they match (`check_pair`).

    Parameters
    ----------
    source, step, tag, stage, tokenizer
        As for `resolve_model`.

    Raises
    ------
    NanochatError
        Also where a file is damaged, of a later generation, or the tokenizer of another model.
    """
    return read_model(_resolve(ModelSource(source, step, tag, stage, tokenizer)))


def read_model(folder: ModelFolder) -> "tuple[Checkpoint, Tokenizer]":
    """Read the weights and the tokenizer of a resolved model; raises as `load_model`."""
    from nanochat.model.checkpoint import load_checkpoint
    from nanochat.sources.pairing import check_pair
    from nanochat.tokenizer.tokenizer import Tokenizer

    checkpoint = load_checkpoint(folder.checkpoint_dir, folder.step)
    tokenizer = Tokenizer.load(folder.tokenizer_dir)
    check_pair(checkpoint, tokenizer, folder.tokenizer_dir)
    return checkpoint, tokenizer


def _resolve(source: ModelSource) -> ModelFolder:
    listing = _list(source.name)
    try:
        layout = choose(
            listing.paths,
            stage=source.stage,
            tag=source.tag,
            step=source.step,
            changed=listing.changed,
        )
    except NanochatError as error:
        raise NanochatError(f"model {quoted(source.name)}: {error}{_also(listing.hint)}") from error
    # Before the weights are fetched: a missing tokenizer should not cost a download.
    elsewhere = _tokenizer_elsewhere(source.name, layout, source.tokenizer)
    for text in filter(None, [listing.warning, *layout.notes]):
        warnings.warn(f"model {quoted(source.name)}: {text}", Note, stacklevel=3)
    root = listing.fetch(layout.files)
    checkpoints = root / layout.checkpoint_dir
    if layout.prefix:
        checkpoints = _without_prefix(checkpoints, layout)
    beside = root / (layout.tokenizer_dir or "")
    return ModelFolder(checkpoints, elsewhere or beside, layout.step)


def _list(source: str) -> Listing:
    check_source(source)
    if source.startswith("preset:"):
        from nanochat.train.pretrain import pretrain

        return list_folder(pretrain(source.removeprefix("preset:")))
    if source.startswith("hf:"):
        return list_repository(source)
    if source.startswith("wandb:"):
        return list_artifact(source)
    folder = user_path(source)
    if not folder.is_dir():
        raise _no_folder(source)
    return list_folder(folder)


def _no_folder(source: str) -> NanochatError:
    file = user_path(source)
    what = f"a file; take its folder, {file.parent}" if file.exists() else "no such folder"
    return NanochatError(f"model {quoted(source)}: {what}{_meant(source)} ({_FORMS})")


def _meant(source: str) -> str:
    """Return a hint for a source that looks as if its scheme was left out."""
    if re.fullmatch(r"[\w.-]+/[\w.-]+/[\w.-]+:[\w.-]+", source):
        return f"; did you mean 'wandb:{source}'?"
    return f"; did you mean 'hf:{source}'?" if re.fullmatch(r"[\w-]+/[\w.-]+", source) else ""


def _tokenizer_elsewhere(source: str, layout: Layout, given: str | None) -> Path | None:
    """Find the folder of a separate tokenizer; None for the one beside the model."""
    if given is not None:
        return resolve_tokenizer(given)
    if layout.tokenizer_dir is not None:
        return None
    if named := os.environ.get("TOKENIZER_ARTIFACT"):
        return resolve_tokenizer(named)
    shared = base_dir() / "tokenizer"
    if find_tokenizer(list_folder(shared).paths) is None:
        raise NanochatError(
            f"model {quoted(source)}: no tokenizer.json or tokenizer.pkl (none was given, none lies"
            f" beside {layout.files[-1]}, TOKENIZER_ARTIFACT is not set, and {shared} has none)"
        )
    return shared


def _without_prefix(folder: Path, layout: Layout) -> Path:
    """Make a folder of links that give ``mid_model_*`` and ``mid_meta_*`` usual names."""
    key = hashlib.sha256(f"{folder}\n{layout.prefix}".encode()).hexdigest()
    links = base_dir() / "links" / key[:16]
    links.mkdir(parents=True, exist_ok=True)
    for name in (f"model_{layout.step:06d}.pt", f"meta_{layout.step:06d}.json"):
        temporary = links / f".{name}.{uuid.uuid4().hex}.tmp"
        temporary.symlink_to(folder / (layout.prefix + name))
        temporary.replace(links / name)
    return links


def _also(hint: str) -> str:
    return f"; {hint}" if hint else ""
