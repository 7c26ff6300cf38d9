"""Checks that events must pass before any work is done with them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unscatter.arrays import Events
from unscatter.errors import EventsError, NoEventsLeftError

#: What to do where cutting would leave nothing.
NONE_INSIDE_ADVICE = "Cutting them would leave none: compare units and names of the columns with those of the grid, or widen the grid."


def check_events(events: Events, source: str = "the data", *, names: Sequence[str] | None = None, weight_name: str = "weight") -> Events:
    """Refuse events that nothing can be learnt from; return the others unchanged.

    Args:
        events: ``[..., num_events, columns]``.
        source: where they come from, as it should stand in the message.
        names: names of the columns in the message, where they differ from those of the events.
        weight_name: name of the weights in the message.

    Raises:
        EventsError: there are none, values or weights are not finite, weights are negative or all zero.

    Example:
        >>> check_events(Events(torch.tensor([[1.0], [float("nan")]]), ("x",)))
        Traceback (most recent call last):
        ...
        unscatter.errors.EventsError: 1 of 2 events in the data has values that are NaN or infinite.
        Column 'x' has 1, the first in row 1: nan. (Rows are counted from 0.)
        Remove these rows, or find out why they are there: a missing value is never read as zero.
    """
    if events.values.shape[:-1].numel() == 0:
        raise EventsError(f"there are no events in {source}: got the shape {tuple(events.values.shape)}.")
    columns = dict(zip(names or events.columns, events.values.unbind(-1), strict=True))
    if events.weights is not None:
        columns[weight_name] = events.weights
    _check_finite(columns, source)
    if events.weights is not None:
        _check_weights(events.weights, source, weight_name)
    return events


def _check_finite(columns: dict[str, Tensor], source: str) -> None:
    bad = {name: ~torch.isfinite(column).reshape(-1) for name, column in columns.items()}
    num_bad = int(torch.stack(list(bad.values())).any(0).sum())
    if num_bad == 0:
        return
    facts = [_first_bad(name, bad[name], column) for name, column in columns.items() if bool(bad[name].any())]
    num_all = next(iter(bad.values())).numel()
    raise EventsError(
        f"{num_bad} of {num_all} events in {source} {'has' if num_bad == 1 else 'have'} values that are NaN or infinite.\n"
        f"{' '.join(facts)} (Rows are counted from 0.)\n"
        "Remove these rows, or find out why they are there: a missing value is never read as zero."
    )


def _first_bad(name: str, bad: Tensor, column: Tensor) -> str:
    row = int(bad.int().argmax())
    return f"Column '{name}' has {int(bad.sum())}, the first in row {row}: {float(column.reshape(-1)[row]):g}."


def _check_weights(weights: Tensor, source: str, name: str) -> None:
    negative = (weights < 0).reshape(-1)
    if bool(negative.any()):
        row = int(negative.int().argmax())
        raise EventsError(
            f"{int(negative.sum())} of {negative.numel()} weights '{name}' in {source} are negative, "
            f"the first in row {row}: {float(weights.reshape(-1)[row]):g}. (Rows are counted from 0.)\n"
            "Weights are rates: cut these events, or subtract a background with a detector stage instead of negative weights."
        )
    if not bool((weights > 0).any()):
        raise EventsError(f"all weights '{name}' in {source} are zero.")


def check_inside(events: Events, low: Sequence[float], high: Sequence[float], names: Sequence[str]) -> Events:
    """Refuse events outside the ranges that a grid covers; return the others unchanged.

    Args:
        events: ``[..., num_events, columns]``.
        low: smallest allowed value per name, inclusive, for instance ``grid.low``.
        high: largest allowed value per name, inclusive, for instance ``grid.high``.
        names: columns to look at, for instance ``grid.names``.

    Raises:
        EventsError: some lie outside; the message counts them per column and gives the range seen.
        ColumnError: a name is not a column of the events.
    """
    inside = inside_range(events, low, high, names)
    num_outside = int((~inside).sum())
    if num_outside == 0:
        return events
    facts = [_outside_fact(events.column(n), n, a, b) for n, a, b in zip(names, low, high, strict=True)]
    advice = (
        "Cut them: events = keep_inside(events, grid.low, grid.high, grid.names), or widen the grid to the range seen."
        if bool(inside.any())
        else NONE_INSIDE_ADVICE
    )
    raise EventsError(
        f"{num_outside} of {inside.numel()} events lie outside the grid.\n{' '.join(fact for fact in facts if fact)}\n{advice}"
    )


def _outside_fact(column: Tensor, name: str, low: float, high: float) -> str:
    num_outside = int((~((column >= low) & (column <= high))).sum())
    if num_outside == 0:
        return ""
    return f"Column '{name}' has {num_outside} outside [{low:g}, {high:g}]; seen are {float(column.min()):g} to {float(column.max()):g}."


def inside_range(events: Events, low: Sequence[float], high: Sequence[float], names: Sequence[str]) -> Tensor:
    """Which events lie inside all ranges, ends included: ``[..., num_events]`` of bool."""
    # torch rounds the limits to the precision of the events, so an event on the edge stays inside when it was stored as float32.
    columns = [events.column(name) for name in names]
    inside = [(column >= a) & (column <= b) for column, a, b in zip(columns, low, high, strict=True)]
    return torch.stack(inside).all(0)


def keep_inside(events: Events, low: Sequence[float], high: Sequence[float], names: Sequence[str]) -> Events:
    """Only the events inside all ranges, ends included; ``[num_events, columns]`` in and out.

    The theory must be cut in the same way: a grid that ends at the cut does that.

    Raises:
        NoEventsLeftError: none is left.

    Example:
        >>> events = Events(torch.tensor([[0.1], [0.5], [2.0]]), ("x",))
        >>> keep_inside(events, [0.2], [1.0], ["x"]).values
        tensor([[0.5000]])
    """
    inside = inside_range(events, low, high, names)
    if not bool(inside.any()):
        _say_that_none_is_left(events, low, high, names)
    weights = None if events.weights is None else events.weights[inside]
    return Events(events.values[inside], events.columns, weights)


def _say_that_none_is_left(events: Events, low: Sequence[float], high: Sequence[float], names: Sequence[str]) -> None:
    if events.num_events == 0:
        raise NoEventsLeftError(f"there are no events to be cut in {list(names)}.")
    try:
        check_inside(events, low, high, names)
    except EventsError as error:
        raise NoEventsLeftError(*error.args) from None
