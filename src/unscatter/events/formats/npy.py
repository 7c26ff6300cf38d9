"""NumPy's files: one array in npy, several in npz."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from unscatter.errors import EventsError, EventsFileError
from unscatter.events.formats.file_reader import FileReader, Piece
from unscatter.events.formats.messages import is_number, text_message
from unscatter.events.locations import is_remote, open_binary

_NPY_MAGIC = b"\x93NUMPY"
#: Of an archive, and of an empty one.
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")


class NpyReader(FileReader):
    """``[num_events]``, ``[num_events, columns]`` or a structured array; columns without names are ``"0"``, ``"1"``, ..."""

    # NumPy parses the header as Python.
    damage = (SyntaxError, tokenize.TokenError, TypeError, MemoryError)

    def __init__(self, location: str) -> None:
        self.location = location
        self._columns = array_columns(_load(location), location)

    def columns(self) -> dict[str, np.dtype]:
        """Names and dtypes of the columns."""
        return {name: _dtype(column) for name, column in self._columns.items()}

    def num_rows(self) -> int:
        """Number of rows, from the header."""
        return len(next(iter(self._columns.values())))

    def _read(self, columns: tuple[str, ...], first_row: int, rows_per_chunk: int) -> Iterator[Piece]:
        for start in range(first_row, self.num_rows(), rows_per_chunk):
            rows = slice(start, start + rows_per_chunk)
            yield {name: real(self._columns[name][rows], name, self.location, start) for name in columns}

    def close(self) -> None:
        """Let go of the file."""
        self._columns = {}


class NpzReader(NpyReader):
    """One array per column, or a single array as in an npy file."""

    damage = (*NpyReader.damage, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, RuntimeError, KeyError)

    def __init__(self, location: str) -> None:
        self.location = location
        with open_binary(location) as file:
            _check_magic(file, _ZIP_MAGICS, location, "npz", f"Save one array per column: np.savez('{location}', x=x, Q2=Q2).")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                # NumPy gives the bytes of what is no array.
                arrays = {name: array for name in archive.files if isinstance(array := archive[name], np.ndarray)}
        self._columns = _npz_columns(arrays, location)


def _check_magic(file: Any, magics: Sequence[bytes], location: str, kind: str, advice: str) -> None:
    """Refuse a file of another kind: asked to load it, NumPy would recommend to unpickle it."""
    found = file.read(len(magics[0]))
    if found not in magics:
        raise EventsFileError(f"'{location}' is not an {kind} file: it starts with {found!r}. {advice}")


def _load(location: str) -> np.ndarray:
    with open_binary(location) as file:
        _check_magic(file, (_NPY_MAGIC,), location, "npy", f"Save one array: np.save('{location}', array).")
        file.seek(0)
        if is_remote(location) or _holds_objects(file):
            file.seek(0)
            return np.load(file, allow_pickle=False)
    return np.load(location, mmap_mode="r", allow_pickle=False)


def _holds_objects(file: Any) -> bool:
    """Whether the header says so; NumPy has a clear error for it, but not where the file is mapped."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)[2].hasobject


def array_columns(array: np.ndarray, location: str) -> dict[str, np.ndarray]:
    """Views of the columns of one array.

    Raises:
        EventsFileError: it has other axes than those of events.
    """
    if array.ndim not in (1, 2) or (array.dtype.names and array.ndim != 1) or 0 in array.shape[1:]:
        raise EventsFileError(
            f"'{location}' holds an array of the shape {array.shape}; events are [num_events] or [num_events, columns].\n"
            "Save it with these axes: np.save(path, array.reshape(num_events, num_columns))."
        )
    if array.dtype.names:
        return {name: array[name] for name in array.dtype.names}
    table = array[:, None] if array.ndim == 1 else array
    return {str(i): table[:, i] for i in range(table.shape[1])}


def _npz_columns(arrays: dict[str, np.ndarray], location: str) -> dict[str, np.ndarray]:
    if not arrays:
        raise EventsFileError(f"'{location}' holds no array. Save one per column: np.savez('{location}', x=x, Q2=Q2).")
    if len(arrays) == 1:
        name, array = next(iter(arrays.items()))
        return {name: array} if array.ndim == 1 and not array.dtype.names else array_columns(array, location)
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise EventsFileError(
            f"'{location}' holds arrays of the shapes {shapes}; columns are [num_events], all of one length.\n"
            "Save one array per column: np.savez(path, x=x, Q2=Q2)."
        )
    return arrays


def _dtype(column: np.ndarray) -> np.dtype:
    number = column.dtype.kind in "fiub" and column.ndim == 1
    return column.dtype.newbyteorder("=") if number else np.dtype(object)


def real(column: np.ndarray, name: str, location: str, first_row: int) -> np.ndarray:
    """Rows of a column in the machine's byte order.

    Raises:
        EventsError: they are not one real number each.
    """
    if column.dtype.kind in "USO":
        row = next((i for i, value in enumerate(column) if not is_number(_text(value))), 0)
        raise EventsError(text_message(name, location, first_row + row, _text(column[row])))
    if column.dtype.kind not in "fiub" or column.ndim != 1:
        raise EventsError(
            f"column '{name}' in '{location}' holds {column.dtype} of the shape {column.shape}, not one real number per event."
        )
    return np.asarray(column, column.dtype.newbyteorder("="))


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
