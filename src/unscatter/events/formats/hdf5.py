"""HDF5: a table as one data set per column, as a compound data set, or as a plain array of two axes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from unscatter.errors import EventsFileError
from unscatter.events.formats.extras import library
from unscatter.events.formats.file_reader import FileReader, Piece
from unscatter.events.formats.npy import real
from unscatter.events.formats.trees import choose
from unscatter.events.locations import is_remote, open_binary

_ROOT = "/"


class Hdf5Reader(FileReader):
    """One table of a file: a group whose data sets are columns of one length, or a single data set.

    Args:
        location: the file.
        tree: path of the group or data set inside the file; needed where there are several tables.
    """

    damage = (KeyError, RuntimeError)

    def __init__(self, location: str, tree: str | None = None) -> None:
        self.location = location
        h5py = library("h5py", "HDF5 files")
        self._source = open_binary(location) if is_remote(location) else None
        self._file = h5py.File(self._source or location, "r")
        tables = _tables(h5py, self._file)
        chosen = choose(list(tables), tree if tree is None else tree.strip("/") or _ROOT, location, "table")
        self._columns = tables[chosen]
        lengths = {name: len(column) for name, column in self._columns.items()}
        if len(set(lengths.values())) > 1:
            raise EventsFileError(
                f"'{location}' has columns of different lengths: {lengths}. Rows must be events: save one value per event."
            )
        self.part = "" if chosen == _ROOT else f"the table '{chosen}' of "

    def columns(self) -> dict[str, np.dtype]:
        """Names and dtypes of the columns."""
        return {name: _dtype(column.dtype, column.ndim) for name, column in self._columns.items()}

    def num_rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self._columns.values())))

    def _read(self, columns: tuple[str, ...], first_row: int, rows_per_chunk: int) -> Iterator[Piece]:
        for start in range(first_row, self.num_rows(), rows_per_chunk):
            rows = slice(start, min(start + rows_per_chunk, self.num_rows()))
            yield {name: real(np.asarray(self._columns[name][rows]), name, self.location, start) for name in columns}

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        if self._source is not None:
            self._source.close()


class _Field:
    """One column of a compound data set, or of one with two axes."""

    def __init__(self, table: Any, key: str | int, dtype: np.dtype) -> None:
        self._table, self._key, self.dtype = table, key, dtype.base
        self.ndim = 1 + len(dtype.shape)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self._table.fields(self._key)[rows] if isinstance(self._key, str) else self._table[rows, self._key]


def _tables(h5py: Any, file: Any) -> dict[str, dict[str, Any]]:
    """Columns of all tables of a file, by their path: groups with data sets of one axis, compound data sets, arrays of two axes."""
    tables: dict[str, dict[str, Any]] = {}

    def visit(path: str, node: Any) -> None:
        if not isinstance(node, h5py.Dataset) or node.ndim == 0:
            return
        if node.dtype.names:
            tables[path] = {name: _Field(node, name, node.dtype[name]) for name in node.dtype.names}
        elif node.ndim == 2:
            tables[path] = {str(i): _Field(node, i, node.dtype) for i in range(node.shape[1])}
        else:
            folder, _, name = path.rpartition("/")
            tables.setdefault(folder or _ROOT, {})[name] = node

    file.visititems(visit)
    return tables


def _dtype(dtype: np.dtype, ndim: int) -> np.dtype:
    return dtype.newbyteorder("=") if dtype.kind in "fiub" and ndim == 1 else np.dtype(object)
