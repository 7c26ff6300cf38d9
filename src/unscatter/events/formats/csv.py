"""Text with commas, whose first line holds the names of the columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv

from unscatter.errors import EventsError, EventsFileError
from unscatter.events.formats.arrow_columns import batch_columns, dtypes, repeated
from unscatter.events.formats.file_reader import FileReader, Piece
from unscatter.events.formats.messages import is_number, listed, positional, text_message
from unscatter.events.locations import arrow_input, open_binary

#: Bytes that are parsed at a time; the first ones also tell which columns hold text.
_BLOCK_BYTES = 1 << 22


class CsvReader(FileReader):
    """A text file, parsed block by block; numbers are read in double precision."""

    def __init__(self, location: str) -> None:
        self.location = location
        self._names = _header(location)
        _refuse_numbers(self._names, location)
        self._guessed: pa.Schema | None = None

    def columns(self) -> dict[str, np.dtype]:
        """Names and dtypes of the columns, as the first block suggests; all numbers are of double precision."""
        return {name: np.dtype(np.float64) if dtype.kind in "fiu" else dtype for name, dtype in dtypes(self._schema).items()}

    def num_rows(self) -> None:
        """Only reading tells."""
        return None

    @property
    def _schema(self) -> pa.Schema:
        if self._guessed is None:
            try:
                with _opened(self.location, pyarrow.csv.ConvertOptions()) as reader:
                    self._guessed = reader.schema
            except pa.ArrowInvalid:
                # Reading will say what is wrong, unless the header already tells that columns are missing.
                self._guessed = pa.schema([(name, pa.float64()) for name in self._names])
        return self._guessed

    def _has(self, name: str) -> bool:
        return name in self._names

    def _repeated(self) -> tuple[str, ...]:
        return repeated(self._names)

    def _read(self, columns: tuple[str, ...], first_row: int, rows_per_chunk: int) -> Iterator[Piece]:
        self._check_kinds(columns)
        # A later block may hold 0.5 where the first one has whole numbers only.
        numbers = {name: pa.float64() for name, dtype in self.columns().items() if dtype.kind == "f"}
        row, options = 0, pyarrow.csv.ConvertOptions(include_columns=list(columns), column_types=numbers)
        try:
            with _opened(self.location, options) as reader:
                for batch in reader:
                    skip, row = min(max(first_row - row, 0), len(batch)), row + len(batch)
                    if skip < len(batch):
                        yield batch_columns(batch.slice(skip), columns, self.location, row - len(batch) + skip)
        except pa.ArrowInvalid as error:
            if "conversion error" in str(error):
                self._refuse_text(columns)
            raise

    def _check_kinds(self, columns: Sequence[str]) -> None:
        for name in columns:
            kind = self._schema.field(name).type
            if pa.types.is_string(kind):
                self._refuse_text([name])
            elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)):
                raise EventsError(
                    f"column '{name}' in '{self.location}' holds {kind}, not numbers. Convert it, or leave it out of 'columns'."
                )

    def _refuse_text(self, columns: Sequence[str]) -> None:
        """Look for the first row that is no number, and name it."""
        options = pyarrow.csv.ConvertOptions(include_columns=list(columns), column_types=dict.fromkeys(columns, pa.string()))
        missing, row = {*options.null_values, ""}, 0
        with _opened(self.location, options) as reader:
            for batch in reader:
                for i, values in enumerate(zip(*(column.to_pylist() for column in batch.columns), strict=True)):
                    for name, value in zip(columns, values, strict=True):
                        if value is not None and value not in missing and not is_number(value):
                            raise EventsError(text_message(name, self.location, row + i, value))
                row += len(batch)

    def close(self) -> None:
        """Nothing is kept open between two readings."""


def _opened(location: str, options: pyarrow.csv.ConvertOptions) -> pyarrow.csv.CSVStreamingReader:
    return pyarrow.csv.open_csv(
        arrow_input(location), read_options=pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES), convert_options=options
    )


def _header(location: str) -> tuple[str, ...]:
    with open_binary(location) as file:
        line = file.readline().decode("utf-8-sig")
    return tuple(pyarrow.csv.read_csv(pa.py_buffer(line.rstrip("\r\n").encode() + b"\n")).column_names)


def _refuse_numbers(names: Sequence[str], location: str) -> None:
    """A first line of numbers is an event that would be lost; but 0, 1, 2, ... are positions, as pandas writes them for want of names."""
    if all(is_number(name) for name in names) and not positional(names):
        raise EventsFileError(
            f"'{location}' would have {listed(names)}.\n"
            "The first line seems to hold numbers: add a line with the names of the columns above it."
        )
