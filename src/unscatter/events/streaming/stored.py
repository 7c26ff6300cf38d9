"""The events of one channel in a store: which of its columns and rows, and how they become what a fit compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import torch

from unscatter.arrays import Events
from unscatter.errors import ColumnError
from unscatter.events.formats.protocol import Chunk
from unscatter.events.inspection import Inspection
from unscatter.events.recipe import Recipe
from unscatter.events.store import EventStore
from unscatter.events.streaming.blocks import BlockTable
from unscatter.events.streaming.channel import Channel, Preparation, PreparedTable
from unscatter.events.streaming.sorting import warn_if_sorted
from unscatter.events.streaming.store_table import StoreTable, check_weights
from unscatter.events.validation import keep_inside
from unscatter.files import did_you_mean

#: Blocks whose rows are shuffled together.
WINDOW_BLOCKS = 16


@dataclass(frozen=True)
class Inside:
    """Ranges that events are cut to, ends included."""

    low: Sequence[float]
    high: Sequence[float]
    names: Sequence[str]


@dataclass(frozen=True, eq=False)
class StoredEvents:
    """Events of one channel that stay in their store; a fit streams them.

    Args:
        store: the store, or its path.
        recipe: which columns, formulas and cuts; all columns and rows of the store when None.
        inside: ranges that events are cut to after that.
        window_blocks: blocks whose rows are shuffled together; more mix better and need more memory.

    Raises:
        StoreError: the store is missing or damaged.
        ColumnError: it lacks a column of the recipe.
        EventsError: its weights are negative or all zero.
    """

    store: EventStore | str | Path
    recipe: Recipe | None = None
    inside: Inside | None = None
    window_blocks: int = WINDOW_BLOCKS

    def __post_init__(self) -> None:
        if not isinstance(self.store, EventStore):
            object.__setattr__(self, "store", EventStore.open(self.store))
        check_weights(self.opened)
        if self.recipe is not None:
            self.recipe.needed(self._available, self.location)

    @property
    def opened(self) -> EventStore:
        """The open store."""
        assert isinstance(self.store, EventStore)
        return self.store

    @property
    def location(self) -> str:
        """Where it is, for messages."""
        return str(self.opened.path)

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the events, after the recipe."""
        return self.opened.columns if self.recipe is None else self.recipe.names(self._available)

    def warn_if_sorted(self, channel: str, num_ranks: int = 1) -> None:
        """Say where rows are not in random order, and how that harms a fit."""
        used = self._needed if self._computes else self._places
        warn_if_sorted(self.opened, tuple(used.values()), channel, window_blocks=self.window_blocks, num_ranks=num_ranks)

    def lies_inside(self, low: Sequence[float], high: Sequence[float], names: Sequence[str]) -> bool:
        """Whether the manifest, or the ranges that events are cut to, say that all events lie inside some ranges."""
        return all(self._within(name, a, b) for name, a, b in zip(names, low, high, strict=True))

    def _within(self, name: str, low: float, high: float) -> bool:
        if self.inside is not None and name in self.inside.names:
            index = self.inside.names.index(name)
            if low <= self.inside.low[index] and self.inside.high[index] <= high:
                return True
        seen = self.range_of(name)
        return seen is not None and low <= seen[0] and seen[1] <= high

    def range_of(self, column: str) -> tuple[float, float] | None:
        """Smallest and largest value of a column in the store; None where a recipe computes it or cuts rows."""
        if self._computes or column not in self.columns:
            return None
        summary = self.opened.manifest.summary(self._places[column])
        return summary.min, summary.max

    def channel(
        self, name: str, columns: tuple[str, ...] | None = None, prepare: Callable[[Events], Events] | None = None,
        inspect: Inspection | None = None,
    ) -> Channel:  # fmt: skip
        """The events as a channel of :class:`~unscatter.events.StreamedEvents`.

        Args:
            name: of the channel.
            columns: those that are compared; all when None.
            prepare: what events go through after recipe and cuts, row by row; blocks of which nothing is left may raise
                :class:`~unscatter.errors.NoEventsLeftError`.
            inspect: what counts in the events before ``prepare`` what they are refused for.
        """
        steps = self._steps()
        chosen = self.columns if columns is None else columns
        if not steps and prepare is None:
            self._check_columns(chosen)
        reads = self._needed if self._computes else self._places
        weighted = self.opened.weighted or (self.recipe is not None and self.recipe.weight is not None)
        select = _chained(steps) if steps else None
        return Channel(PreparedTable(name, StoreTable(self.opened), chosen, reads, select, weighted, inspect, prepare))

    def _steps(self) -> list[Preparation]:
        steps: list[Preparation] = []
        if self._computes:
            steps.append(self._computed)
        if self.inside is not None and not self._all_inside(self.inside):
            low, high, names = self.inside.low, self.inside.high, self.inside.names
            steps.append(lambda events, first_row: keep_inside(events, low, high, names))
        return steps

    def _all_inside(self, inside: Inside) -> bool:
        """Whether the manifest knows that nothing would be cut."""
        return replace(self, inside=None).lies_inside(inside.low, inside.high, inside.names)

    @property
    def _available(self) -> dict[str, object]:
        return dict.fromkeys(self.opened.manifest.names, self.opened.dtype)

    @cached_property
    def _computes(self) -> bool:
        """Whether the recipe does more than to choose and rename columns."""
        recipe = self.recipe
        if recipe is None:
            return False
        renamed = all(text in self.opened.columns for text in recipe.wanted.values())
        return bool(recipe.cuts) or recipe.weight not in (None, self.opened.manifest.weight) or not renamed

    @property
    def _places(self) -> dict[str, str]:
        """``{our name: name in the store}`` where the recipe only chooses and renames."""
        wanted = {} if self.recipe is None else self.recipe.wanted
        return wanted or {name: name for name in self.opened.columns}

    @property
    def _needed(self) -> dict[str, str]:
        """Columns that the recipe needs, by themselves; the weights come with every block."""
        assert self.recipe is not None
        weight = self.opened.manifest.weight
        return {name: name for name in self.recipe.needed(self._available, self.location) if name != weight}

    def _computed(self, events: Events, first_row: int) -> Events:
        """What the recipe makes of a block."""
        assert self.recipe is not None
        own = self.opened.manifest.weight
        columns = {name: events.column(name).numpy() for name in events.columns}
        recipe = self.recipe
        if own is not None and events.weights is not None:
            columns[own] = events.weights.numpy()
            recipe = replace(recipe, weight=recipe.weight or own, columns=recipe.wanted or self.opened.columns)
        made = recipe.apply(Chunk(first_row, columns), self.location)
        weights = None if made.weights is None else torch.from_numpy(made.weights.copy())
        return Events(torch.from_numpy(made.values), self.columns, weights)

    def _check_columns(self, columns: tuple[str, ...]) -> None:
        for name in columns:
            if name not in self.columns:
                raise ColumnError(
                    f"there is no column '{name}' in '{self.location}'. It has {list(self.columns)}.{did_you_mean(name, self.columns)}"
                )


#: What can be streamed: a channel, a store in any form, or a table of blocks.
Streamable: TypeAlias = Channel | StoredEvents | EventStore | BlockTable | str | Path


def as_channel(name: str, value: Streamable) -> Channel:
    """Whatever can be streamed as a channel, with all of its columns."""
    match value:
        case Channel():
            return value
        case StoredEvents():
            return value.channel(name)
        case EventStore() | str() | Path():
            return StoredEvents(value).channel(name)
        case _:
            return Channel(PreparedTable(name, value, value.columns))


def _chained(steps: Sequence[Preparation]) -> Preparation:
    def prepare(events: Events, first_row: int) -> Events:
        for step in steps:
            events = step(events, first_row)
        return events

    return prepare
