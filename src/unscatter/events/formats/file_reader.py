"""What the readers of all formats do alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from unscatter.errors import ColumnError, EventsFileError
from unscatter.events.formats.messages import missing_column, readable
from unscatter.events.formats.protocol import ROWS_PER_CHUNK, Chunk

#: Columns by name, some consecutive rows of them.
Piece = dict[str, np.ndarray]


class FileReader(ABC):
    """One opened file: a format says what its columns are and how their rows are read, the rest is here."""

    location: str
    #: Begins messages where the file has several tables, as "the tree 'events' of ".
    part: str = ""
    #: Errors by which the library of a format tells of damage, beside OSError and ValueError.
    damage: tuple[type[Exception], ...] = ()

    @abstractmethod
    def columns(self) -> dict[str, np.dtype]:
        """Names and dtypes of the columns; dtype object where there is not one real number per row."""

    @abstractmethod
    def num_rows(self) -> int | None:
        """Number of rows; None where only reading tells."""

    @abstractmethod
    def _read(self, columns: tuple[str, ...], first_row: int, rows_per_chunk: int) -> Iterator[Piece]:
        """Consecutive pieces from ``first_row`` on, of whatever length suits the format."""

    def entrances(self) -> Sequence[int] | None:
        """Rows beside the first at which reading can begin without the work for those before them; None where it can begin anywhere."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def _repeated(self) -> tuple[str, ...]:
        """Names that more than one column has."""
        return ()

    def _has(self, name: str) -> bool:
        """Whether a column of this name can be read."""
        return name in self.columns()

    def chunks(self, columns: Sequence[str], *, first_row: int = 0, rows_per_chunk: int = ROWS_PER_CHUNK) -> Iterator[Chunk]:
        """See :class:`~unscatter.events.formats.EventReader`."""
        names = tuple(dict.fromkeys(columns))
        row = first_row
        with readable(self.location, *self.damage):
            self._check_names(names)
            for piece in self._read(names, first_row, rows_per_chunk):
                for chunk in _cut(piece, row, rows_per_chunk):
                    yield chunk
                    row = chunk.first_row + _length(chunk.columns)
        self._check_rows(first_row, row)

    def _check_names(self, names: Sequence[str]) -> None:
        for name in names:
            if not self._has(name):
                raise missing_column(name, tuple(self.columns()), self.location)
            if name in self._repeated():
                raise ColumnError(f"'{self.location}' has more than one column '{name}'. Rename one of them.")

    def _check_rows(self, first_row: int, last_row: int) -> None:
        if first_row == last_row == 0:
            raise EventsFileError(f"{self.part}'{self.location}' has columns but no events (0 rows).")
        promised = self.num_rows()
        if promised is not None and last_row < promised:
            raise EventsFileError(f"'{self.location}' is cut short: it promises {promised} rows, but ends after {last_row}.")

    def __enter__(self) -> FileReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _length(piece: Piece) -> int:
    return len(next(iter(piece.values())))


def _cut(piece: Piece, first_row: int, rows: int) -> Iterator[Chunk]:
    for start in range(0, _length(piece), rows):
        yield Chunk(first_row + start, {name: column[start : start + rows] for name, column in piece.items()})
