"""The file ``frames.json``: the frames that zooms have chosen, written before their first points.

Frames are chosen once. A resumed sweep reads them from this file, so that a point whose run failed
at first and succeeded later cannot move them. It refuses a spec with other zooms.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import PER_STAGE
from fractal_ray.plane.cut_axis import CutAxis, value_at
from fractal_ray.plane.zoom import Zoom

FILE: Final = "frames.json"
"""Name of the file."""
_VERSION = 1


def read_zooms(store: Store) -> list[Zoom]:
    """Return the chosen frames of a dataset, in the order of their choice.

    Raises
    ------
    SweepError
        If the file is damaged, or has a later version.
    """
    try:
        text = store.read_text(FILE)
        if text is None:
            return []
        content = json.loads(text)
        zooms = [Zoom.from_json(zoom) for zoom in content["zooms"]]
        _check(content["schema_version"], zooms)
    except SweepError:  # a pointer of git-lfs, named with its remedy
        raise
    except (ValueError, KeyError, TypeError, ArithmeticError, AttributeError) as error:
        raise SweepError(
            f"{store.location}/{FILE} is damaged ({error}); restore it from a copy, or delete it:"
            " frames are then chosen again, from the present labels"
        ) from error
    return zooms


def to_bytes(zooms: Sequence[Zoom]) -> bytes:
    """Return the content of the file for these frames."""
    content = {"schema_version": _VERSION, "zooms": [zoom.to_json() for zoom in zooms]}
    return f"{json.dumps(content, indent=1)}\n".encode()


def _check(version: Any, zooms: Sequence[Zoom]) -> None:
    if version != _VERSION:
        raise ValueError(f"schema_version is {version!r}, this fractal-ray reads {_VERSION}")
    numbers: set[int] = set()
    for zoom in zooms:
        frame = zoom.frame
        whole = (frame.id, zoom.parent_id, frame.cells_x, frame.cells_y)
        if not all(type(number) is int for number in whole):
            raise ValueError(f"frame {frame.id!r}: numbers and cells must be whole")
        if frame.id < PER_STAGE or frame.id in numbers or min(frame.cells_x, frame.cells_y) < 1:
            raise ValueError(f"frame {frame.id}: invalid number or cells, or a repeated number")
        if zoom.parent_id >= PER_STAGE and zoom.parent_id not in numbers:
            raise ValueError(f"frame {frame.id} is cut from {zoom.parent_id}, which is missing")
        for axis in (frame.x, frame.y):
            assert isinstance(axis, CutAxis)
            low, high = axis.ends()
            if not (low.is_finite() and high.is_finite() and low < high):
                raise ValueError(f"frame {frame.id}: {axis.param} from {low} to {high}")
            if (axis.min, axis.max) != (value_at(axis, low), value_at(axis, high)):
                raise ValueError(f"frame {frame.id}: ends of {axis.param} contradict each other")
        numbers.add(frame.id)
