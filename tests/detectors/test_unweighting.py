from __future__ import annotations

import pytest
import torch

from unscatter.arrays import Events
from unscatter.detectors import unweight
from unscatter.errors import EventsError, ShapeError

UNIFORMS = ((torch.arange(1000) + 0.5) / 1000).expand(2, 1000)


def events_with(weights: torch.Tensor | None) -> Events:
    return Events(torch.arange(2000.0).reshape(2, 1000, 1), ("x",), weights)


def test_weights_up_to_one_are_probabilities_in_each_channel() -> None:
    weights = torch.tensor([[0.25], [0.5]]).expand(2, 1000)
    kept = unweight(events_with(weights), UNIFORMS)
    assert [events.num_events for events in kept] == [250, 500]
    assert all(events.weights is None for events in kept)


def test_weights_above_one_are_taken_relative_to_the_largest() -> None:
    weights = torch.ones(2, 1000)
    weights[:, ::2] = 4.0
    uniforms = torch.rand(2, 1000)
    kept = unweight(events_with(weights), uniforms)
    for channel in range(2):
        x = kept[channel].column("x").long() - 1000 * channel
        assert int((x % 2 == 0).sum()) == 500
        assert x[x % 2 == 1].tolist() == [i for i in range(1, 1000, 2) if uniforms[channel, i] < 0.25]


def test_events_of_weight_zero_are_never_kept_and_those_of_weight_one_always() -> None:
    weights = torch.zeros(2, 1000)
    weights[1] = 1.0
    uniforms = UNIFORMS.clone()
    uniforms[:, 0], uniforms[:, 1] = 0.0, 1 - 2.0**-24
    assert [events.num_events for events in unweight(events_with(weights), uniforms)] == [0, 1000]


def test_events_without_weights_are_all_kept() -> None:
    assert [events.num_events for events in unweight(events_with(None), UNIFORMS)] == [1000, 1000]


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_that_make_no_sense_are_errors(weight: float) -> None:
    weights = torch.ones(2, 1000)
    weights[1, 3] = weight
    with pytest.raises(EventsError, match="1 of 2000 weights are negative or not finite"):
        unweight(events_with(weights), UNIFORMS)


def test_axes_that_do_not_fit_are_errors() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 1000, 1\) and \(1000,\)"):
        unweight(events_with(None), UNIFORMS[0])
