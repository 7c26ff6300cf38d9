"""Tables on disk: one compressed file with a header, a version and a checksum."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from unscatter.errors import SettingsError, TableError
from unscatter.files import atomic_write, missing_path
from unscatter.theories.dis.settings import TableSettings
from unscatter.theories.dis.tables import DisTables

#: Version of the format; files of another one are refused.
FORMAT_VERSION = 1
#: Tables in the package, by name.
SHIPPED: tuple[str, ...] = ("lo", "nlo", "nnlo")

_FORMAT = "unscatter theory tables of deep-inelastic scattering"
_BUILD = "Build it: unscatter tables build --help"

Arrays = Mapping[str, NDArray[Any]]


def load_tables(name_or_path: str | Path) -> DisTables:
    """Read a table.

    Args:
        name_or_path: ``lo`` (coupling 0.130 at the mass of the Z), ``nlo`` or ``nnlo`` (0.118) for the tables in the package; or a file.

    Raises:
        TableError: there is no such file, it is damaged, or of another version.

    Example:
        >>> load_tables("lo").settings.order
        'LO'
    """
    path = _path_of(name_or_path)
    header, arrays = _read_checked(path)
    try:
        settings = TableSettings.from_mapping(header["settings"])
    except SettingsError as error:
        _damaged(path, str(error))
    kernels = {name: torch.from_numpy(array.astype(np.float64)) for name, array in arrays.items()}
    return DisTables(settings, kernels, header["engine"])


def table_facts(name_or_path: str | Path) -> dict[str, Any]:
    """What a file says about itself: path and size in bytes, version, engine, settings, checksum.

    Raises:
        TableError: see :func:`load_tables`.

    Example:
        >>> table_facts("lo")["settings"]["alpha_s_MZ"]
        0.13
    """
    path = _path_of(name_or_path)
    header, _ = _read_checked(path)
    return {"path": path, "size": path.stat().st_size, **header}


def _path_of(name_or_path: str | Path) -> Path:
    if name_or_path in SHIPPED:
        return Path(str(resources.files("unscatter.theories.dis") / "data" / f"{name_or_path}.npz"))
    path = Path(name_or_path)
    if not path.is_file():
        raise TableError(
            f"{missing_path(path)}\nTables in the package are {', '.join(SHIPPED)}; build one of your own: unscatter tables build --help"
        )
    return path


def _read_checked(path: Path) -> tuple[dict[str, Any], Arrays]:
    header, arrays = _read(path)
    if header.get("format") != _FORMAT:
        raise TableError(f"'{path}' is not a theory table. {_BUILD}")
    if header.get("version") != FORMAT_VERSION:
        raise TableError(f"'{path}' is of format version {header.get('version')}, and this unscatter reads {FORMAT_VERSION}. {_BUILD}")
    if header.get("checksum") != _checksum(header, arrays):
        _damaged(path, "its checksum does not match its content")
    return header, arrays


def _read(path: Path) -> tuple[dict[str, Any], Arrays]:
    try:
        # NumPy leaves a file open that it was given by name and cannot read.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return dict(json.loads(arrays.pop("header").tobytes())), arrays
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _damaged(path, str(error) or type(error).__name__)


def _damaged(path: Path, reason: str) -> NoReturn:
    raise TableError(f"'{path}' cannot be read as a theory table: {reason}. Copy the file again. {_BUILD}")


def save_tables(tables: DisTables, path: str | Path) -> None:
    """Write a table in single precision, complete or not at all.

    Raises:
        TableError: the operating system refuses.
    """
    arrays = {name: kernel.numpy().astype(np.float32) for name, kernel in tables.kernels.items()}
    header = {"format": _FORMAT, "version": FORMAT_VERSION, "engine": tables.engine, "settings": dataclasses.asdict(tables.settings)}
    header["checksum"] = _checksum(header, arrays)
    text = np.frombuffer(json.dumps(header, sort_keys=True).encode(), np.uint8)
    with atomic_write(path, raises=TableError) as file:
        np.savez_compressed(file, header=text, **arrays)  # pyright: ignore[reportArgumentType]


def _checksum(header: Mapping[str, Any], arrays: Arrays) -> str:
    """SHA-256 of everything but itself."""
    rest = {name: value for name, value in header.items() if name != "checksum"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
