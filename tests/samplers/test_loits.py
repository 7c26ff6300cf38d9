"""LOITS as published: what it does right, and each of its known defects."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.samplers.densities import BOX_HIGH, BOX_LOW, BOX_POINT, proxy2d, random_density, signal
from unscatter.errors import DensityError
from unscatter.samplers import Loits, Rosenblatt, Sampler, sample

TRUTH = (torch.tensor([0.5, 3.0, 0.3, 4.0, 0.75], dtype=torch.float64) - BOX_LOW) / (BOX_HIGH - BOX_LOW)


def test_events_per_cell_are_the_floor_of_their_expectation() -> None:
    density = random_density(1, (5, 4))
    events = sample(density, 1000, sampler=Loits())
    means = density.values[0].unfold(0, 2, 1).unfold(1, 2, 1).mean((-1, -2))
    expected = (means / means.sum() * 1000).floor()
    axes = [axis.contiguous() for axis in density.grid.axes]
    counts, _ = torch.histogramdd(events.values[0], bins=axes, weight=events.weights_or_ones()[0])
    assert torch.equal(counts, expected)


def test_floor_loses_a_quarter_of_ten_thousand_events_on_99_by_99_cells() -> None:
    events = sample(proxy2d(TRUTH, 100), 10_000, sampler=Loits())
    assert events.num_events == 10_000
    assert int(events.weights_or_ones().sum()) == 7602


def test_missing_events_have_weight_zero_and_ordinary_positions() -> None:
    density = random_density(2, (4, 3), zeros=0.5)
    events = sample(density, 100, sampler=Loits())
    weights = events.weights_or_ones()[0]
    assert set(weights.tolist()) == {0.0, 1.0}
    assert torch.equal(weights, weights.sort(descending=True).values)
    assert torch.isfinite(events.values).all()
    for d, axis in enumerate(density.grid.axes):
        assert ((events.values[..., d] >= axis[0]) & (events.values[..., d] <= axis[-1])).all()


def test_one_cell_is_sampled_exactly() -> None:
    density = random_density(3, (2, 2))
    uniforms = torch.rand(1, 50, 2, dtype=torch.float64)
    torch.testing.assert_close(Loits()(density, uniforms).values, Rosenblatt(compile=False)(density, uniforms).values)


def test_areas_of_cells_are_ignored_as_published() -> None:
    # A constant density: nine tenths of the axis belong to the second cell, half of the events do not.
    events = sample(signal(torch.ones(3), [0.0, 0.1, 1.0]), 1000, sampler=Loits())
    assert int((events.column("x0") < 0.1).sum()) == 500


@pytest.mark.parametrize(("num_nodes", "kept"), [(10, 0.05), (30, 0.0055), (100, 0.0005)])
def test_gradient_of_a_mean_is_lost_with_finer_grids_and_never_crosses_axes(num_nodes: int, kept: float) -> None:
    box = BOX_POINT.clone().requires_grad_()
    events = sample(proxy2d(box, num_nodes), 2**15, sampler=Loits())
    weights = events.weights_or_ones()
    (gradient,) = torch.autograd.grad((events.column("x") * weights).sum() / weights.sum(), box)
    ratio = float(gradient[0]) / 0.1984
    assert 0.5 * kept < ratio < 1.1 * kept
    assert abs(float(gradient[2])) < 2e-4  # exact: 0.0034


def test_gradient_inside_a_cell_is_exact() -> None:
    density = random_density(3, (2, 2))
    uniforms = torch.rand(1, 20, 2, dtype=torch.float64)

    def events(values: torch.Tensor, sampler: Sampler) -> torch.Tensor:
        return sampler(type(density)(values, density.grid, density.channels), uniforms).values

    found, expected = (torch.func.jacrev(events)(density.values, sampler) for sampler in (Loits(), Rosenblatt(compile=False)))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_bad_density_is_an_error() -> None:
    with pytest.raises(DensityError, match="channel 'signal' is zero at all nodes"):
        sample(signal(np.zeros(3), [0.0, 1.0, 2.0]), 10, sampler=Loits())
