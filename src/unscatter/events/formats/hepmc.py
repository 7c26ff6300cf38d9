"""HepMC files: of every event the scattered lepton, the beams and the invariants that follow from them."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from unscatter.errors import EventsFileError
from unscatter.events.formats.extras import library
from unscatter.events.formats.file_reader import FileReader, Piece
from unscatter.events.formats.scattered import COLUMNS, scattered_lepton
from unscatter.events.locations import open_binary, suffix

_HEADERS = {b"HepMC::Asciiv3": "hepmc3", b"HepMC::IO_GenEvent": "hepmc2"}

#: Events that are turned into columns at a time; they are read one by one.
_EVENTS_PER_PIECE = 4096


class HepmcReader(FileReader):
    """A file of HepMC 3 or 2, plain or with gzip; see :func:`~unscatter.events.formats.scattered.scattered_lepton` for the columns."""

    damage = (RuntimeError, zlib.error)

    def __init__(self, location: str) -> None:
        self.location = location
        self._pyhepmc = library("pyhepmc", "HepMC files")
        with _open(location) as file:
            header = file.read(256)
        formats = [name for magic, name in _HEADERS.items() if magic in header]
        if not formats:
            raise EventsFileError(f"'{location}' is not a HepMC file: it starts with {header[:40]!r}.")
        self._format = formats[0]

    def columns(self) -> dict[str, np.dtype]:
        """Names and dtypes of the columns."""
        return dict.fromkeys(COLUMNS, np.dtype(np.float64))

    def num_rows(self) -> None:
        """Only reading tells."""
        return None

    def _read(self, columns: tuple[str, ...], first_row: int, rows_per_chunk: int) -> Iterator[Piece]:
        rows: list[tuple[float, ...]] = []
        num_read = 0
        with _open(self.location) as file, self._pyhepmc.open(file, format=self._format) as events:
            for event in events:
                num_read += 1
                if num_read > first_row:
                    rows.append(scattered_lepton(event))
                if len(rows) >= min(_EVENTS_PER_PIECE, rows_per_chunk):
                    yield _as_columns(rows, columns)
                    rows = []
        if rows:
            yield _as_columns(rows, columns)
        self._check_complete(num_read)

    def _check_complete(self, num_read: int) -> None:
        """HepMC stops without an error where it cannot go on, so the events that begin in the file are counted."""
        with _open(self.location) as file:
            begun = sum(line.startswith(b"E ") for line in file)
        if num_read < begun:
            raise EventsFileError(
                f"'{self.location}' is damaged or cut short: {begun} events begin in it, but only {num_read} can be read."
            )

    def close(self) -> None:
        """Nothing is kept open between two readings."""


@contextmanager
def _open(location: str) -> Iterator[Any]:
    # Without the buffer in between pyhepmc takes a file of fsspec for a text file.
    with open_binary(location) as source, io.BufferedReader(source) as file:
        if suffix(location).endswith(".gz"):
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield unpacked
        else:
            yield file


def _as_columns(rows: list[tuple[float, ...]], columns: tuple[str, ...]) -> Piece:
    table = np.array(rows, np.float64)
    return {name: np.ascontiguousarray(table[:, COLUMNS.index(name)]) for name in columns}
