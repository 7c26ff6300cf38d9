"""Files of Arrow, also called Feather: record batches one after another, with an index or as a stream."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from unscatter.errors import EventsFileError
from unscatter.events.formats.arrow_columns import batch_columns, dtypes, repeated
from unscatter.events.formats.file_reader import FileReader, Piece
from unscatter.events.locations import AHEAD_BYTES, is_remote, open_binary

_INDEXED = b"ARROW1"
_OLD_FEATHER = b"FEA1"


class ArrowReader(FileReader):
    """An Arrow file or stream, read batch by batch; local ones are mapped into memory."""

    def __init__(self, location: str) -> None:
        self.location = location
        with open_binary(location) as file:
            magic = file.read(len(_INDEXED))
        if magic.startswith(_OLD_FEATHER):
            raise EventsFileError(
                f"'{location}' is a Feather file of version 1, which is no longer written. Convert it: "
                "pandas.read_feather(path).to_feather(path), with a version of pandas that still reads it."
            )
        self._indexed = magic == _INDEXED
        self._source = (
            pa.PythonFile(open_binary(location, ahead=None if self._indexed else AHEAD_BYTES))
            if is_remote(location)
            else pa.memory_map(location)
        )
        self._schema: pa.Schema = self._open([]).schema if self._indexed else self._open(None).schema

    def _open(self, fields: list[int] | None) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
        self._source.seek(0)
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        return (pa.ipc.open_file if self._indexed else pa.ipc.open_stream)(self._source, options=options)

    def columns(self) -> dict[str, np.dtype]:
        """Names and dtypes of the columns."""
        return dtypes(self._schema)

    def num_rows(self) -> int | None:
        """Number of rows, summed over the batches; None for a stream."""
        return sum(len(batch) for batch in _batches(self._open([]))) if self._indexed else None

    def _repeated(self) -> tuple[str, ...]:
        return repeated(self._schema.names)

    def _read(self, columns: tuple[str, ...], first_row: int, rows_per_chunk: int) -> Iterator[Piece]:
        row = 0
        for batch in _batches(self._open([self._schema.get_field_index(name) for name in columns])):
            skip, row = min(max(first_row - row, 0), len(batch)), row + len(batch)
            if skip < len(batch):
                yield batch_columns(batch.slice(skip), columns, self.location, row - len(batch) + skip)

    def close(self) -> None:
        """Let go of the file; arrays that were read keep what they need of it."""
        self._source.close()


def _batches(reader: pa.RecordBatchFileReader | pa.RecordBatchStreamReader) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.RecordBatchFileReader):
        yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
    else:
        yield from reader
