"""The events of a fit as a source: streamed or in memory, split, and cut into the shards of the ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import torch

from unscatter.arrays import Events
from unscatter.diagnostics import MIN_EVENTS
from unscatter.errors import EventsError, SettingsError
from unscatter.events import (
    EventSource,
    InMemoryEvents,
    MemoryTable,
    ShardedSource,
    SplittableSource,
    StoredEvents,
    StreamedEvents,
    WaitingSource,
    check_inside,
)
from unscatter.events.store import EventStore
from unscatter.events.streaming import Channel
from unscatter.events.streaming.sums import weight_sums
from unscatter.exchange import Exchange
from unscatter.pipeline import Problem
from unscatter.solve.settings import SolveSettings

#: Events of one channel: in memory, or in a store, which may be given by its path.
ChannelEvents: TypeAlias = Events | StoredEvents | EventStore | str | Path

#: What a fit takes: events per channel, or a source of one's own.
EventsGiven: TypeAlias = Mapping[str, ChannelEvents] | EventSource


def check_per_channel(problem: Problem, events: object) -> None:
    """Refuse events that come without the name of their channel.

    Raises:
        SettingsError: with the line to write.
    """
    if isinstance(events, Events | StoredEvents | EventStore | str | Path):
        raise SettingsError(
            f"events are given per channel, and problem '{problem.name}' has {list(problem.channels)}; got {type(events).__name__} alone.\n"
            f"Write: solve(problem, {{'{problem.channels[0]}': events}})."
        )


def as_source(problem: Problem, events: EventsGiven, settings: SolveSettings) -> EventSource:
    """Events per channel as a source, in the order of the problem's channels and bootstrapped for more than one replica.

    Where at least one channel is in a store, all are streamed.

    Raises:
        SettingsError: channels or columns are missing, or the source has another number of replicas than the settings.
        EventsError: events outside the grid of a problem whose detector is ideal.
    """
    if not isinstance(events, Mapping):
        if settings.replicas not in (1, events.num_replicas):
            raise SettingsError(f"'replicas' is {settings.replicas}, but the source of events has {events.num_replicas}.")
        return events
    if set(events) != set(problem.channels):
        raise SettingsError(f"problem '{problem.name}' needs events for the channels {list(problem.channels)}, got {sorted(events)}.")
    in_memory = {channel: sample for channel, sample in events.items() if isinstance(sample, Events)}
    chosen = {channel: _compared(problem, channel, in_memory[channel]) for channel in problem.channels if channel in in_memory}
    replicas, bootstrap = settings.replicas, settings.bootstrap and settings.replicas > 1
    if len(chosen) == len(events):
        return InMemoryEvents(chosen, replicas=replicas, bootstrap=bootstrap, seed=settings.seed)
    stored = stored_of(events)
    tables = {
        channel: _streamed(problem, channel, stored[channel]) if channel in stored else MemoryTable(chosen[channel])
        for channel in problem.channels
    }
    windows = {channel: sample.window_blocks for channel, sample in stored.items()}
    widest = max(windows.values())
    return StreamedEvents(
        tables, replicas=replicas, bootstrap=bootstrap, seed=settings.seed,
        window_blocks={channel: windows.get(channel, widest) for channel in problem.channels},
    )  # fmt: skip


def stored_of(events: EventsGiven) -> dict[str, StoredEvents]:
    """Those of the events that are in stores, by their channel."""
    given = events.items() if isinstance(events, Mapping) else ()
    return {
        channel: sample if isinstance(sample, StoredEvents) else StoredEvents(sample)
        for channel, sample in given
        if not isinstance(sample, Events)
    }


def warn_if_sorted(events: EventsGiven, num_ranks: int) -> None:
    """Say which stores are not in random order, where that harms a fit on so many ranks."""
    for channel, sample in stored_of(events).items():
        sample.warn_if_sorted(channel, num_ranks)


class Compared(NamedTuple):
    """How many events of a channel take part in a fit."""

    num_events: int
    """Events that are compared: the others are cut."""
    num_given: int
    """Events that are given."""
    sum_of_weights: float
    """Of those that are compared; their number where they have no weights."""


def count_compared(problem: Problem, channel: str, events: Events | StoredEvents) -> Compared:
    """How many events of a channel are compared, and how many are given.

    Raises:
        EventsError: they belong to other beams, or none is left.
    """
    if isinstance(events, StoredEvents):
        kept = _streamed(problem, channel, events)
        return Compared(kept.num_rows, events.opened.num_rows, weight_sums(kept)[0])
    prepared = problem.prepare(channel, events)
    return Compared(prepared.num_events, events.num_events, float(prepared.weights_or_ones().double().sum()))


def split_off(source: EventSource, settings: SolveSettings) -> tuple[EventSource, EventSource | None]:
    """Events to train on, and those that are held out; None for the latter where none are wanted.

    Raises:
        SettingsError: the source cannot be split, or too few events would be held out for the test.
        EventsError: a part would be empty.
    """
    if settings.held_out == 0:
        return source, None
    if not isinstance(source, SplittableSource):
        raise SettingsError(
            "this source of events cannot be split: set held_out to 0, give it a method split(fractions, seed), or pass the events "
            "themselves."
        )
    try:
        training, held_out = source.split((1 - settings.held_out, settings.held_out), settings.seed)
    except EventsError as error:
        raise EventsError(f"held_out = {settings.held_out:g}: {error.args[0]} To split none off: held_out=0.") from error
    if settings.diagnose:
        _check_enough(held_out, settings)
    return training, held_out


def shard_of(source: EventSource, exchange: Exchange) -> EventSource:
    """The events of this rank; all of them where it is the only one.

    Raises:
        SettingsError: the source cannot be cut.
    """
    if exchange.num_ranks == 1:
        return source
    if not isinstance(source, ShardedSource):
        raise SettingsError(
            f"this source of events cannot be cut into shards for {exchange.num_ranks} ranks: give it a method "
            "shard(rank, num_ranks), or pass the events themselves."
        )
    return source.shard(exchange.rank, exchange.num_ranks)


def stop_reading(source: EventSource) -> None:
    """Let a source that reads ahead give its threads and memory back."""
    if isinstance(source, WaitingSource):
        source.close()


def _check_enough(held_out: EventSource, settings: SolveSettings) -> None:
    for channel in held_out.channels:
        # As many as there must be, and no more: there may be too many to be read.
        found = held_out.of_channel(channel, max_events=MIN_EVENTS).num_events
        if found < MIN_EVENTS:
            share = min(0.5, 1.5 * settings.held_out * MIN_EVENTS / found)
            raise SettingsError(
                f"held_out = {settings.held_out:g} keeps {found} events of channel '{channel}' for the test at the end, "
                f"which needs at least {MIN_EVENTS}.\nHold out more, for instance held_out={share:.2g}, or none: held_out=0."
            )


def _compared(problem: Problem, channel: str, events: Events) -> Events:
    """Events of one channel as they are compared, single precision."""
    prepared = problem.prepare(channel, events).to(dtype=torch.float32)
    if not problem.pipeline.detector.stages:
        _check_on_grid(problem, prepared)
    return prepared


def _streamed(problem: Problem, channel: str, events: StoredEvents) -> Channel:
    return events.channel(channel, problem.observables, _preparation(problem, channel, events), problem.inspection)


def _check_on_grid(problem: Problem, sample: Events) -> Events:
    """Only observables: a theory may know more coordinates than are measured."""
    return check_inside(sample, *problem.grid.ranges(problem.observables))


def _preparation(problem: Problem, channel: str, events: StoredEvents) -> Callable[[Events], Events] | None:
    """What blocks of a store go through; None where columns are taken as they are."""
    checked = not problem.pipeline.detector.stages and not _surely_on_grid(problem, events)
    if problem.preparation is None and not checked:
        return None

    def prepare(block: Events) -> Events:
        prepared = problem.prepare_part(channel, block)
        return _check_on_grid(problem, prepared) if checked else prepared

    return prepare


def _surely_on_grid(problem: Problem, events: StoredEvents) -> bool:
    """Whether ranges and cuts of the store are enough to know that all events lie on the grid."""
    return events.lies_inside(*problem.grid.ranges(problem.observables))
