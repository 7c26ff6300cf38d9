"""Splitting events into parts for training, for the stopping rule and for the final test."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from unscatter.arrays import Events, RandomStream
from unscatter.errors import EventsError, SettingsError
from unscatter.events.hashing import row_uniforms


def split(events: Events, fractions: Sequence[float], seed: int, *keys: str | int) -> tuple[Events, ...]:
    """Split events at random into parts, for instance training, held-out and test.

    Where a row goes is a pure function of the seed, the keys and the row's index, not of the other rows: appending events or reading them
    in pieces moves none.  The sizes of the parts therefore follow the fractions within binomial errors, and counts of the parts are Poisson
    distributed where those of the whole are.

    Args:
        events: ``[num_events, columns]``.
        fractions: one per part, positive, adding up to one.
        seed: what the split depends on.
        keys: names that make splits of several data sets independent, for instance the channel.

    Returns:
        One set of events per fraction, rows in their order.

    Raises:
        SettingsError: the fractions are not positive or do not add up to one.
        EventsError: a part would be empty.

    Example:
        >>> train, test = split(Events(torch.arange(10.0)[:, None], ("x",)), [0.7, 0.3], seed=1)
        >>> train.num_events + test.num_events
        10
    """
    check_fractions(fractions)
    part = part_of_rows(events.num_events, fractions, RandomStream(seed).integer("split", *keys))
    parts = tuple(_take(events, torch.from_numpy(part == i)) for i in range(len(fractions)))
    for fraction, subset in zip(fractions, parts, strict=True):
        if subset.num_events == 0:
            single, of = events.num_events == 1, f" of channel '{keys[0]}'" if keys else ""
            found = f"{events.num_events} event{'' if single else 's'}{of} {'is' if single else 'are'}"
            raise EventsError(f"{found} too few to split: the part with the fraction {fraction:g} is empty.\nGive more events.")
    return parts


def check_fractions(fractions: Sequence[float]) -> None:
    """Refuse fractions that are not positive or do not add up to one."""
    if not fractions or min(fractions) <= 0 or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise SettingsError(f"'fractions' must be positive and add up to 1, got {list(fractions)} with the sum {sum(fractions):g}.")


def part_of_rows(num_rows: int, fractions: Sequence[float], key: int) -> np.ndarray:
    """The part that each row belongs to, ``[num_rows]`` of integers."""
    edges = np.cumsum(fractions)[:-1]
    return np.searchsorted(edges, row_uniforms(key, np.arange(num_rows)), side="right")


def _take(events: Events, mask: torch.Tensor) -> Events:
    mask = mask.to(events.values.device)
    weights = None if events.weights is None else events.weights[mask]
    return Events(events.values[mask], events.columns, weights)
