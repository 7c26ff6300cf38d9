"""The events of a channel in a store, as a runcard names it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unscatter.errors import EventsError
from unscatter.events import Inside, StoredEvents
from unscatter.events.recipe import Recipe
from unscatter.pipeline import Problem


def stored_events(
    path: Path,
    columns: Mapping[str, str],
    problem: Problem,
    channel: str,
    *,
    weight: str | None = None,
    keep_inside: bool = False,
    window_blocks: int,
) -> StoredEvents:
    """Open a store for a fit; its events stay where they are.

    Args:
        path: the store.
        columns: ``{our name: column of the store}``.
        problem: whose grid the events have to lie in.
        channel: name of the channel.
        weight: column of the weights; those of the store when None.
        keep_inside: whether events outside of the theory's grid are dropped; an error otherwise, unless the problem has a detector.
        window_blocks: blocks whose rows are shuffled together.

    Raises:
        StoreError: the store is missing or damaged.
        ColumnError: it lacks a column.
        EventsError: events lie outside of the grid.
    """
    low, high, names = _grid(problem, tuple(columns))
    events = StoredEvents(
        path, Recipe(columns=dict(columns), weight=weight), Inside(low, high, names) if keep_inside else None, window_blocks
    )
    if not (keep_inside or problem.pipeline.detector.stages):
        _check_inside(events, low, high, names, channel)
    return events


def _grid(problem: Problem, columns: tuple[str, ...]) -> tuple[list[float], list[float], list[str]]:
    """Ranges of the theory's grid for the columns that it has."""
    axes = zip(problem.grid.names, problem.grid.low, problem.grid.high, strict=True)
    chosen = [axis for axis in axes if axis[0] in columns]
    return [low for _, low, _ in chosen], [high for _, _, high in chosen], [name for name, _, _ in chosen]


def _check_inside(events: StoredEvents, low: list[float], high: list[float], names: list[str], channel: str) -> None:
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
