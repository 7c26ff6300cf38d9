"""Uniform numbers: ranges, strata, lower variance, reproducibility."""

from __future__ import annotations

import pytest
import torch

from tests.samplers.densities import proxy2d
from unscatter.errors import SettingsError
from unscatter.samplers import Rosenblatt, sample

POINTS = ["plain", "stratified", "sobol"]


def numbers(
    points: str, batch: tuple[int, ...], num_events: int, dimensions: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    sampler = Rosenblatt(points=points)  # type: ignore[arg-type]
    return sampler.uniforms(batch, num_events, dimensions, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("points", POINTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniforms_lie_in_the_half_open_interval_and_repeat_with_the_seed(points: str, dtype: torch.dtype) -> None:
    first = numbers(points, (2, 3), 1000, 2, dtype=dtype)
    assert first.shape == (2, 3, 1000, 2)
    assert first.dtype == dtype
    assert (first >= 0).all()
    assert (first < 1).all()
    assert torch.equal(first, numbers(points, (2, 3), 1000, 2, dtype=dtype))
    assert not torch.equal(first, numbers(points, (2, 3), 1000, 2, seed=1, dtype=dtype))


@pytest.mark.parametrize("points", POINTS)
def test_uniforms_do_not_touch_the_global_random_stream_when_given_their_own(points: str) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    numbers(points, (1,), 64, 2)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("points", POINTS)
def test_batch_elements_get_different_uniforms(points: str) -> None:
    first, second = numbers(points, (2,), 100, 2)
    assert not torch.isclose(first, second).any(1).all()


def test_stratified_first_coordinates_are_sorted_one_per_stratum() -> None:
    first = numbers("stratified", (3,), 1000, 2, dtype=torch.float64)[..., 0]
    assert torch.equal((first * 1000).floor().long(), torch.arange(1000).expand(3, -1))


def test_stratified_uniforms_stay_below_one_for_ten_million_events() -> None:
    assert float(numbers("stratified", (), 10_000_000, 1).max()) < 1


def test_sobol_uniforms_fill_every_elementary_interval_before_the_shift() -> None:
    points = numbers("sobol", (1,), 2**10, 2, dtype=torch.float64)[0]
    counts = torch.histogramdd(points, bins=[8, 8], range=[0.0, 1.0, 0.0, 1.0])[0]
    assert float((counts - 16).abs().max()) <= 6  # plain uniforms scatter by 4 per bin, here the shift alone moves some


@pytest.mark.parametrize("points", POINTS)
def test_means_of_events_are_unbiased_and_better_than_plain_where_promised(points: str) -> None:
    density = proxy2d(torch.full((5,), 0.5, dtype=torch.float64), 30)
    many = density.values.expand(200, *density.values.shape)
    batch = type(density)(many, density.grid, density.channels)
    generator = torch.Generator().manual_seed(2)
    means = sample(batch, 256, sampler=Rosenblatt(points=points), generator=generator).column("x").mean(-1)  # type: ignore[arg-type]
    reference = sample(density, 2**16, sampler=Rosenblatt(points="sobol"), generator=generator).column("x").mean()
    assert abs(float(means.mean() - reference)) < 5 * float(means.std()) / 200**0.5 + 2e-6
    plain = 0.162 / 256**0.5  # standard deviation of x over the root of the number of events
    ratio = float(means.std()) / plain
    assert 0.8 < ratio < 1.2 if points == "plain" else ratio < 0.3


def test_sobol_says_when_it_has_too_few_dimensions() -> None:
    with pytest.raises(SettingsError, match="at most 21201 dimensions, the grid has 21202"):
        numbers("sobol", (1,), 2, 21202)
    with pytest.raises(SettingsError, match="points, 2147483649 events were asked for"):
        numbers("sobol", (1,), 2**31 + 1, 1)
