"""Files that are either complete or not there: written beside their place, then renamed."""

from __future__ import annotations

import dataclasses
import difflib
import errno
import json
import math
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from unscatter.errors import RunError, UnscatterError

#: Ending of files that are still being written; whatever is left of them after a crash may be deleted.
TEMPORARY_SUFFIX = ".tmp"

#: Columns by name, or one mapping per row.
Table = Mapping[str, Any] | Sequence[Mapping[str, Any]]


@contextmanager
def atomic_write(path: str | Path, *, raises: type[UnscatterError] = RunError) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its place only when it is complete and on the disk.

    The bytes go to a temporary file in the same directory, are synchronised, and the file is renamed; whatever stood at ``path`` before
    stays intact until then, and remains when anything goes wrong.

    Args:
        path: where the file will stand.
        raises: the error that a failing operating system is turned into.

    Raises:
        RunError: (or ``raises``) no space, no permission, no such directory.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "numbers.txt"
        >>> with atomic_write(target) as file:
        ...     _ = file.write(b"1 2 3")
        >>> target.read_text()
        '1 2 3'
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        synchronise_directory(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        # Our own errors resemble OSError but already say what is wrong.
        if isinstance(error, OSError) and not isinstance(error, UnscatterError):
            raise raises(write_failure(path, error)) from error
        raise


def synchronise_directory(directory: Path) -> None:
    """Make a rename survive a power cut: the directory's own entry has to reach the disk too."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_failure(path: Path, error: OSError) -> str:
    """One message for a write that the operating system refused."""
    directory = path.parent
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return (
                f"cannot write '{path}': no space left ({_free_space(directory)}).\n"
                "What was written before is intact. Free some space, or choose a directory on another disk."
            )
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"cannot write '{path}': {os.strerror(error.errno)}.\nChoose a directory that you may write to."
        case errno.ENOENT:
            if directory.is_dir():
                # As in /proc, where the system makes the files itself.
                return f"cannot write '{path}': no file can be made in '{directory}'.\nChoose a directory that you may write to."
            return f"cannot write '{path}': the directory '{directory}' does not exist.\nCreate it first: mkdir -p {quoted(directory)}"
        case errno.ENAMETOOLONG:
            return f"cannot write '{path}': the name is too long. Choose a shorter one."
        case _:
            return f"cannot write '{path}': {error.strerror or error}."


def quoted(path: object) -> str:
    """A path as a shell takes it, for lines to type.

    Example:
        >>> quoted("runs/fit"), quoted("my fit")
        ('runs/fit', "'my fit'")
    """
    return shlex.quote(str(path))


def _free_space(directory: Path) -> str:
    try:
        usage = shutil.disk_usage(directory)
    except OSError:
        return "free space unknown"
    return f"{usage.free / 1e6:.1f} MB free of {usage.total / 1e6:.1f} MB on the disk of '{directory}'"


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in one piece, see :func:`atomic_write`."""
    with atomic_write(path) as file:
        file.write(text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON in one piece; see :func:`as_json` for what it may hold."""
    write_text(path, json.dumps(as_json(value), indent=2, allow_nan=False) + "\n")


def as_json(value: Any) -> Any:
    """Turn a value into what strict JSON can hold.

    Tensors and arrays become lists, paths and dates text, dataclasses mappings.  JSON knows neither NaN nor infinity: both become null.

    Example:
        >>> as_json({"loss": np.float32(0.5), "path": Path("a/b"), "bad": float("nan")})
        {'loss': 0.5, 'path': 'a/b', 'bad': None}
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Tensor():
            return as_json(value.detach().cpu().tolist())
        case np.ndarray() | np.generic():
            return as_json(value.tolist())
        case Mapping():
            return {str(key): as_json(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [as_json(item) for item in value]
        case Path() | date():
            return str(value)
    if dataclasses.is_dataclass(value):
        return as_json({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    raise TypeError(f"cannot write {value!r} of type {type(value).__name__} as JSON.")


def write_table(stem: str | Path, table: Table) -> tuple[Path, Path]:
    """Write a table twice: ``stem.parquet`` for programs and ``stem.json`` (a list of rows) for people.

    Args:
        stem: the path without suffix.
        table: columns by name, or one mapping per row; the columns must be of one length.

    Returns:
        The two paths.
    """
    arrow = _arrow_table(table)
    parquet, text = Path(f"{stem}.parquet"), Path(f"{stem}.json")
    with atomic_write(parquet) as file:
        pq.write_table(arrow, file)
    write_json(text, arrow.to_pylist())
    return parquet, text


def _arrow_table(table: Table) -> pa.Table:
    if isinstance(table, Mapping):
        return pa.table({str(name): _arrow_column(column) for name, column in table.items()})
    return pa.Table.from_pylist([{str(name): _plain(item) for name, item in row.items()} for row in table])


def _arrow_column(column: Any) -> Any:
    return pa.array([_plain(item) for item in (column.detach().cpu().numpy() if isinstance(column, Tensor) else column)])


def _plain(item: Any) -> Any:
    """Python numbers and lists; unlike in JSON, NaN stays NaN."""
    if isinstance(item, Tensor):
        return item.detach().cpu().tolist()
    return item.tolist() if isinstance(item, np.ndarray | np.generic) else item


def did_you_mean(name: str, known: Sequence[str], cutoff: float = 0.6) -> str:
    """``" Did you mean 'events'?"`` where a known name is close, from ``cutoff`` to one for the same name, else an empty text.

    Example:
        >>> did_you_mean("evnts", ["events", "weights"])
        " Did you mean 'events'?"
    """
    lowered = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=cutoff)
    return f" Did you mean '{lowered[near[0]]}'?" if near else ""


def is_file(path: str | Path) -> bool:
    """Whether a path is an ordinary file; unlike the method of a path, this does not mind names that are too long.

    Example:
        >>> is_file("n" * 1000)
        False
    """
    return os.path.isfile(path)


def is_directory(path: str | Path) -> bool:
    """Whether a path is a directory; unlike the method of a path, this does not mind names that are too long."""
    return os.path.isdir(path)


def missing_path(path: Path) -> str:
    """One message for a path that does not exist, with the nearest name in its directory, or that is not what a file should be."""
    if is_directory(path):
        return f"'{path}' is a directory, not a file."
    if os.path.exists(path):
        return f"'{path}' is {'a file, not a directory' if is_file(path) else 'not an ordinary file'}."
    if os.path.islink(path):
        return f"'{path}' is a link that leads nowhere: to '{os.readlink(path)}'."
    if not is_directory(path.parent):
        return f"there is no '{path}': the directory '{path.parent}' does not exist (searched from '{Path.cwd()}')."
    try:
        neighbours = sorted(os.listdir(path.parent))
    except OSError:
        neighbours = []
    return f"there is no '{path}' (searched from '{Path.cwd()}').{did_you_mean(path.name, neighbours)}"
