"""Tables that are read block by block: what a stream needs of a store, and events in memory as such a table."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from unscatter.arrays import Events

#: Rows per block of a table that is made of events in memory.
ROWS_PER_BLOCK = 65_536


class Block(NamedTuple):
    """Some rows, column by column.

    The arrays may be views of a mapped file: whoever keeps them copies them before the block is released.
    """

    columns: tuple[np.ndarray, ...]
    weights: np.ndarray | None

    @property
    def num_rows(self) -> int:
        """Length of every column."""
        return len(self.columns[0])

    def take(self, rows: slice | np.ndarray) -> Block:
        """The same columns with only some rows; views where ``rows`` is a slice."""
        weights = None if self.weights is None else self.weights[rows]
        return Block(tuple(column[rows] for column in self.columns), weights)


@runtime_checkable
class BlockTable(Protocol):
    """Rows in blocks of one size, of which only the last may be shorter."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, without weights."""
        ...

    @property
    def weighted(self) -> bool:
        """Whether rows have weights."""
        ...

    @property
    def num_rows(self) -> int:
        """Of all blocks together."""
        ...

    @property
    def rows_per_block(self) -> int:
        """Of every block but the last."""
        ...

    def read(self, number: int, columns: tuple[str, ...]) -> Block:
        """One block, with the named columns in that order."""
        ...

    def expect(self, numbers: tuple[int, ...]) -> None:
        """These blocks are read soon: whoever has to fetch them may begin."""
        ...

    def release(self, number: int) -> None:
        """The block is not needed any more for now."""
        ...


class MemoryTable:
    """Events in memory as a table of blocks, for a channel that stands beside a store, and for tests.

    Args:
        events: ``[num_events, columns]``.
        rows_per_block: length of all blocks but the last.

    Example:
        >>> import torch
        >>> table = MemoryTable(Events(torch.arange(5.0)[:, None], ("time_s",)), rows_per_block=2)
        >>> table.read(2, ("time_s",)).columns[0].tolist()
        [4.0]
    """

    def __init__(self, events: Events, rows_per_block: int = ROWS_PER_BLOCK) -> None:
        self.columns, self.weighted = events.columns, events.weights is not None
        self.num_rows, self.rows_per_block = events.num_events, rows_per_block
        self._columns = {name: events.column(name).numpy() for name in events.columns}
        self._weights = None if events.weights is None else events.weights.numpy()

    def read(self, number: int, columns: tuple[str, ...]) -> Block:
        """Views of the rows of one block."""
        rows = slice(number * self.rows_per_block, (number + 1) * self.rows_per_block)
        return Block(tuple(self._columns[name] for name in columns), self._weights).take(rows)

    def expect(self, numbers: tuple[int, ...]) -> None:
        """Nothing to fetch."""

    def release(self, number: int) -> None:
        """Nothing to give back."""


def num_blocks(table: BlockTable) -> int:
    """Number of blocks of a table, the last one included."""
    return -(-table.num_rows // table.rows_per_block)
