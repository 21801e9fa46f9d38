"""Links that lead out of a folder whose files are sent: nothing is sent unsaid from elsewhere."""

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, sorted; links to folders are not followed."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(place) / name for name in sorted(names) if (Path(place) / name).is_file())


def leads_out(path: Path, folder: Path) -> bool:
    """Return True if a path below a folder is a link, or lies behind one, that leads out of it."""
    return not path.resolve().is_relative_to(folder.resolve())
