"""What every reader of a file format offers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

#: Rows that are read at a time, unless something else is asked for.
ROWS_PER_CHUNK = 1 << 20


class Chunk(NamedTuple):
    """Some consecutive rows of some columns, as the file has them."""

    first_row: int
    """Row of the file that the first one is, counted from 0."""
    columns: dict[str, np.ndarray]
    """One-dimensional arrays of real numbers in the dtypes of the file, of equal lengths; missing values are NaN."""


@runtime_checkable
class EventReader(Protocol):
    """One file (or one tree of it), opened."""

    location: str
    """The file, as it stands in messages."""

    def columns(self) -> dict[str, np.dtype]:
        """Names and dtypes of the columns, without reading rows; dtype object where there is not one real number per row."""
        ...

    def num_rows(self) -> int | None:
        """Number of rows; None where only reading tells, as for text."""
        ...

    def entrances(self) -> Sequence[int] | None:
        """Rows beside the first at which reading can begin without the work for those before them; None where it can begin anywhere."""
        ...

    def chunks(self, columns: Sequence[str], *, first_row: int = 0, rows_per_chunk: int = ROWS_PER_CHUNK) -> Iterator[Chunk]:
        """All rows from ``first_row`` on, in order, at most ``rows_per_chunk`` at a time.

        Raises:
            EventsFileError: the file is damaged, cut short or has no rows.
            ColumnError: a column is not there.
            EventsError: a column does not hold one real number per row; the message names the first row that does not.
        """
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...

    def __enter__(self) -> EventReader: ...

    def __exit__(self, *exception: object) -> None: ...
