"""Compaction: the small parts of a dataset are joined into a few large ones."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from fractal_ray.dataset import part_damage
from fractal_ray.dataset import parts as part_files
from fractal_ray.dataset.rows import (
    FAILURES_SCHEMA,
    POINTS_SCHEMA,
    is_measured,
    with_columns,
)
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
        intact = [part for part in listed if part_damage.is_readable(filesystem, part)]
        rules = store.rules(kind)
        foreign = part_files.foreign_parts(filesystem, intact, rules)
        own = [part.path for part in intact if part.path not in foreign]
        schema = with_columns(schema, part_files.metric_columns(filesystem, intact, rules))
        older = _lacking_columns(filesystem, own, schema)
        for folder, readable in _by_folder(own).items():
            if len(readable) > 1 or older.intersection(readable):
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


def _by_folder(parts: Iterable[str]) -> dict[str, list[str]]:
    folders: dict[str, list[str]] = {}
    for part in parts:
        folders.setdefault(part.rsplit("/", 1)[0], []).append(part)
    return folders


def _lacking_columns(
    filesystem: pafs.FileSystem, parts: Sequence[str], schema: pa.Schema
) -> set[str]:
    """Return the parts that lack a column of the schema, or of another part.

    Columns of values that not every sweep measures are needed in all parts only if one has them.
    """
    columns = {part: {*pq.read_schema(part, filesystem=filesystem).names} for part in parts}
    needed = {name for name in schema.names if not is_measured(name)}.union(*columns.values())
    return {part for part, names in columns.items() if not needed <= names}
