"""Events from files: Parquet, CSV and npy."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch

from unscatter.arrays import Events
from unscatter.errors import ColumnError, EventsError, EventsFileError, SettingsError, UnscatterError
from unscatter.events.validation import check_events
from unscatter.files import did_you_mean, missing_path

#: Kinds of files that :func:`read_events` understands, by their suffix.
SUFFIXES = (".parquet", ".csv", ".npy")

#: Where the metadata of a Parquet file say which parameters its events were made with, as a JSON object.
PARAMETERS_KEY = b"unscatter.parameters"

#: Columns of these names are taken for forgotten weights when they are not asked for.
_WEIGHT_NAMES = ("weight", "weights")

_NPY_MAGIC = b"\x93NUMPY"

_NUMPY_DTYPES = {torch.float32: np.float32, torch.float64: np.float64}


def read_events(
    path: str | Path,
    columns: Mapping[str, str] | Sequence[str] | None = None,
    weight: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Events:
    r"""Read the events of one channel into memory.

    Args:
        path: a file that ends in ``.parquet``, ``.csv`` (first line: column names) or ``.npy`` (``[num_events]``,
            ``[num_events, columns]`` or structured).
        columns: the columns to read, or ``{our name: name in the file}``, or None for all.  The columns of a plain npy array have no
            names: give one per column, or choose by position with ``{our name: "0"}``.
        weight: the file's column that holds the weights; in a plain npy array it is the last column, unless chosen by position.
        dtype: ``torch.float32`` or ``torch.float64``.

    Returns:
        Events ``[num_events, columns]``.

    Raises:
        EventsFileError: the file is missing, empty, unreadable or damaged.
        ColumnError: a column is not there.
        EventsError: a value is text, NaN or infinite, or a weight is negative; the message names the first row.
        SettingsError: ``columns`` or ``dtype`` is impossible.

    Warns:
        UserWarning: the file has a column ``weight`` that is not used.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "events.csv"
        >>> _ = path.write_text("x_bj,Q2,w\n0.1,4,1\n0.2,9,0.5\n")
        >>> read_events(path, {"x": "x_bj"}, weight="w").weights
        tensor([1.0000, 0.5000])
    """
    path = _existing_file(Path(path))
    wanted = _wanted_columns(columns)
    if dtype not in _NUMPY_DTYPES:
        raise SettingsError(f"'dtype' must be torch.float32 or torch.float64 for events, got {dtype}.")
    with _readable(path):
        match path.suffix.lower():
            case ".parquet":
                arrays = _read_parquet(path, wanted, weight)
            case ".csv":
                arrays = _read_csv(path, wanted, weight)
            case _:
                arrays = _read_npy(path, wanted, weight)
    wanted = wanted or {name: name for name in arrays if name != weight}
    return _assemble(arrays, wanted, weight, dtype, path)


def column_names(path: str | Path) -> tuple[str, ...]:
    """Names of the columns of a file of events, read without its rows; ``"0", "1", ...`` for a plain npy array.

    Raises:
        EventsFileError: the file is missing, empty, unreadable or damaged.
    """
    path = _existing_file(Path(path))
    with _readable(path):
        match path.suffix.lower():
            case ".parquet":
                return tuple(pq.read_schema(path).names)
            case ".csv":
                return _csv_names(path)
            case _:
                array = _load_npy(path)
                return array.dtype.names or tuple(map(str, range(1 if array.ndim == 1 else array.shape[1])))


def read_parameters(path: str | Path) -> dict[str, float] | None:
    """Parameters that the events of a file were made with, by name; None where it does not say, as files of measured events.

    Only Parquet files that :func:`~unscatter.events.write_events` wrote with ``parameters`` say it.

    Raises:
        EventsFileError: the file is missing, empty, unreadable or damaged.
    """
    path = _existing_file(Path(path))
    if path.suffix.lower() != ".parquet":
        return None
    with _readable(path):
        text = (pq.read_schema(path).metadata or {}).get(PARAMETERS_KEY)
        record = None if text is None else json.loads(text)
    if record is None:
        return None
    if not isinstance(record, dict) or not all(isinstance(value, int | float) for value in record.values()):
        raise EventsFileError(f"the metadata '{PARAMETERS_KEY.decode()}' of '{path}' are not a number per name, but {record!r}.")
    return {name: float(value) for name, value in record.items()}


def _existing_file(path: Path) -> Path:
    if path.is_dir():
        files = sorted(p.name for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        hint = f"Name one of its files: {files[:5]}." if files else f"It holds no file that ends in {_one_of(SUFFIXES)}."
        raise EventsFileError(f"'{path}' is a directory, not a file of events. {hint}")
    if not path.exists():
        raise EventsFileError(missing_path(path))
    if path.suffix.lower() not in SUFFIXES:
        raise EventsFileError(
            f"cannot read '{path}': the suffix '{path.suffix}' is not {_one_of(SUFFIXES)}.\n"
            "Convert the file, for example with pandas: frame.to_parquet('events.parquet')."
        )
    if os.path.getsize(path) == 0:
        raise EventsFileError(f"'{path}' is empty (0 bytes).")
    return path


def _one_of(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn whatever a reader raises into one message that names the file."""
    try:
        yield
    except UnscatterError:
        raise
    except PermissionError as error:
        raise EventsFileError(f"cannot read '{path}': permission denied. Allow it: chmod u+r '{path}'") from error
    except (pa.ArrowException, OSError, ValueError, EOFError) as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise EventsFileError(f"'{path}' is damaged, cut short or not a {path.suffix} file: {cause}") from error


def _wanted_columns(columns: Mapping[str, str] | Sequence[str] | None) -> dict[str, str]:
    """``{our name: name in the file}``, empty for all columns."""
    if isinstance(columns, str):
        raise SettingsError(f"'columns' must be a list of names, got the text '{columns}'. Write columns=['{columns}'].")
    if columns is None:
        return {}
    if not columns:
        raise SettingsError("'columns' is empty. Name at least one column, or leave it out to read all of them.")
    if isinstance(columns, Mapping):
        return dict(columns)
    if len(set(columns)) != len(columns):
        raise SettingsError(f"'columns' names a column twice: {list(columns)}.")
    return {name: name for name in columns}


def _needed(names: Sequence[str], wanted: Mapping[str, str], weight: str | None, path: Path) -> list[str]:
    """The file's columns that have to be read, each once; an error where one is missing or ambiguous."""
    needed = list(wanted.values()) or list(names)
    if weight is not None and weight not in needed:
        needed.append(weight)
    for name in needed:
        if name not in names:
            hint = did_you_mean(name, names) + _headless(names)
            raise ColumnError(f"there is no column '{name}' in '{path}'. It has {_listed(names)}.{hint}")
    repeated = [name for name, times in Counter(names).items() if times > 1 and name in needed]
    if repeated:
        raise ColumnError(f"'{path}' has more than one column '{repeated[0]}'. Rename one of them.")
    return list(dict.fromkeys(needed))


def _warn_of_weights(names: Sequence[str], used: Sequence[str], path: Path) -> None:
    """Say that weights are left out: events that count all the same are another measurement."""
    for name in names:
        if name.lower() in _WEIGHT_NAMES and name not in used:
            warnings.warn(
                f"the column '{name}' of '{path}' is not used, and every event counts as one. To use it as the events' weights, say so: "
                f"weight: {name} beside path: in a runcard, read_events(..., weight='{name}') in Python.",
                UserWarning,
                stacklevel=3,
            )


def _listed(names: Sequence[str], longest: int = 20) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:longest])
    more = f", ... ({len(names)} in all)" if len(names) > longest else ""
    return f"{'the column' if len(names) == 1 else 'the columns'} {shown}{more}"


def _headless(names: Sequence[str]) -> str:
    """A hint where what should be names looks like numbers, a comment, or names between other separators."""
    if len(names) == 1 and names[0].startswith("#"):
        return "\nThe first line seems to be a comment: the file must begin with the names of the columns."
    if len(names) == 1 and any(separator in names[0] for separator in ";\t "):
        return "\nThe names seem to be separated by something else: separate the columns by commas."
    numbers = all(_is_number(name) for name in names) and list(names) != [str(i) for i in range(len(names))]
    return "\nThe first line seems to hold numbers: add a line with the names of the columns above it." if numbers else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_parquet(path: Path, wanted: Mapping[str, str], weight: str | None) -> dict[str, np.ndarray]:
    # Not read_table, which adds columns for directories that are named like "year=2024".
    with pq.ParquetFile(path) as file:
        names = _needed(file.schema_arrow.names, wanted, weight, path)
        _warn_of_weights(file.schema_arrow.names, names, path)
        table = file.read(columns=names)
    return {name: _numbers(table.column(name), name, path) for name in names}


def _csv_names(path: Path) -> tuple[str, ...]:
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline()
    return tuple(pyarrow.csv.read_csv(pa.py_buffer(header.rstrip("\r\n").encode() + b"\n")).column_names)


def _read_csv(path: Path, wanted: Mapping[str, str], weight: str | None) -> dict[str, np.ndarray]:
    in_file = _csv_names(path)
    names = _needed(in_file, wanted, weight, path)
    _warn_of_weights(in_file, names, path)
    convert = pyarrow.csv.ConvertOptions(include_columns=names)
    table = pyarrow.csv.read_csv(path, convert_options=convert)
    return {name: _numbers(table.column(name), name, path) for name in names}


def _numbers(column: pa.ChunkedArray, name: str, path: Path) -> np.ndarray:
    """An Arrow column as floats; missing values become NaN, to be counted with the others."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        raise EventsError(_text_message(column, name, path))
    if pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return column.to_numpy()
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)
    if not (number or pa.types.is_boolean(kind)):
        raise EventsError(f"column '{name}' in '{path}' holds {kind}, not numbers. Convert it, or leave it out of 'columns'.")
    if pa.types.is_boolean(kind) or pa.types.is_float16(kind):
        column = column.cast(pa.uint8() if pa.types.is_boolean(kind) else pa.float32())
    return column.cast(pa.float64(), safe=False).to_numpy()


def _text_message(column: pa.ChunkedArray, name: str, path: Path) -> str:
    values = column.to_pylist()
    row = next((i for i, value in enumerate(values) if value is not None and not _is_number(value)), 0)
    return (
        f"column '{name}' in '{path}' holds text: row {row} is '{values[row]}'. (Rows are counted from 0.)\n"
        "Correct these rows, or leave the column out of 'columns'."
    )


def _load_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        magic = file.read(len(_NPY_MAGIC))
    if magic != _NPY_MAGIC:
        # Asked to load it, NumPy would recommend to unpickle the file.
        raise EventsFileError(f"'{path}' is not an npy file: it starts with {magic!r}. Save one array: np.save('{path}', array).")
    array = np.load(path, allow_pickle=False)
    if array.ndim not in (1, 2) or (array.dtype.names and array.ndim != 1) or 0 in array.shape[1:]:
        raise EventsFileError(
            f"'{path}' holds an array of the shape {array.shape}; events are [num_events] or [num_events, columns].\n"
            "Save it with these axes: np.save(path, array.reshape(num_events, num_columns))."
        )
    return array


def _read_npy(path: Path, wanted: Mapping[str, str], weight: str | None) -> dict[str, np.ndarray]:
    array = _load_npy(path)
    if array.dtype.names:
        names = _needed(array.dtype.names, wanted, weight, path)
        _warn_of_weights(array.dtype.names, names, path)
        return {name: _real(array[name], name, path) for name in names}
    array = array[:, None] if array.ndim == 1 else array
    in_file = _positional_names(array.shape[1], wanted, weight, path)
    names = _needed(in_file, wanted, weight, path)
    return {name: _real(array[:, in_file.index(name)], name, path) for name in names}


def _positional_names(width: int, wanted: Mapping[str, str], weight: str | None, path: Path) -> list[str]:
    """Names for the columns of an array that has none: the ones asked for in their order, the weight last, or positions."""
    asked = [*wanted.values(), *([weight] if weight is not None else [])]
    if not wanted or all(name.isdecimal() for name in asked):
        return [*map(str, range(width))] if weight is None or weight.isdecimal() else [*map(str, range(width - 1)), weight]
    if len(asked) != width:
        raise ColumnError(
            f"'{path}' has {width} {'column' if width == 1 else 'columns'} without names, but {len(asked)} are named: {asked}.\n"
            f"Name all of them in their order, or choose by position: columns={{'{next(iter(wanted))}': '0'}}."
        )
    return asked


def _real(column: np.ndarray, name: str, path: Path) -> np.ndarray:
    if column.dtype.kind in "US":
        rows = [i for i, value in enumerate(column) if not _is_number(str(value))]
        row = rows[0] if rows else 0
        raise EventsError(f"column '{name}' in '{path}' holds text: row {row} is '{column[row]}'. (Rows are counted from 0.)")
    if column.dtype.kind not in "fiub" or column.ndim != 1:
        raise EventsError(f"column '{name}' in '{path}' holds {column.dtype} of the shape {column.shape}, not one real number per event.")
    return column


def _assemble(arrays: Mapping[str, np.ndarray], wanted: Mapping[str, str], weight: str | None, dtype: torch.dtype, path: Path) -> Events:
    """Stack the columns in one tensor and check them, overflow of the precision included."""
    if len(next(iter(arrays.values()))) == 0:
        raise EventsFileError(f"'{path}' has columns but no events (0 rows).")
    values = _cast([arrays[name] for name in wanted.values()], list(wanted.values()), dtype, path)
    weights = None if weight is None else torch.from_numpy(_cast([arrays[weight]], [weight], dtype, path)[:, 0])
    events = Events(torch.from_numpy(values), tuple(wanted), weights)
    return check_events(events, f"'{path}'", names=tuple(wanted.values()), weight_name=weight or "weight")


def _cast(arrays: Sequence[np.ndarray], names: Sequence[str], dtype: torch.dtype, path: Path) -> np.ndarray:
    values = np.empty((len(arrays[0]), len(arrays)), _NUMPY_DTYPES[dtype])
    with np.errstate(over="ignore"):
        for i, array in enumerate(arrays):
            values[:, i] = array
            if np.isinf(values[:, i]).any() and not np.isinf(array).any():
                row = int(np.isinf(values[:, i]).argmax())
                raise EventsError(
                    f"column '{names[i]}' in '{path}' does not fit into {dtype}: row {row} is {float(array[row]):g}.\nChange its unit."
                )
    return values
