"""Rows of a file that are kept, in the precision of events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unscatter.errors import EventsError
from unscatter.events.faults import Faults, First, first_of


def kept_rows(cuts: Sequence[Any], num_rows: int) -> np.ndarray | None:
    """Rows where all conditions are true, neither zero nor missing; None for all rows."""
    if not cuts:
        return None
    keep = np.ones(num_rows, bool)
    for cut in cuts:
        keep &= (cut != 0) & (cut == cut)
    return None if keep.all() else np.flatnonzero(keep)


@dataclass(frozen=True)
class Rows:
    """Some rows of a chunk.

    Args:
        first_row: row of the file that the chunk begins with.
        num_rows: rows of the chunk.
        kept: which ones, by their place in the chunk; None for all.
        location: the file, for messages.
    """

    first_row: int
    num_rows: int
    kept: np.ndarray | None
    location: str

    def __len__(self) -> int:
        return self.num_rows if self.kept is None else len(self.kept)

    def in_file(self, which: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Rows of the file, counted from 0."""
        places = np.arange(self.num_rows) if self.kept is None else self.kept
        return self.first_row + places[which]

    def cast(self, columns: Sequence[tuple[str, Any]], dtype: np.dtype) -> np.ndarray:
        """Columns, given with their names for messages, side by side: ``[rows, columns]``, each contiguous.

        Raises:
            EventsError: a finite value is too large for ``dtype``.
        """
        values = np.empty((len(columns), len(self)), dtype).T
        for i, (name, column) in enumerate(columns):
            kept = column if self.kept is None or np.ndim(column) == 0 else column[self.kept]
            with np.errstate(over="ignore"):
                values[:, i] = _through_double(kept)
            self._check_overflow(values[:, i], kept, name)
        return values

    def _check_overflow(self, values: np.ndarray, before: Any, name: str) -> None:
        infinite = np.isinf(values)
        if not infinite.any():
            return
        too_large = infinite & np.isfinite(before)
        if too_large.any():
            place = int(too_large.argmax())
            value = float(np.broadcast_to(before, values.shape)[place])
            raise EventsError(
                f"column '{name}' in '{self.location}' does not fit into torch.{values.dtype}: row {self.in_file()[place]} is {value:g}.\n"
                "Change its unit."
            )

    def faults(self, values: np.ndarray, names: Sequence[str], weight: str | None, *, drop: bool) -> tuple[Faults, np.ndarray | None]:
        """What is wrong with the values, and which rows are finite where others are to be dropped; None for all."""
        finite = _finite_rows(values)
        not_finite = {}
        if finite is not None and not drop:
            not_finite = {name: self._first(~np.isfinite(values[:, i]), values[:, i]) for i, name in enumerate(names)}
        negative = None if weight is None else self._first(values[:, -1] < 0, values[:, -1])
        found = {name: first for name, first in not_finite.items() if first is not None}
        num_bad = int(np.count_nonzero(~finite)) if found and finite is not None else 0
        return Faults(len(self), num_bad, found, negative), finite if drop else None

    def _first(self, bad: np.ndarray, values: np.ndarray) -> First | None:
        return first_of(bad, values, self.in_file()) if bad.any() else None


def _through_double(column: Any) -> Any:
    """64-bit integers are rounded to doubles first, whatever they become then, so that all formats give the same."""
    wide = isinstance(column, np.ndarray) and column.dtype.kind in "iu" and column.dtype.itemsize == 8
    return column.astype(np.float64) if wide else column


def _finite_rows(values: np.ndarray) -> np.ndarray | None:
    """Which rows have only finite values; None for all of them."""
    finite = [np.isfinite(column) for column in values.T]
    if all(column.all() for column in finite):
        return None
    return np.logical_and.reduce(finite)
