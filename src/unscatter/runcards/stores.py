"""The events of a channel in a store, as a runcard names it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unscatter.errors import EventsError, SettingsError
from unscatter.events import Inside, StoredEvents
from unscatter.events.locations import find_files, is_remote
from unscatter.events.recipe import Recipe
from unscatter.events.store import is_store, manifest_path
from unscatter.pipeline import Problem


def store_of(sources: Sequence[Path | str]) -> Path | None:
    """The event store among what a channel reads; None where it reads files.

    Raises:
        SettingsError: a store and something else.
    """
    stores = [source for source in sources if not is_remote(source) and is_store(source)]
    if not stores:
        return None
    if len(sources) > 1:
        raise SettingsError(
            f"'{stores[0]}' is an event store, and a channel reads one store or several files, got {len(sources)} paths.\n"
            "Make one store of all files: unscatter ingest SOURCES -o STORE"
        )
    return Path(stores[0])


def files_of(sources: Sequence[Path | str]) -> list[str]:
    """The files that a channel reads; of a store its manifest."""
    store = store_of(sources)
    return find_files(sources) if store is None else [str(manifest_path(store))]


def stored_events(
    path: Path, recipe: Recipe, problem: Problem, channel: str, *, keep_inside: bool = False, window_blocks: int
) -> StoredEvents:
    """Open a store for a fit; its events stay where they are.

    Args:
        path: the store.
        recipe: which columns, formulas and cuts.
        problem: whose grid the events have to lie in.
        channel: name of the channel.
        keep_inside: whether events outside of the theory's grid are dropped; an error otherwise, unless the problem has a detector.
        window_blocks: blocks whose rows are shuffled together.

    Raises:
        StoreError: the store is missing or damaged.
        ColumnError: it lacks a column.
        EventsError: events lie outside of the grid.
    """
    low, high, names = problem.grid.ranges(recipe.wanted)
    events = StoredEvents(path, recipe, Inside(low, high, names) if keep_inside else None, window_blocks)
    if not (keep_inside or problem.pipeline.detector.stages):
        _check_inside(events, low, high, names, channel)
    return events


def _check_inside(events: StoredEvents, low: Sequence[float], high: Sequence[float], names: Sequence[str], channel: str) -> None:
    """What the manifest tells; what it does not, a pass over the events finds."""
    outside = [
        f"Column '{name}' reaches from {seen[0]:g} to {seen[1]:g}, but the grid from {a:g} to {b:g}."
        for name, a, b in zip(names, low, high, strict=True)
        if (seen := events.range_of(name)) is not None and not events.lies_inside([a], [b], [name])
    ]
    if outside:
        raise EventsError(
            f"'{events.location}': events lie outside the grid.\n{' '.join(outside)}\n"
            f"Drop them: events.{channel}: {{path: {Path(events.location).name}, keep_inside: true}}, or give the problem a detector or a "
            "wider grid."
        )
