"""Compaction: the small parts of a dataset are joined into a few large ones."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow.fs as pafs

from fractal_ray.dataset import part_damage
from fractal_ray.dataset import parts as part_files
from fractal_ray.dataset.rows import FAILURES_SCHEMA, POINTS_SCHEMA
from fractal_ray.dataset.store import Store

_DROP_REPEATED = {
    "points": part_files.drop_repeated_points,
    "failures": part_files.drop_repeated_failures,
}


def compact(store: Store, smaller_than: int | None = None) -> None:
    """Join the parts of each frame and level into one; safe to interrupt.

    The joined part appears before the old parts are deleted; in between a reader finds rows twice
    and drops the second. Parts that cannot be read, and parts of other sweeps, stay unchanged. A
    part that lacks columns of this version is rewritten, because other readers need equal columns
    in all parts.

    Parameters
    ----------
    store
        The dataset. Only its one writer may join parts.
    smaller_than
        Bytes; larger parts stay unchanged, so that a sweep of several days that joins its small
        parts from time to time does not rewrite rows again and again. None for all parts.
    """
    filesystem = store.filesystem
    for kind, schema in (("points", POINTS_SCHEMA), ("failures", FAILURES_SCHEMA)):
        listed = (
            part for part in store.listed(kind) if smaller_than is None or part.size < smaller_than
        )
        for folder, parts in _by_folder(listed).items():
            intact = [part for part in parts if part_damage.is_readable(filesystem, part)]
            foreign = part_files.foreign_parts(filesystem, intact, store.rules(kind))
            readable = [part.path for part in intact if part.path not in foreign]
            lacks = (part_files.lacks_columns(filesystem, part, schema) for part in readable)
            if len(readable) > 1 or any(lacks):
                rows = store.read_parts(readable, schema)
                if part_files.row_problem(rows):
                    continue
                table = _DROP_REPEATED[kind](rows)
                store.write_part(table.select(schema.names), folder)
                for part in readable:
                    store.delete_file(part.removeprefix(f"{store.root}/"))
    if not store.is_remote:
        # Only a kill between write and rename leaves these, because there is one writer.
        for left in Path(store.root).rglob(".part-*.tmp"):
            left.unlink(missing_ok=True)


def _by_folder(parts: Iterable[pafs.FileInfo]) -> dict[str, list[pafs.FileInfo]]:
    folders: dict[str, list[pafs.FileInfo]] = {}
    for part in parts:
        folders.setdefault(part.path.rsplit("/", 1)[0], []).append(part)
    return folders
