"""The parts that a dataset has received since it was last read."""

from collections.abc import Iterator

import pyarrow as pa

from fractal_ray.dataset import part_damage
from fractal_ray.dataset import parts as part_files
from fractal_ray.dataset.store import Store


def new_parts(
    store: Store, kind: str, columns: list[str], seen: set[str], *, skip_corrupt: bool = False
) -> Iterator[pa.Table]:
    """Yield the parts that were not read before, one after the other.

    A part that is joined with others between the listing and the reading is left out: its rows
    are in a part that the next listing has.

    Parameters
    ----------
    store
        The dataset.
    kind
        "points" or "failures".
    columns
        Names of the columns to read.
    seen
        Parts that were already read; parts are added when they are read, and removed when they
        no longer exist.
    skip_corrupt
        Leave out parts that cannot be read instead of raising.

    Raises
    ------
    SweepError
        The message names the part that cannot be read.
    """
    parts = store.listed(kind)
    seen &= {part.path for part in parts}
    rules = None
    for part in parts:
        if part.path in seen:
            continue
        rules = rules or store.rules(kind)
        try:
            table = part_damage.read_part(store.filesystem, part, columns, rules)
        except FileNotFoundError:
            continue
        except part_damage.DamagedPartError:
            if not skip_corrupt:
                part_files.refuse_git_lfs_pointer(part.path)
                raise
            seen.add(part.path)
            continue
        seen.add(part.path)
        yield table
