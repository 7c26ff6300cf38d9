"""Rows that cannot be events, counted while a file is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from unscatter.errors import EventsError


class First(NamedTuple):
    """How many bad values a column has, and the first of them."""

    number: int
    row: int
    value: float

    def and_then(self, later: First) -> First:
        """With what rows further down add."""
        return First(self.number + later.number, self.row, self.value)


def first_of(bad: np.ndarray, values: np.ndarray, rows: np.ndarray) -> First | None:
    """The bad ones among values that stand in the given rows of a file; None where all are good."""
    count = int(np.count_nonzero(bad))
    if not count:
        return None
    index = int(bad.argmax())
    return First(count, int(rows[index]), float(values[index]))


@dataclass(frozen=True)
class Faults:
    """What is wrong with some rows of a file; add those of its parts with ``+``."""

    num_rows: int = 0
    """Rows that were looked at: those that no cut removed."""
    num_bad: int = 0
    """Rows with a value that is not finite."""
    not_finite: dict[str, First] = field(default_factory=dict)
    """Per column, values that are NaN or infinite."""
    negative: First | None = None
    """Weights below zero."""

    def __add__(self, later: Faults) -> Faults:
        merged = dict(self.not_finite)
        for name, first in later.not_finite.items():
            merged[name] = merged[name].and_then(first) if name in merged else first
        negative = self.negative.and_then(later.negative) if self.negative and later.negative else self.negative or later.negative
        return Faults(self.num_rows + later.num_rows, self.num_bad + later.num_bad, merged, negative)

    def check(self, location: str, weight: str | None = None) -> None:
        """Refuse a file with bad rows.

        Raises:
            EventsError: there are some; the message counts them and names the first row per column.
        """
        if self.num_bad:
            raise EventsError(
                f"{self.num_bad} of {self.num_rows} events in '{location}' {'has' if self.num_bad == 1 else 'have'} values that are NaN or "
                f"infinite.\n{' '.join(_fact(name, first) for name, first in self.not_finite.items())} (Rows are counted from 0.)\n"
                "Cut these rows, drop them (not_finite: drop), or find out why they are there: a missing value is never read as zero."
            )
        if self.negative:
            raise EventsError(
                f"{self.negative.number} of {self.num_rows} weights '{weight}' in '{location}' are negative, "
                f"the first in row {self.negative.row}: {self.negative.value:g}. (Rows are counted from 0.)\n"
                "Weights are rates: cut these events, or subtract a background with a detector stage instead of negative weights."
            )


def _fact(name: str, first: First) -> str:
    return f"Column '{name}' has {first.number}, the first in row {first.row}: {first.value:g}."
