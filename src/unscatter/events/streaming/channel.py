"""One channel of a stream: a table's blocks as they are compared, and which rows of them are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import add

import numpy as np
import torch

from unscatter.arrays import Events
from unscatter.errors import EventsError, NoEventsLeftError
from unscatter.events.inspection import Findings, Inspection
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
        select: what makes events of rows, a function of each row by itself; None to take the columns as they are.
        weighted: whether the events have weights, where the preparation makes them; whether the table has them when None.
        inspect: what counts in the selected events what all of them together are refused for.
        prepare: what selected events go through, each by itself, to be compared.
    """

    name: str
    table: BlockTable
    columns: tuple[str, ...]
    reads: Mapping[str, str] | None = None
    select: Preparation | None = None
    weighted: bool | None = None
    inspect: Inspection | None = None
    prepare: Callable[[Events], Events] | None = None

    @property
    def has_weights(self) -> bool:
        """Whether the events have weights."""
        return self.table.weighted if self.weighted is None else self.weighted

    @property
    def _places(self) -> Mapping[str, str]:
        return {name: name for name in self.columns} if self.reads is None else self.reads

    def read(self, number: int) -> Block:
        """The prepared rows of one block; :meth:`release` it when they have been copied."""
        if self.select is None and self.prepare is None:
            return self.table.read(number, tuple(self._places[name] for name in self.columns))
        try:
            kept = self._prepared(self._selected(number))
        except NoEventsLeftError:
            return _nothing(len(self.columns), weighted=self.has_weights)
        return Block(tuple(kept.values.numpy().T), None if kept.weights is None else kept.weights.numpy())

    def release(self, number: int) -> None:
        """Give the block's memory back."""
        self.table.release(number)

    @cached_property
    def rows(self) -> AllRows:
        """All rows that the preparation leaves; found by a pass over the table where there is a preparation, which also inspects them.

        Raises:
            EventsError: none is left, or they do not pass the inspection.
        """
        if self.select is None and self.prepare is None and self.inspect is None:
            per_block, total = self.table.rows_per_block, self.table.num_rows
            return AllRows(np.minimum(np.arange(num_blocks(self.table) + 1) * per_block, total).astype(np.int64))
        surveyed = for_all_blocks(self._survey, num_blocks(self.table))
        if found := [findings for _, findings in surveyed if findings is not None]:
            reduce(add, found).judge(self.name)
        starts = starts_of([count for count, _ in surveyed])
        if starts[-1] == 0:
            self._say_why_none_is_left()
        return AllRows(starts)

    def _survey(self, number: int) -> tuple[int, Findings | None]:
        """How many rows of a block are left, and what its events show."""
        findings = None
        try:
            selected = self._selected(number)
            findings = None if self.inspect is None else self.inspect(selected)
            return self._prepared(selected).num_events, findings
        except NoEventsLeftError:
            return 0, findings
        finally:
            self.release(number)

    def _selected(self, number: int) -> Events:
        places = self._places
        events = _events(self.table.read(number, tuple(places.values())), tuple(places))
        return events if self.select is None else self.select(events, number * self.table.rows_per_block)

    def _prepared(self, events: Events) -> Events:
        return (events if self.prepare is None else self.prepare(events)).select(self.columns)

    def _say_why_none_is_left(self) -> None:
        """The preparation knows best; it gets the first block."""
        self._prepared(self._selected(0))
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
