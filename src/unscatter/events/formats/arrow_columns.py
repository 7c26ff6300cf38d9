"""Columns of Arrow as NumPy arrays of numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from unscatter.errors import EventsError
from unscatter.events.formats.messages import is_number, text_message


def dtypes(schema: pa.Schema) -> dict[str, np.dtype]:
    """The columns of a schema; dtype object for what is not one real number per row."""
    return {field.name: _dtype(field.type) for field in schema}


def repeated(names: Sequence[str]) -> tuple[str, ...]:
    """Names that stand more than once."""
    return tuple(name for name, times in Counter(names).items() if times > 1)


def _dtype(kind: pa.DataType) -> np.dtype:
    if pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return np.dtype(np.float64)
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return np.dtype(kind.to_pandas_dtype()) if plain else np.dtype(object)


def as_numbers(column: pa.Array, name: str, location: str, first_row: int) -> np.ndarray:
    """A column as numbers, without a copy where nothing is missing; missing values become NaN.

    Raises:
        EventsError: it holds text, dates, lists or the like.
    """
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        raise EventsError(_text(column, name, location, first_row))
    if _dtype(kind) == np.dtype(object):
        raise EventsError(f"column '{name}' in '{location}' holds {kind}, not numbers. Convert it, or leave it out of 'columns'.")
    if pa.types.is_floating(kind) or (column.null_count == 0 and not (pa.types.is_decimal(kind) or pa.types.is_null(kind))):
        return column.to_numpy(zero_copy_only=False)
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _text(column: pa.Array, name: str, location: str, first_row: int) -> str:
    values = column.to_pylist()
    row = next((i for i, value in enumerate(values) if value is not None and not is_number(value)), 0)
    return text_message(name, location, first_row + row, values[row])


def batch_columns(batch: pa.RecordBatch, names: Sequence[str], location: str, first_row: int) -> dict[str, np.ndarray]:
    """The named columns of a batch whose first row is ``first_row`` of the file."""
    return {name: as_numbers(batch.column(name), name, location, first_row) for name in names}
