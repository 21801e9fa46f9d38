"""Bad rows of a data source, which end the reading or are left out up to a limit."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from nanochat.errors import NanochatError

T = TypeVar("T")
NAMED = 3
"""Number of bad rows whose errors are kept."""


@dataclass
class SkippedRows:
    """Bad rows that were left out while one split of a data source was read.

    Attributes
    ----------
    limit
        Number of bad rows that may be left out. The next bad row ends the reading.
    count
        Number of bad rows left out so far.
    first
        Errors of the first of them, each with the file and the row, in the order of the source.

    Examples
    --------
    >>> skipped = SkippedRows(limit=1)
    >>> skipped.add(NanochatError("talks.jsonl, row 3: there are no messages"))
    >>> skipped.lines()
    ['1 bad row left out', 'talks.jsonl, row 3: there are no messages']
    """

    limit: int = 0
    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, error: NanochatError) -> None:
        """Count a bad row.

        Raises
        ------
        NanochatError
            For a row beyond the limit; the error itself where no row may be left out.
        """
        if not self.limit:
            raise error
        if self.count == self.limit:
            raise NanochatError(
                f"{error} (bad row number {self.count + 1}; skip_bad_rows is {self.limit})"
            ) from error
        self.count += 1
        if len(self.first) < NAMED:
            self.first.append(str(error))

    def lines(self) -> list[str]:
        """Return lines for the user: the number of rows, and the errors of the first of them."""
        if not self.count:
            return []
        more = [f"... and {self.count - NAMED:,} more"] if self.count > NAMED else []
        rows = "row" if self.count == 1 else "rows"
        return [f"{self.count:,} bad {rows} left out", *self.first, *more]

    def record(self) -> dict[str, Any]:
        """Return the count and the first errors as plain JSON; empty where no row was left out."""
        return {"count": self.count, "first": list(self.first)} if self.count else {}


def parse_rows(
    rows: Iterable[tuple[str, Any]], parse: Callable[[str, Any], T], skipped: SkippedRows
) -> Iterator[T]:
    """Yield the parsed rows in their order, without the bad ones.

    Parameters
    ----------
    rows
        Names and rows of `nanochat.data.rows.read_rows`; a row may be the error of its reading.
    parse
        Called with both; raises NanochatError for a bad row.
    skipped
        Counts the bad rows.

    Raises
    ------
    NanochatError
        For a bad row beyond the limit of `skipped`.
    """
    for where, row in rows:
        try:
            if isinstance(row, NanochatError):
                raise row
            parsed = parse(where, row)
        except NanochatError as error:
            skipped.add(error)
        else:
            yield parsed
