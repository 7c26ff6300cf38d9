"""One channel of a stream: a table's blocks as they are compared, and which rows of them are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from unscatter.arrays import Events
from unscatter.errors import EventsError, NoEventsLeftError
from unscatter.events.streaming.blocks import Block, BlockTable, num_blocks
from unscatter.events.streaming.rows import AllRows, PartRows, RangeRows, Rows, for_all_blocks, num_rows, starts_of

#: From the events of a block and the number of the first row to the events that are compared.
Preparation = Callable[[Events, int], Events]


@dataclass(frozen=True, eq=False)
class PreparedTable:
    """A table whose columns are chosen, and whose rows may go through cuts, block by block.

    Args:
        name: of the channel.
        table: where the rows come from.
        columns: of the events.
        reads: columns that have to be read, ``{name that the preparation knows: name in the table}``; ``columns`` when None.
        prepare: what events go through, a function of each row by itself; None to take the columns as they are.
        weighted: whether the events have weights, where the preparation makes them; whether the table has them when None.
    """

    name: str
    table: BlockTable
    columns: tuple[str, ...]
    reads: Mapping[str, str] | None = None
    prepare: Preparation | None = None
    weighted: bool | None = None

    @property
    def has_weights(self) -> bool:
        """Whether the events have weights."""
        return self.table.weighted if self.weighted is None else self.weighted

    def read(self, number: int) -> Block:
        """The prepared rows of one block; :meth:`release` it when they have been copied."""
        places = {name: name for name in self.columns} if self.reads is None else self.reads
        if self.prepare is None:
            return self.table.read(number, tuple(places[name] for name in self.columns))
        block = self.table.read(number, tuple(places.values()))
        try:
            kept = self.prepare(_events(block, tuple(places)), number * self.table.rows_per_block).select(self.columns)
        except NoEventsLeftError:
            return _nothing(len(self.columns), weighted=self.has_weights)
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
        block = self.table.read(0, tuple((self.reads or {name: name for name in self.columns}).values()))
        assert self.prepare is not None
        self.prepare(_events(block, tuple(self.reads or self.columns)), 0)
        raise EventsError(f"the preparation leaves none of the {self.table.num_rows} events of channel '{self.name}'.")


def _events(block: Block, columns: tuple[str, ...]) -> Events:
    """A copy that may be changed: what is mapped from a file may not."""
    weights = None if block.weights is None else torch.from_numpy(np.array(block.weights))
    return Events(torch.from_numpy(np.stack(block.columns, -1)), columns, weights)


def _nothing(num_columns: int, *, weighted: bool) -> Block:
    empty = np.empty(0, np.float32)
    return Block((empty,) * num_columns, empty if weighted else None)


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
