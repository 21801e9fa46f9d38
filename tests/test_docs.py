"""Pages for readers name files that exist, and docs/architecture.md names every room."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = "fractal_ray", "nanochat"
PAGES = (
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "deploy/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
_PATH = re.compile(r"[A-Za-z0-9_][\w.-]*/[\w./-]*\.(?:py|md|ipynb)\b")
_FILE = re.compile(r"(?<![\w*%./-])[a-z_]\w*\.(?:py|html|css|js)\b")
_EXAMPLES = re.compile(r"\b(?:path|results|my_\w+)/")
"""Paths that commands write, or that stand for a path of the reader."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text()) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page: Path) -> None:
    """A path counts from the root of the repository, from a package, or from the page."""
    text = re.sub(r"\]\([^)]*\)|\w+://\S+", "", page.read_text())
    bases = (ROOT, *(ROOT / package for package in PACKAGES), page.parent)
    missing = [
        path
        for path in _PATH.findall(text)
        if not _EXAMPLES.match(path) and not any((base / path).exists() for base in bases)
    ]
    assert not missing


def test_the_tree_of_rooms_is_that_of_the_packages() -> None:
    entries = set(_tree((ROOT / "docs" / "architecture.md").read_text()))
    missing = sorted(str(path) for path in entries if not (ROOT / path).exists())
    assert not missing
    folders = {
        path.parent.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert folders <= entries | {Path("fractal_ray/workloads/maps/sets")}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def _tree(text: str) -> Iterator[Path]:
    """Yield the folders and files of the trees in `text`, placed by their indentation."""
    for block in re.findall(r"```\n((?:fractal_ray|nanochat)/\n.*?)```", text, flags=re.DOTALL):
        folders: dict[int, Path] = {}
        for line in block.splitlines():
            name, indent = line.split()[0], len(line) - len(line.lstrip())
            parents = [folder for depth, folder in sorted(folders.items()) if depth < indent]
            if name.endswith("/"):
                folders = {depth: path for depth, path in folders.items() if depth < indent}
                folders[indent] = (parents[-1] if parents else Path()) / name
                yield folders[indent]
            for file in _FILE.findall(line):
                yield (folders[indent] if name.endswith("/") else parents[-1]) / file
