"""Tables on disk: one compressed file with a header, a version and a checksum."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from unscatter.errors import SettingsError, TableError, first_line
from unscatter.files import atomic_write, is_file, missing_path
from unscatter.theories.dis.settings import TableSettings
from unscatter.theories.dis.tables import DisTables, kernel_shapes

#: Version of the format; files of another one are refused.
FORMAT_VERSION = 1
#: Tables in the package, by name.
SHIPPED: tuple[str, ...] = ("lo", "nlo", "nnlo")

_FORMAT = "unscatter theory tables of deep-inelastic scattering"
_BUILD = "Build it: unscatter tables build --help"

#: What the readers of archives, arrays and JSON raise at bytes that no writer of them made; a single bit can lead to any of these.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, ValueError, TypeError, LookupError, AttributeError, EOFError, RuntimeError,
    ArithmeticError, SyntaxError,
)  # fmt: skip

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
    return _load(_path_of(name_or_path))[1]


def table_facts(name_or_path: str | Path) -> dict[str, Any]:
    """What a file says about itself: path and size in bytes, version, engine, settings, checksum.

    Raises:
        TableError: see :func:`load_tables`.

    Example:
        >>> table_facts("lo")["settings"]["alpha_s_MZ"]
        0.13
    """
    path = _path_of(name_or_path)
    header, _ = _load(path)
    return {"path": path, "size": path.stat().st_size, **header}


def _path_of(name_or_path: str | Path) -> Path:
    if name_or_path in SHIPPED:
        return Path(str(resources.files("unscatter.theories.dis") / "data" / f"{name_or_path}.npz"))
    path = Path(name_or_path)
    if is_file(path):
        return path
    raise TableError(
        f"{missing_path(path)}\nTables in the package are {', '.join(SHIPPED)}; build one of your own: unscatter tables build --help"
    )


def _load(path: Path) -> tuple[dict[str, Any], DisTables]:
    """Read a file and check all that it holds: nobody behind this point meets a table with a part missing, or of another shape."""
    header, arrays = _read(path)
    if header.get("format") != _FORMAT:
        raise TableError(f"'{path}' is not a theory table. {_BUILD}")
    if type(version := header.get("version")) is not int or version != FORMAT_VERSION:
        raise TableError(f"'{path}' is of format version {version!r}, and this unscatter reads {FORMAT_VERSION}. {_BUILD}")
    if header.get("checksum") != _checksum(header, arrays):
        _damaged(path, "its checksum does not match its content")
    settings = _settings(path, header.get("settings"))
    if not isinstance(engine := header.get("engine"), str):
        _damaged(path, f"it does not say in words what computed it, but {engine!r}")
    _check_arrays(path, settings, arrays)
    return header, DisTables(settings, {name: torch.from_numpy(array.astype(np.float64)) for name, array in arrays.items()}, engine)


def _settings(path: Path, values: object) -> TableSettings:
    if not isinstance(values, dict):
        _damaged(path, f"its settings are not given by name, but as {values!r}")
    if missing := [field.name for field in dataclasses.fields(TableSettings) if field.name not in values]:
        _damaged(path, f"its settings lack {missing}")
    try:
        return TableSettings.from_mapping(values)
    except SettingsError as error:
        _damaged(path, str(error).removesuffix("."))


def _check_arrays(path: Path, settings: TableSettings, arrays: Arrays) -> None:
    shapes = kernel_shapes(settings)
    if missing := [name for name in shapes if name not in arrays]:
        _damaged(path, f"{len(missing)} of {len(shapes)} kernels are missing, such as '{missing[0]}'")
    if unknown := [name for name in arrays if name not in shapes]:
        _damaged(path, f"it has kernels that a table of order {settings.order} has not, such as '{unknown[0]}'")
    for name, shape in shapes.items():
        if arrays[name].dtype.kind != "f" or arrays[name].shape != shape:
            got = f"{arrays[name].dtype} of the shape {arrays[name].shape}"
            _damaged(path, f"kernel '{name}' must be numbers of the shape {shape} by its settings, but is {got}")
        if not np.isfinite(arrays[name]).all():
            _damaged(path, f"kernel '{name}' has values that are not finite")


def _read(path: Path) -> tuple[dict[str, Any], Arrays]:
    try:
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                _damaged(path, "it is not an archive of arrays, or cut short")
            with zipfile.ZipFile(stream) as archive:
                # Each part is read whole, which checks it, before its header is believed: a shape that a flipped bit has made enormous
                # would end as a lack of memory.
                parts = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
            arrays = {name: np.load(io.BytesIO(part), allow_pickle=False) for name, part in parts.items()}
        header = json.loads(arrays.pop("header").tobytes())
    except TableError:
        raise
    except OSError as error:
        _damaged(path, first_line(error))
    except _DAMAGE as error:
        raise TableError(_damage(path, "its content is damaged")) from error
    if not isinstance(header, dict) or not all(isinstance(array, np.ndarray) for array in arrays.values()):
        _damaged(path, "it holds something else than a header and arrays")
    return header, arrays


def _damage(path: Path, reason: str) -> str:
    return f"'{path}' cannot be read as a theory table: {reason}. Copy the file again. {_BUILD}"


def _damaged(path: Path, reason: str) -> NoReturn:
    raise TableError(_damage(path, reason))


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
