"""Lives of the dispatcher's process: an end for a dispatcher that dies again and again."""

import os
from pathlib import Path

from fractal_ray.errors import SweepStoppedError

_DEATHS = 3


class Lives:
    """Record of the dispatcher's processes since a row was last written, in a file.

    Ray starts a lost dispatcher again without limit, which is right while the sweep gets on.

    Parameters
    ----------
    file
        File on the node of all these processes; made at the first start.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._wrote_rows = False

    def begin(self) -> None:
        """Record the start of this process.

        Raises
        ------
        SweepStoppedError
            After three deaths in a row without a written row between them.
        """
        ended = self._file.read_text().split() if self._file.exists() else []
        if len(ended) >= _DEATHS:
            raise SweepStoppedError(
                f"the dispatcher died {len(ended)} times in a row without a written row between"
                f" (processes {', '.join(ended)}); all rows of the dataset are safe"
            )
        self._file.write_text("\n".join([*ended, str(os.getpid())]))

    def record_rows(self) -> None:
        """Record that this process has written rows: earlier deaths no longer count."""
        if not self._wrote_rows:
            self._wrote_rows = True
            self._file.write_text(str(os.getpid()))
