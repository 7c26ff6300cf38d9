"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq

from unscatter.events.formats.arrow_columns import batch_columns, dtypes, repeated
from unscatter.events.formats.file_reader import FileReader, Piece
from unscatter.events.locations import arrow_input


class ParquetReader(FileReader):
    """One Parquet file, read row group by row group."""

    def __init__(self, location: str) -> None:
        self.location = location
        # Not a data set of pyarrow, which adds columns for directories that are named like "year=2024".
        self._file = pq.ParquetFile(arrow_input(location, ahead=None))
        self._schema = self._file.schema_arrow

    def columns(self) -> dict[str, np.dtype]:
        """Names and dtypes of the columns."""
        return dtypes(self._schema)

    def num_rows(self) -> int:
        """Number of rows, from the footer."""
        return self._file.metadata.num_rows

    def entrances(self) -> list[int]:
        """First rows of the row groups: of each of them all is decoded before its first row can be had."""
        metadata = self._file.metadata
        return np.cumsum([metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)], dtype=np.int64)[:-1].tolist()

    def _repeated(self) -> tuple[str, ...]:
        return repeated(self._schema.names)

    def _read(self, columns: tuple[str, ...], first_row: int, rows_per_chunk: int) -> Iterator[Piece]:
        groups, row = self._groups_from(first_row)
        for batch in self._file.iter_batches(rows_per_chunk, row_groups=groups, columns=list(columns)):
            skip, row = min(max(first_row - row, 0), len(batch)), row + len(batch)
            if skip < len(batch):
                yield batch_columns(batch.slice(skip), columns, self.location, row - len(batch) + skip)

    def _groups_from(self, first_row: int) -> tuple[list[int], int]:
        """Row groups that hold ``first_row`` and what follows, and the first row of the first of them."""
        metadata = self._file.metadata
        ends = np.cumsum([metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)], dtype=np.int64)
        first = int(np.searchsorted(ends, first_row, side="right"))
        return list(range(first, len(ends))), int(ends[first - 1]) if first else 0

    def close(self) -> None:
        """Let go of the file."""
        self._file.close(force=True)
