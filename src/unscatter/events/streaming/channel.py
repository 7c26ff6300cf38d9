"""One channel of a stream: a table's blocks as they are compared, and which rows of them are used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from unscatter.arrays import Events
from unscatter.errors import EventsError, NoEventsLeftError
from unscatter.events.streaming.blocks import Block, BlockTable, num_blocks
from unscatter.events.streaming.rows import AllRows, PartRows, RangeRows, Rows, for_all_blocks, num_rows, starts_of


@dataclass(frozen=True, eq=False)
class PreparedTable:
    """A table whose rows go through cuts, or whose columns are chosen, block by block.

    Args:
        name: of the channel.
        table: where the rows come from.
        columns: of the events.
        prepare: from the events of a block, with all columns of the table, to those that are compared: a function of each row by itself.
            None to take the columns as they are.
    """

    name: str
    table: BlockTable
    columns: tuple[str, ...]
    prepare: Callable[[Events], Events] | None = None

    def read(self, number: int) -> Block:
        """The prepared rows of one block; :meth:`release` it when they have been copied."""
        if self.prepare is None:
            return self.table.read(number, self.columns)
        block = self.table.read(number, self.table.columns)
        weights = None if block.weights is None else torch.from_numpy(np.array(block.weights))
        events = Events(torch.from_numpy(np.stack(block.columns, -1)), self.table.columns, weights)
        try:
            kept = self.prepare(events).select(self.columns)
        except NoEventsLeftError:
            return block.take(slice(0, 0))._replace(columns=tuple(np.empty(0, np.float32) for _ in self.columns))
        return Block(tuple(kept.values.numpy().T), None if kept.weights is None else kept.weights.numpy())

    def release(self, number: int) -> None:
        """Give the block's memory back."""
        self.table.release(number)

    @cached_property
    def rows(self) -> AllRows:
        """All rows that the preparation leaves; found by a pass over the table where there is a preparation.

        Raises:
            EventsError: none is left.
        """
        if self.prepare is None:
            per_block, total = self.table.rows_per_block, self.table.num_rows
            return AllRows(np.minimum(np.arange(num_blocks(self.table) + 1) * per_block, total).astype(np.int64))
        starts = starts_of(for_all_blocks(self._count, num_blocks(self.table)))
        if starts[-1] == 0:
            self._say_why_none_is_left()
        return AllRows(starts)

    def _count(self, number: int) -> int:
        count = self.read(number).num_rows
        self.release(number)
        return count

    def _say_why_none_is_left(self) -> None:
        """The preparation knows best; it gets the first block."""
        block = self.table.read(0, self.table.columns)
        assert self.prepare is not None
        self.prepare(Events(torch.from_numpy(np.stack(block.columns, -1)), self.table.columns))
        raise EventsError(f"the preparation leaves none of the {self.table.num_rows} events of channel '{self.name}'.")


@dataclass(frozen=True, eq=False)
class Channel:
    """Some rows of a prepared table.

    Args:
        table: prepared block by block.
        rows: which rows; all when None.
    """

    table: PreparedTable
    chosen: Rows | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Of the channel."""
        return self.table.name

    @cached_property
    def rows(self) -> Rows:
        """Which rows, and their numbers."""
        return self.table.rows if self.chosen is None else self.chosen

    @cached_property
    def counts(self) -> np.ndarray:
        """Rows of each block, ``[blocks]``."""
        return np.diff(self.rows.starts)

    @property
    def num_rows(self) -> int:
        """Rows of all blocks together."""
        return num_rows(self.rows)

    def read(self, number: int) -> Block:
        """The rows of one block; views, to be copied before :meth:`release`."""
        return self.table.read(number).take(self.rows.of_block(number))

    def read_numbered(self, number: int) -> tuple[Block, int]:
        """The rows of one block, and the number of the first for the bootstrap."""
        return self.read(number), int(self.rows.starts[number]) + self.rows.origin

    def release(self, number: int) -> None:
        """Give the block's memory back."""
        self.table.release(number)

    def part(self, key: int, fractions: tuple[float, ...], part: int) -> Channel:
        """One part of a random split."""
        return Channel(self.table, PartRows(self.rows, key, fractions, part))

    def shard(self, rank: int, num_ranks: int) -> Channel:
        """Consecutive rows; sizes of the shards differ by one at most.

        Raises:
            EventsError: fewer rows than ranks.
        """
        total = self.num_rows
        if total < num_ranks:
            raise EventsError(f"channel '{self.name}' has {total} events, too few for {num_ranks} ranks: use fewer ranks.")
        return Channel(self.table, RangeRows(self.rows, total * rank // num_ranks, total * (rank + 1) // num_ranks))
