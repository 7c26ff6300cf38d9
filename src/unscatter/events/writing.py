"""Events to files: Parquet, CSV and npy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from unscatter.arrays import Events
from unscatter.errors import ColumnError, EventsFileError, ShapeError
from unscatter.events.reading import PARAMETERS_KEY
from unscatter.files import atomic_write, quoted

#: Kinds of files that :func:`write_events` makes, by their suffix.
SUFFIXES = (".parquet", ".csv", ".npy")


def write_events(events: Events, path: str | Path, *, weight: str = "weight", parameters: Mapping[str, float] | None = None) -> Path:
    """Write the events of one channel to a new file; what :func:`~unscatter.events.read_events` reads back is the same, bit for bit.

    Args:
        events: ``[num_events, columns]``; weights become one more column.
        path: a file that ends in ``.parquet``, ``.csv`` or ``.npy`` (a structured array) and does not exist yet.
        weight: name of the column of weights.
        parameters: what pseudo-data were made with, by name; a Parquet file keeps them for :func:`~unscatter.events.read_parameters`,
            the other formats have no place for them.

    Raises:
        EventsFileError: the file exists, its suffix is unknown, or it cannot be written.
        ShapeError: the events have more axes.
        ColumnError: a column has the name of the weights already.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise EventsFileError(f"cannot write '{path}': the suffix '{path.suffix}' is not one of {', '.join(SUFFIXES)}.")
    if path.exists():
        raise EventsFileError(f"'{path}' exists already and is not written over. Choose another name, or remove it: rm {quoted(path)}")
    columns = _named_arrays(events, weight)
    with atomic_write(path, raises=EventsFileError) as file:
        match path.suffix.lower():
            case ".parquet":
                pq.write_table(pa.table(columns, metadata=_metadata(parameters)), file)
            case ".csv":
                pyarrow.csv.write_csv(pa.table(columns), file)
            case _:
                np.save(file, _structured(columns), allow_pickle=False)
    return path


def _named_arrays(events: Events, weight: str) -> dict[str, np.ndarray]:
    if events.values.ndim != 2:
        raise ShapeError(f"one channel of events has the shape [num_events, columns], got {tuple(events.values.shape)}.")
    columns = {name: events.column(name).detach().cpu().numpy() for name in events.columns}
    if events.weights is None:
        return columns
    if weight in columns:
        raise ColumnError(f"the events have a column '{weight}' already. Name the weights differently: write_events(..., weight='w').")
    return columns | {weight: events.weights.detach().cpu().numpy()}


def _metadata(parameters: Mapping[str, float] | None) -> dict[bytes, bytes] | None:
    return None if parameters is None else {PARAMETERS_KEY: json.dumps(dict(parameters)).encode()}


def _structured(columns: dict[str, np.ndarray]) -> np.ndarray:
    length = len(next(iter(columns.values())))
    rows = np.empty(length, dtype=[(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        rows[name] = column
    return rows
