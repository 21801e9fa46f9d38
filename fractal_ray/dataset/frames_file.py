"""The file ``frames.json``: the frames that zooms have chosen, written before their first points.

Frames are chosen once. A resumed sweep reads them from this file, so that a point whose run failed
at first and succeeded later cannot move them. It refuses a spec with other zooms.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from fractal_ray.dataset.store import Store
from fractal_ray.errors import reading
from fractal_ray.plane.axes import PER_STAGE
from fractal_ray.plane.cut_axis import CutAxis, value_at
from fractal_ray.plane.zoom import Zoom
from nanochat.errors import quoted

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
    text = store.read_text(FILE)
    if text is None:
        return []
    remedy = (
        "; restore it from a copy, or delete it: frames are then chosen again, from the present"
        " labels"
    )
    wrong_content = (KeyError, TypeError, ArithmeticError, AttributeError)
    with reading(f"{store.location}/{FILE}", remedy, also=wrong_content):
        content = json.loads(text)
        zooms = [Zoom.from_json(zoom) for zoom in content["zooms"]]
        _check(content["schema_version"], zooms)
    return zooms


def to_bytes(zooms: Sequence[Zoom]) -> bytes:
    """Return the content of the file for these frames."""
    content = {"schema_version": _VERSION, "zooms": [zoom.to_json() for zoom in zooms]}
    return f"{json.dumps(content, indent=1)}\n".encode()


def _check(version: Any, zooms: Sequence[Zoom]) -> None:
    if version != _VERSION:
        raise ValueError(f"schema_version is {quoted(version)}, this fractal-ray reads {_VERSION}")
    numbers: set[int] = set()
    for zoom in zooms:
        frame = zoom.frame
        whole = (frame.id, zoom.parent_id, frame.cells_x, frame.cells_y)
        if not all(type(number) is int for number in whole):
            raise ValueError(f"frame {quoted(frame.id)}: numbers and cells must be whole")
        if frame.id < PER_STAGE or frame.id in numbers or min(frame.cells_x, frame.cells_y) < 1:
            raise ValueError(f"frame {frame.id}: invalid number or cells, or a repeated number")
        if zoom.parent_id >= PER_STAGE and zoom.parent_id not in numbers:
            raise ValueError(f"frame {frame.id} is cut from {zoom.parent_id}, which is missing")
        numbers_of = (zoom.fx, zoom.fy, zoom.x, zoom.y, zoom.factor, zoom.seed)
        if any(type(number) not in (int, float) for number in numbers_of):
            raise ValueError(f"frame {frame.id}: centre, factor and seed must be numbers")
        if not (isinstance(zoom.rule, str) and isinstance(zoom.label, dict)):
            raise ValueError(f"frame {frame.id}: the rule must be a text, the label an object")
        for axis in (frame.x, frame.y):
            if not isinstance(axis.param, str) or axis.scale not in ("log", "linear"):
                raise ValueError(f"frame {frame.id}: an axis needs a name, and log or linear")
            assert isinstance(axis, CutAxis)
            low, high = axis.ends()
            if not (low.is_finite() and high.is_finite() and low < high):
                raise ValueError(f"frame {frame.id}: {axis.param} from {low} to {high}")
            if (axis.min, axis.max) != (value_at(axis, low), value_at(axis, high)):
                raise ValueError(f"frame {frame.id}: ends of {axis.param} contradict each other")
        numbers.add(frame.id)
