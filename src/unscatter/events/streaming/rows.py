"""Which rows of every block a source uses, and how it numbers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from unscatter.events.hashing import row_uniforms

#: Threads that look through all blocks before a fit.
_SURVEYORS = 2

T = TypeVar("T")


@runtime_checkable
class Rows(Protocol):
    """A set of rows, numbered from 0 in the order of the blocks."""

    @property
    def starts(self) -> np.ndarray:
        """Number of the first row of each block, and one more: how many there are, ``[blocks + 1]`` of int64."""
        ...

    @property
    def origin(self) -> int:
        """What is added to a row's number to get the one that its bootstrap weights belong to."""
        ...

    def of_block(self, number: int) -> slice | np.ndarray:
        """Positions of these rows in their block, ascending."""
        ...


@dataclass(frozen=True, eq=False)
class AllRows:
    """All rows of all blocks.

    Args:
        starts: number of the first row of each block, and how many there are.
    """

    starts: np.ndarray
    origin: int = 0

    def of_block(self, number: int) -> slice | np.ndarray:
        """All positions."""
        return slice(0, int(self.starts[number + 1] - self.starts[number]))


@dataclass(frozen=True, eq=False)
class PartRows:
    """One part of a random split: the same rows as :func:`unscatter.events.split` puts there.

    Args:
        parent: what is split.
        key: of the split, see :func:`~unscatter.events.splitting.part_of_rows`.
        fractions: one per part.
        part: which part.
    """

    parent: Rows
    key: int
    fractions: Sequence[float]
    part: int
    origin: int = 0

    @property
    def starts(self) -> np.ndarray:
        """Counted once, from numbers alone: no block is read."""
        return self._starts

    @cached_property
    def _starts(self) -> np.ndarray:
        counts = for_all_blocks(lambda number: int(self._kept(number).sum()), len(self.parent.starts) - 1)
        return starts_of(counts)

    def of_block(self, number: int) -> slice | np.ndarray:
        """Positions of the rows whose random number falls into the part."""
        kept, rows = np.flatnonzero(self._kept(number)), self.parent.of_block(number)
        return kept + rows.start if isinstance(rows, slice) else rows[kept]

    def _kept(self, number: int) -> np.ndarray:
        first, last = self.parent.starts[number : number + 2]
        uniforms = row_uniforms(self.key, np.arange(first, last))
        edges = np.cumsum(self.fractions)[:-1]
        kept = uniforms >= edges[self.part - 1] if self.part > 0 else np.ones(len(uniforms), bool)
        return kept & (uniforms < edges[self.part]) if self.part < len(edges) else kept


@dataclass(frozen=True, eq=False)
class RangeRows:
    """Consecutive rows, the shard of one rank.

    Args:
        parent: what they are a stretch of.
        first: number of the first one there.
        last: number after the last one.
    """

    parent: Rows
    first: int
    last: int

    @property
    def origin(self) -> int:
        """A row has the same bootstrap weights in whichever shard it is."""
        return self.parent.origin + self.first

    @property
    def starts(self) -> np.ndarray:
        """Those of the parent, cut off at both ends."""
        return self._starts

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.clip(self.parent.starts, self.first, self.last) - self.first

    def of_block(self, number: int) -> slice | np.ndarray:
        """Positions in a block of the stretch, all or some or none."""
        start, count = int(self.parent.starts[number]), int(self.starts[number + 1] - self.starts[number])
        skipped = max(0, self.first - start)
        rows = self.parent.of_block(number)
        if isinstance(rows, slice):
            return slice(rows.start + skipped, rows.start + skipped + count)
        return rows[skipped : skipped + count]


def num_rows(rows: Rows) -> int:
    """How many rows there are."""
    return int(rows.starts[-1])


def starts_of(counts: Sequence[int]) -> np.ndarray:
    """Number of the first row of each block from the numbers of rows, and their sum.

    Example:
        >>> starts_of([3, 0, 2])
        array([0, 3, 3, 5])
    """
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def for_all_blocks(function: Callable[[int], T], number: int) -> list[T]:
    """What a function gives for the blocks 0, 1, ... ``number - 1``, computed by several threads."""
    if number < 2 * _SURVEYORS:
        return [function(block) for block in range(number)]
    with ThreadPoolExecutor(_SURVEYORS, "survey") as threads:
        return list(threads.map(function, range(number)))
