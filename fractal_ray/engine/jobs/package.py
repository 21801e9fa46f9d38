"""The package of a job: the code of a run, the spec and its files, in one zip file."""

import os
import shlex
import subprocess
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from fractal_ray.engine.jobs.own_code import PACKAGES, installed_files, is_for_runs
from fractal_ray.errors import SweepError

# Equal files must give an equal package, which Ray then does not upload a second time.
_TIME = (1980, 1, 1, 0, 0, 0)
_CHUNK = 1 << 20
_PROJECT = "pyproject.toml"
_NOTHING: Mapping[str, Path] = MappingProxyType({})
_NAMED = 8  # links that a message names


@dataclass(frozen=True)
class Shipment:
    """Files that a job finds in its working directory.

    Attributes
    ----------
    root
        Folder that becomes the working directory: the top of the git repository, or, outside of
        one, the current folder.
    sizes
        Bytes of each file by its path in the job, with forward slashes, in order.
    untracked
        Files that git neither tracks nor ignores; they are not shipped.
    links
        The links among the files, which are shipped as the files that they lead to, with these.
    installed
        Files of installed packages by their path in the job; all others lie below `root`.
    """

    root: Path
    sizes: Mapping[str, int]
    untracked: tuple[str, ...]
    links: Mapping[str, str] = field(default_factory=dict)
    installed: Mapping[str, Path] = field(default_factory=dict)

    def source(self, name: str) -> Path:
        """Return the file of this machine that is shipped under a path."""
        return self.installed.get(name, self.root / name)

    def __contains__(self, name: str) -> bool:
        """Return True if a file, or a file below a folder, is shipped."""
        return name in self.sizes or any(other.startswith(f"{name}/") for other in self.sizes)

    def name(self, path: str | Path) -> str | None:
        """Return the path below `root`; None for a path outside of it."""
        whole = Path(os.path.abspath(path))  # noqa: PTH100 - a link keeps its own name
        return whole.relative_to(self.root).as_posix() if whole.is_relative_to(self.root) else None

    def refuse_missing(self, path: str, what: str) -> None:
        """Raise a SweepError when a file or folder that the job needs is not shipped."""
        name = self.name(path)
        if name is None:
            raise SweepError(
                f"{what} {path} lies outside of {self.root}, which is what the job takes along;"
                " copy it in there"
            )
        if name in self:
            return
        if not Path(path).exists():
            raise SweepError(f"{what} {path} does not exist here, so the job would not find it")
        if Path(path).is_dir() and not any(_files_below(self.root, Path(path))):
            raise SweepError(f"{what} {path} holds no file, so the job would not find it")
        mend = f"--include {shlex.quote(path)}"
        if self._can_be_added(name):
            mend = f"git add {shlex.quote(path)} (no commit is needed), or {mend}"
        raise SweepError(f"{what} {path} would not be shipped; {mend}")

    def left_in(self, folder: str) -> str | None:
        """Return a line on the files of a folder that are not shipped; None if there are none."""
        names = _files_below(self.root, Path(folder)) if Path(folder).is_dir() else ()
        left = sorted(name for name in names if name not in self.sizes)
        return f"not shipped: {_files(len(left))}: {_first(left)}" if left else None

    def _can_be_added(self, name: str) -> bool:
        """Return True if `git add` ships a path: git refuses ignored files and nested repositories.

        A link to a folder that is added is still not shipped.
        """
        below = (o for o in self.untracked if o == name or o.startswith(f"{name}/"))
        return any((self.root / other).is_file() for other in below)


def gather(
    paths: Iterable[str],
    include: Iterable[str] = (),
    *,
    data: Iterable[str] = (),
    install: bool = False,
    beside: Mapping[str, Path] = _NOTHING,
) -> Shipment:
    """List the files that a job started from the current folder ships.

    These are the packages `fractal_ray` and `nanochat` as far as runs need them, the given paths
    and `pyproject.toml`. In a git repository only files that git tracks are shipped, in their
    present state. The packages are those of the repository, or else the installed ones.

    Parameters
    ----------
    paths
        The spec, and the files and folders that it names.
    include
        Files, and folders with all their files, shipped although git does not track them.
    data
        Data files of the packages that the sweep reads.
    install
        Ship what pip needs to install the project: its readme and licence, or, for a project other
        than fractal-ray, all files that git tracks.
    beside
        More files of this machine by their path in the job.

    Raises
    ------
    SweepError
        When git fails, an included path does not exist or lies outside of the root, or a link that
        `include` does not name leads out of the root.
    """
    here = Path.cwd()
    top = _git(here, "rev-parse", "--show-toplevel")
    root = here if top is None else Path(top.removesuffix("\n"))
    named = list(_below(root, paths))
    untracked: list[str] = []
    if top is None:
        available = {name for path in named for name in _files_below(root, root / path)}
    else:
        # Changed files are shipped in their present state, deleted ones are not.
        tracked = _names(root, "--cached", "--recurse-submodules")
        untracked = _names(root, "--others", "--exclude-standard")
        available = {name for name in tracked if (root / name).is_file()}
    included = [*include]
    more = set(_included(root, included))
    own = [package for package in PACKAGES if f"{package}/__init__.py" in available]
    wanted = [*named, *own, *([_PROJECT] if own else [])]
    if install and _PROJECT in available:
        wanted += _for_pip(root) if own else ["."]
    chosen = {name for name in available if _is_below(name, wanted)}
    data = frozenset(data)
    files = more | {n for n in chosen if not _is_below(n, own) or is_for_runs(n, data)}
    ends = {name: _end(root, root / name) for name in sorted(files)}
    links = {name: end for name, end in ends.items() if end != name}
    _refuse_links_out(root, links, {_end(root, Path(path)) for path in included})
    others = [package for package in PACKAGES if package not in own]
    installed = {**installed_files(others, data), **beside}
    sources = {**installed, **{name: root / name for name in files}}
    return Shipment(
        root,
        {name: sources[name].stat().st_size for name in sorted(sources)},
        tuple(name for name in untracked if name not in files),
        links,
        {name: file for name, file in installed.items() if name not in files},
    )


def _below(root: Path, paths: Iterable[str]) -> Iterator[str]:
    """Yield paths as they are below the root; those outside of it are left out."""
    for path in paths:
        whole = Path(os.path.abspath(path))  # noqa: PTH100 - a link keeps its own name
        if whole.is_relative_to(root):
            yield whole.relative_to(root).as_posix()


def _is_below(name: str, paths: Iterable[str]) -> bool:
    """Return True for one of the paths, and for a file below one of them."""
    return any(path in (".", name) or name.startswith(f"{path}/") for path in paths)


def _for_pip(root: Path) -> list[str]:
    """Return the files that `pyproject.toml` names as its readme and licence."""
    try:
        project: Any = tomllib.loads((root / _PROJECT).read_text(encoding="utf-8"))["project"]
        readme = project.get("readme", [])
        readme = readme.get("file", []) if isinstance(readme, dict) else readme
        patterns = project.get("license-files", [])
        licences = [file for pattern in patterns for file in root.glob(pattern)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SweepError(f"--install: {root / _PROJECT} cannot be read: {error}") from error
    names = [readme] if isinstance(readme, str) else []
    return [*names, *(file.relative_to(root).as_posix() for file in licences)]


def _end(root: Path, path: Path) -> str:
    """Return the place of a file with all links followed: below the root, or a whole path.

    The folder ``.git`` counts as outside of the root: it may hold keys, and is never shipped.
    """
    whole, top = path.resolve(), root.resolve()
    below = whole.relative_to(top) if whole.is_relative_to(top) else None
    return str(whole) if below is None or ".git" in below.parts else below.as_posix()


def _refuse_links_out(root: Path, links: Mapping[str, str], included: set[str]) -> None:
    """Refuse links that lead out of the root, unless an included path leads there too."""
    lines = [
        f"  {name} -> {end}"
        for name, end in links.items()
        if end.startswith("/") and not any(Path(end).is_relative_to(path) for path in included)
    ]
    if not lines:
        return
    if len(lines) > _NAMED:
        lines[_NAMED:] = [f"  and {len(lines) - _NAMED} more"]
    mend = (
        "A job would take along the files there. Take the link out of git (git rm --cached PATH),"
        " put the file in its place, or ask for it by the path of the link: --include PATH"
    )
    first = f"nothing was sent, because links lead out of {root}:"
    raise SweepError("\n".join([first, *lines, mend]))


def _git(folder: Path, *arguments: str) -> str | None:
    """Return the output of git; None outside of a repository, or without git."""
    program = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(program, capture_output=True, env={**os.environ, "LC_ALL": "C"})
    except FileNotFoundError:
        return None
    if done.returncode == 0:
        return os.fsdecode(done.stdout)
    reason = os.fsdecode(done.stderr).strip()
    if "not a git repository" in reason:
        return None
    raise SweepError(f"git cannot say which files are tracked: {reason}")


def _names(root: Path, *which: str) -> list[str]:
    listed = _git(root, "ls-files", "-z", *which)
    return [name for name in (listed or "").split("\0") if name]


def _included(root: Path, paths: Iterable[str]) -> Iterable[str]:
    for path in paths:
        whole = Path(os.path.abspath(path))  # noqa: PTH100 - a link keeps its own name
        if not whole.exists():
            raise SweepError(f"--include {path}: there is no such file or folder")
        if not whole.is_relative_to(root):
            raise SweepError(f"--include {path}: only what lies in {root} can be shipped")
        names = sorted(_files_below(root, whole))
        if not names:
            raise SweepError(f"--include {path}: there is no file to ship in it")
        yield from names


def _files_below(root: Path, path: Path) -> Iterator[str]:
    """Yield the names below `root` of a file, or of the files in a folder that can be shipped."""
    whole = Path(os.path.abspath(path))  # noqa: PTH100 - a link keeps its own name
    for file in whole.rglob("*") if whole.is_dir() else [whole]:
        parts = file.relative_to(root).parts
        if file.is_file() and ".git" not in parts and "__pycache__" not in parts:
            yield "/".join(parts)


def write_package(shipment: Shipment, path: Path, limit: int) -> int:
    """Write the zip file; equal files give equal bytes.

    Parameters
    ----------
    shipment
        The files to pack.
    path
        The file to write.
    limit
        Largest size in bytes.

    Returns
    -------
    int
        Size in bytes.

    Raises
    ------
    SweepError
        When the package grows beyond the limit, or a file cannot be read.
    """
    with path.open("wb") as out, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        for name in shipment.sizes:
            try:
                _add(package, shipment.source(name), name, limit)
            except (OSError, UnicodeEncodeError) as error:
                raise SweepError(f"{name!r} cannot be shipped: {error}") from error
    size = path.stat().st_size
    if size > limit:
        raise _too_large(limit)
    return size


def _add(package: zipfile.ZipFile, source: Path, name: str, limit: int) -> None:
    status = source.stat()
    entry = zipfile.ZipInfo(name, _TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (0o755 if status.st_mode & 0o100 else 0o644) << 16
    entry.file_size = status.st_size
    with source.open("rb") as data, package.open(entry, "w") as into:
        while chunk := data.read(_CHUNK):
            into.write(chunk)
            assert package.fp is not None
            if package.fp.tell() > limit:
                raise _too_large(limit)


def _too_large(limit: int) -> SweepError:
    return SweepError(
        f"the package is larger than {size_text(limit)}, nothing was sent. Ray refuses uploads"
        " above 100 MiB. Put models and data into a bucket, the hub (hf:owner/name) or a folder"
        " that all nodes see, name them in the spec from there, and take them out of git:"
        " git rm --cached PATH"
    )


def offenders(sizes: Mapping[str, int], count: int = 8) -> list[tuple[str, int]]:
    """List the files and folders that make up most of a package, largest first.

    A folder is replaced by its contents while one entry in it is more than half of its size, so
    that the list names the cause. Nothing is counted twice.

    Parameters
    ----------
    sizes
        Bytes by path.
    count
        Number of entries.

    Returns
    -------
    list of (path, bytes)
        Paths of folders end with a slash.
    """
    inside: dict[str, Counter[str]] = {}
    for name, size in sizes.items():
        path = ""
        for parent in [*(f"{p}/" for p in _parents(name)), name]:
            inside.setdefault(path, Counter())[parent] += size
            path = parent
    largest = Counter(inside.get("", {}))
    while opened := [path for path in largest if _hides_one(path, largest[path], inside)]:
        for path in opened:
            del largest[path]
            largest.update(inside[path])
    return largest.most_common(count)


def _parents(name: str) -> Sequence[str]:
    return [str(parent) for parent in PurePosixPath(name).parents if str(parent) != "."][::-1]


def _hides_one(path: str, size: int, inside: Mapping[str, Counter[str]]) -> bool:
    return path in inside and max(inside[path].values()) * 2 > size


def describe(shipment: Shipment, size: int | None = None) -> list[str]:
    """Return lines on the size of the package, its largest parts and the files left out."""
    whole = sum(shipment.sizes.values())
    zipped = "" if size is None else f", {size_text(size)} as a zip file"
    count = _files(len(shipment.sizes))
    lines = [f"package: {count}, {size_text(whole)}{zipped}; the largest:"]
    lines += [f"  {size_text(part):>10}  {path}" for path, part in offenders(shipment.sizes)]
    if links := [f"{name} -> {end}" for name, end in shipment.links.items()]:
        lines.append(f"shipped as the files that they lead to: {_first(links)}")
    if left := [name for name in shipment.untracked if _is_below(name, PACKAGES)]:
        count = _files(len(left))
        lines.append(f"not shipped: {count} of the code, which git does not track: {_first(left)}")
    return lines


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _files(count: int) -> str:
    return f"{count:,} file" + ("" if count == 1 else "s")


def size_text(size: int) -> str:
    """Return a size in KiB or MiB."""
    return f"{size / 2**10:,.1f} KiB" if size < 2**20 else f"{size / 2**20:,.1f} MiB"
