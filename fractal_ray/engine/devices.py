"""Kinds of devices that have computed a dataset: the bits of a run differ between them."""

from collections.abc import Iterable

from fractal_ray.engine.base import TileResult


class Devices:
    """Kinds of devices so far.

    Parameters
    ----------
    known
        Kinds in the dataset's rows.
    homogeneous
        True if only one kind is allowed.
    """

    def __init__(self, known: Iterable[str], *, homogeneous: bool) -> None:
        self._known, self._homogeneous = set(known), homogeneous

    def note(self, result: TileResult) -> str | None:
        """Add the device of a result; return the reason to refuse the result, if there is one."""
        if self._homogeneous and self._known and result.device not in self._known:
            return (
                f"resources.homogeneous: {', '.join(sorted(self._known))} computed this dataset,"
                f" and a worker on {result.host} has {result.device}, whose bits differ; ask for"
                " the first with resources.accelerator_type, or set homogeneous: false"
            )
        self._known.add(result.device)
        return None

    def warning(self) -> str:
        """Return a warning for a mix of kinds; "" for one kind."""
        if len(self._known) < 2:
            return ""
        return f"computed on {' and '.join(sorted(self._known))}: their bits differ"
