"""Turning weights into events that are there or not, as an experiment sees them."""

from __future__ import annotations

import torch
from torch import Tensor

from unscatter.arrays import Events
from unscatter.errors import EventsError, ShapeError


def unweight(events: Events, uniforms: Tensor) -> list[Events]:
    r"""Keep each event with a probability in proportion to its weight, and drop the weights.

    .. math:: \text{keep event } i \text{ of channel } c \text{ when } u_{ci} < w_{ci} / \max(1, \max_j w_{cj})

    Weights up to one are probabilities themselves; on average :math:`\sum_i w_{ci} / \max(1, \max_j w_{cj})` events are left.

    Args:
        events: ``[channel, num_events, columns]``.
        uniforms: numbers in [0, 1), ``[channel, num_events]``.

    Returns:
        One ``Events`` ``[kept, columns]`` per channel, without weights and gradients, since channels keep different numbers.

    Raises:
        ShapeError: the axes do not fit.
        EventsError: weights are negative or not finite.

    Example:
        >>> events = Events(torch.tensor([[[0.1], [0.2]]]), ("x",), weights=torch.tensor([[1.0, 0.3]]))
        >>> [kept.column("x") for kept in unweight(events, torch.tensor([[0.6, 0.6]]))]
        [tensor([0.1000])]
    """
    if events.values.ndim != 3 or uniforms.shape != events.values.shape[:2]:
        raise ShapeError(
            f"'unweight' needs events [channel, num_events, columns] and uniforms [channel, num_events], "
            f"got {tuple(events.values.shape)} and {tuple(uniforms.shape)}."
        )
    weights = events.weights_or_ones().detach()
    bad = ~(torch.isfinite(weights) & (weights >= 0))
    if bool(bad.any()):
        raise EventsError(f"{int(bad.sum())} of {bad.numel()} weights are negative or not finite, the first is {float(weights[bad][0]):g}.")
    largest = weights.amax(-1, keepdim=True).clamp(min=1) if weights.shape[-1] else 1.0
    kept = uniforms * largest < weights
    return [Events(values[keep], events.columns) for values, keep in zip(events.values.detach(), kept, strict=True)]
