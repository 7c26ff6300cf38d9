"""From the name of a file to its reader."""

from __future__ import annotations

import os
from pathlib import Path

from unscatter.errors import EventsFileError, SettingsError, UnreachableError
from unscatter.events.formats.arrow import ArrowReader
from unscatter.events.formats.csv import CsvReader
from unscatter.events.formats.file_reader import FileReader
from unscatter.events.formats.hdf5 import Hdf5Reader
from unscatter.events.formats.hepmc import HepmcReader
from unscatter.events.formats.messages import readable
from unscatter.events.formats.npy import NpyReader, NpzReader
from unscatter.events.formats.parquet import ParquetReader
from unscatter.events.formats.protocol import EventReader
from unscatter.events.formats.root import RootReader
from unscatter.events.locations import SUFFIXES, is_remote, one_of, suffix
from unscatter.files import is_directory, missing_path

__all__ = ["SUFFIXES", "open_events"]

#: Readers by ending; those of the second kind hold several tables, and are told which one.
_TABLES: dict[str, type[ParquetReader | CsvReader | NpyReader | NpzReader | ArrowReader | HepmcReader]] = {
    ".parquet": ParquetReader, ".csv": CsvReader, ".npy": NpyReader, ".npz": NpzReader, ".arrow": ArrowReader, ".feather": ArrowReader,
    ".hepmc": HepmcReader, ".hepmc3": HepmcReader, ".hepmc.gz": HepmcReader, ".hepmc3.gz": HepmcReader,
}  # fmt: skip
_FORESTS: dict[str, type[RootReader | Hdf5Reader]] = {".root": RootReader, ".h5": Hdf5Reader, ".hdf5": Hdf5Reader}


def open_events(location: str | Path, *, tree: str | None = None) -> EventReader:
    """Open one file of events; its ending says of what kind it is.

    Args:
        location: a path, or a URL that fsspec understands.
        tree: which tree of a ROOT file, or which group of an HDF5 file, where there are several.

    Raises:
        EventsFileError: the file is missing, empty, of an unknown kind or damaged.
        MissingExtraError: the library for this kind of file is not installed.
        SettingsError: ``tree`` has no meaning for this kind of file.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> path = Path(tempfile.mkdtemp()) / "events.npy"
        >>> np.save(path, np.array([[0.1, 4.0], [0.2, 9.0]]))
        >>> with open_events(path) as reader:
        ...     print(reader.num_rows(), list(reader.columns()))
        2 ['0', '1']
    """
    name = os.fspath(location)
    kind = _check_file(name)
    if tree is not None and kind in _TABLES:
        raise SettingsError(f"'tree' is '{tree}', but a {kind} file as '{name}' has no trees: leave it out.")
    reader: type[FileReader] = (_TABLES | _FORESTS)[kind]
    with readable(name, *reader.damage):
        return _TABLES[kind](name) if kind in _TABLES else _FORESTS[kind](name, tree)


def _check_file(name: str) -> str:
    """The suffix of a file that may be opened."""
    if not is_remote(name):
        if is_directory(name):
            raise EventsFileError(f"'{name}' is a directory, not a file of events.")
        if not os.path.exists(name):
            raise UnreachableError(missing_path(Path(name)))
    kind = suffix(name)
    if kind not in _TABLES and kind not in _FORESTS:
        raise EventsFileError(
            f"cannot read '{name}': the suffix '{kind}' is not {one_of(SUFFIXES)}.\n"
            "Convert the file, for example with pandas: frame.to_parquet('events.parquet')."
        )
    if not is_remote(name) and os.path.getsize(name) == 0:
        raise EventsFileError(f"'{name}' is empty (0 bytes).")
    return kind
