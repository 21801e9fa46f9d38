"""Choice of a checkpoint among the files of a model source: folder, step and tokenizer.

Only names are read. So the choice is equal for a folder, a repository on the hub and an artifact,
and it is known before anything is downloaded.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nanochat.errors import NanochatError, quoted, unknown_name

STAGE_FOLDERS = {
    "base": "base_checkpoints",
    "mid": "mid_checkpoints",
    "sft": "chatsft_checkpoints",
    "rl": "chatrl_checkpoints",
}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.pkl", "token_bytes.pt")

_STAGE_OF = {folder: stage for stage, folder in STAGE_FOLDERS.items()}
_MODEL = re.compile(r"((?:base|mid|sft|rl)_)?model_(\d{6}|[1-9]\d{6,})\.pt")
_NAMES_SHOWN = 6


@dataclass(frozen=True)
class Layout:
    """Chosen checkpoint. Folders are relative, ``""`` for the top.

    Attributes
    ----------
    prefix
        Text before ``model_*.pt`` and ``meta_*.json``: ``""``, or a stage's ``mid_``.
    tokenizer_dir
        None where no tokenizer is beside the model.
    files
        All that is needed, the weights last: where they are, the rest is.
    notes
        Notes on files that were not chosen, for lack of an option.
    """

    checkpoint_dir: str
    prefix: str
    step: int
    tokenizer_dir: str | None
    files: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, order=True)
class _Place:
    """Folder with complete checkpoints of one stage."""

    folder: str
    prefix: str
    stage: str  # "" where neither the folder nor the file names it
    tag: str  # "" where there is none
    steps: tuple[int, ...]

    def files(self, step: int) -> list[str]:
        names = (f"meta_{step:06d}.json", f"model_{step:06d}.pt")
        return [_join(self.folder, self.prefix + name) for name in names]


def choose(
    paths: Iterable[str],
    *,
    stage: str | None = None,
    tag: str | None = None,
    step: int | None = None,
    changed: Mapping[str, float] | None = None,
) -> Layout:
    """Choose a checkpoint among the files of a source.

    Checkpoints are looked for at the top, in ``checkpoints/``, ``TAG/`` and
    ``base_checkpoints/TAG/`` (``mid_``, ``chatsft_``, ``chatrl_``). Only steps with both of their
    files count. A stage's name before the file (``mid_model_000813.pt``) tells the stage too.

    Parameters
    ----------
    paths
        Relative, with forward slashes.
    stage
        One of "base", "mid", "sft", "rl".
        If not given: files of no stage, else the only stage, else ``sft``. Files of no stage are
        taken for any stage where they are alone, and for ``sft`` beside others.
    tag
        If not given: no tag, else the largest N of the tags ``dN``, else the newest by `changed`.
    step
        If not given, the newest.
    changed
        When a path was last changed, in seconds.

    Raises
    ------
    NanochatError
        Where nothing fits, or the choice would be a guess; it says what is there.
    """
    if stage is not None and stage not in STAGE_FOLDERS:
        raise unknown_name("stage", stage, STAGE_FOLDERS)
    paths = [path for path in paths if not _is_hidden(path)]
    places = _places(paths)
    if not places:
        raise NanochatError(_nothing(paths))
    notes: list[str] = []
    place = _of_tag(_of_stage(places, stage, notes), tag, changed or {}, notes)
    chosen = _of_step(place, step, notes)
    tokenizer = find_tokenizer(paths, place.folder)
    files = [*tokenizer_files(paths, tokenizer), *place.files(chosen)]
    return Layout(place.folder, place.prefix, chosen, tokenizer, tuple(files), tuple(notes))


def find_tokenizer(paths: Iterable[str], checkpoint_dir: str = "") -> str | None:
    """Find the folder of the tokenizer that lies with a checkpoint, or None.

    In ``tokenizer/`` beside the checkpoint or at the top; else beside the checkpoint or at the
    top themselves; else wherever there is just one.
    """
    folders: dict[str, set[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        if not _is_hidden(path):
            folders.setdefault(folder, set()).add(name)
    for folder in (_join(checkpoint_dir, "tokenizer"), "tokenizer"):
        if not {"tokenizer.json", "tokenizer.pkl"}.isdisjoint(folders.get(folder, ())):
            return folder
    # The pickle first: a tokenizer.json outside of tokenizer/ may be one of another format.
    for name in ("tokenizer.pkl", "tokenizer.json"):
        having = [folder for folder, names in folders.items() if name in names]
        near = [folder for folder in (checkpoint_dir, "") if folder in having]
        if near or len(having) == 1:
            return (near or having)[0]
    return None


def tokenizer_files(paths: Iterable[str], folder: str | None) -> list[str]:
    """Return the paths of a tokenizer's files in a folder; an empty list where `folder` is None."""
    wanted = {_join(folder, name) for name in TOKENIZER_FILES} if folder is not None else set()
    return [path for path in paths if path in wanted]


def _places(paths: Sequence[str]) -> list[_Place]:
    known = set(paths)
    steps: dict[tuple[str, str], list[int]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        match = _MODEL.fullmatch(name)
        if match and _join(folder, f"{match[1] or ''}meta_{match[2]}.json") in known:
            steps.setdefault((folder, match[1] or ""), []).append(int(match[2]))
    places = []
    for (folder, prefix), complete in steps.items():
        kind = _stage_and_tag(folder)
        if kind is not None:
            stage = prefix.removesuffix("_") or kind[0]
            places.append(_Place(folder, prefix, stage, kind[1], tuple(sorted(complete))))
    return sorted(places)


def _stage_and_tag(folder: str) -> tuple[str, str] | None:
    """Parse stage and tag from the path of a folder; None for a path of another form."""
    match folder.split("/"):
        case [""] | ["checkpoints"]:
            return "", ""
        case [name]:
            return (_STAGE_OF[name], "") if name in _STAGE_OF else ("", name)
        case [name, tag] if name in _STAGE_OF:
            return _STAGE_OF[name], tag
    return None


def _of_stage(places: list[_Place], stage: str | None, notes: list[str]) -> list[_Place]:
    there = {place.stage for place in places}
    named = ", ".join(sorted(there - {""}))
    if stage is not None:
        unnamed = "" in there and (not named or stage == "sft")
        if stage not in there and not unnamed:
            raise NanochatError(f"no checkpoint of stage {stage}; there is: {named}")
        chosen = stage if stage in there else ""
    elif len(there) == 1:
        chosen = next(iter(there))
    elif "" in there or "sft" in there:
        chosen = "" if "" in there else "sft"
        others = ", ".join(sorted(there - {chosen, ""}))
        what = f"stage {chosen}" if chosen else "what is of no stage"
        notes.append(f"{what} is used; also there: stage {others}")
    else:
        raise NanochatError(f"it has several stages ({named}): say which one")
    return [place for place in places if place.stage == chosen]


def _of_tag(
    places: list[_Place], tag: str | None, changed: Mapping[str, float], notes: list[str]
) -> _Place:
    tags = ", ".join(sorted({place.tag for place in places} - {""})) or "none"
    if tag is not None and tag not in {place.tag for place in places}:
        raise NanochatError(f"no checkpoint with tag {quoted(tag)}; tags there: {tags}")
    places = [place for place in places if tag in (None, place.tag)]
    if len(places) == 1:
        return places[0]
    depths = {place: int(place.tag[1:]) for place in places if re.fullmatch(r"d\d+", place.tag)}
    newest = _newest(places, changed)
    untagged = [place for place in places if not place.tag]
    if untagged:
        chosen = untagged[0]  # sorted: the top before checkpoints/
    elif depths:
        chosen = max(depths, key=depths.__getitem__)
    elif len(newest) == 1:
        chosen = newest[0]
    else:
        raise NanochatError(f"it has several models ({tags}): say which tag")
    others = ", ".join(place.folder or "the top" for place in places if place != chosen)
    notes.append(f"{chosen.folder or 'the top'} is used; also there: {others}")
    return chosen


def _newest(places: list[_Place], changed: Mapping[str, float]) -> list[_Place]:
    """Return the places changed last: all of them where no times are known."""
    times = [
        max(changed.get(path, 0.0) for step in place.steps for path in place.files(step))
        for place in places
    ]
    return [place for place, time in zip(places, times, strict=True) if time == max(times)]


def _of_step(place: _Place, step: int | None, notes: list[str]) -> int:
    newest = place.steps[-1]
    others = ", ".join(str(other) for other in place.steps if other != newest)
    if step is None and others:
        notes.append(f"step {newest}, the newest, is used; also there: {others}")
    if step is not None and step not in place.steps:
        have = ", ".join(map(str, place.steps))
        raise NanochatError(f"no complete checkpoint of step {step}; steps there: {have}")
    return newest if step is None else step


def _nothing(paths: Sequence[str]) -> str:
    names = [path for path in paths if re.search(r"(model|meta)_[^/]*\.(pt|json)$", path)] or paths
    shown = ", ".join(sorted(names)[:_NAMES_SHOWN]) or "nothing"
    tail = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"no model_*.pt with its meta_*.json; found: {shown}{tail}"


def _is_hidden(path: str) -> bool:
    return "/." in f"/{path}"


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
