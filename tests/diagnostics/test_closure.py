"""Estimators of closure tests: closed forms, and toys whose bias and variance are known."""

from __future__ import annotations

import math

import pytest
import torch

from unscatter.diagnostics.closure import ClosureSample
from unscatter.errors import ShapeError


def gaussian_toy(data_error: float, quoted_error: float, num_fits: int = 4000) -> ClosureSample:
    """Fits that are off by ``data_error`` times a normal number and quote ``quoted_error``; three curves of ten points."""
    random, curve = torch.Generator().manual_seed(1), torch.arange(30) // 10
    truth = 5 * torch.randn(30, generator=random, dtype=torch.float64)
    # Curves of quite different sizes.
    size = torch.tensor([1.0, 0.01, 30.0], dtype=torch.float64)[curve]
    central = truth + data_error * size * torch.randn(num_fits, 30, generator=random, dtype=torch.float64)
    return ClosureSample(central, (quoted_error * size).expand_as(central), truth, curve)


@pytest.mark.parametrize(("data_error", "quoted_error"), [(1.0, 1.0), (2.0, 1.0), (0.5, 1.0)])
def test_estimators_of_gaussian_toys_are_those_of_the_closed_form(data_error: float, quoted_error: float) -> None:
    sample = gaussian_toy(data_error, quoted_error)
    assert sample.ratio.value == pytest.approx(data_error / quoted_error, rel=0.01)
    assert sample.distance.value == pytest.approx(data_error / quoted_error, rel=0.01)
    assert sample.coverage.value == pytest.approx(math.erf(quoted_error / data_error / math.sqrt(2)), abs=0.005)


def test_errors_are_those_of_independent_fits() -> None:
    # Of 30 independent squares of normal numbers the mean over a fit has the variance 2 / 30.
    sample = gaussian_toy(1.0, 1.0)
    assert sample.distance.error == pytest.approx(math.sqrt(2 / 30 / 4000) / 2, rel=0.05)
    assert sample.coverage.error == pytest.approx(math.sqrt(0.6827 * 0.3173 / 30 / 4000), rel=0.05)


def test_numbers_of_two_fits_by_hand() -> None:
    central, sigma = torch.tensor([[1.5, 4.0], [0.0, 4.0]]), torch.tensor([[1.0, 1.0], [0.5, 3.0]])
    sample = ClosureSample(central, sigma, torch.tensor([1.0, 2.0]))
    assert sample.bias.tolist() == [0.625, 4.0]
    assert sample.variance.tolist() == [0.625, 5.0]
    assert sample.ratio.value == pytest.approx(math.sqrt((0.625 / 0.625 + 4.0 / 5.0) / 2))
    assert sample.distance.value == pytest.approx(math.sqrt((0.25 + 4.0 + 4.0 + 4 / 9) / 4))
    assert (sample.coverage.value, sample.coverage.error) == (0.5, 0.0)


def test_tails_of_a_curve_do_not_outweigh_the_rest() -> None:
    sigma = torch.tensor([[1.0, 1.0, 1e-6]])
    sample = ClosureSample(torch.tensor([[1.0, 1.0, 1e-3]]), sigma, torch.zeros(3), torch.zeros(3, dtype=torch.long))
    assert sample.distance.value == pytest.approx(1.0, abs=1e-5)
    alone = ClosureSample(sample.central, sigma, sample.truth)
    assert alone.distance.value == pytest.approx(math.sqrt((1 + 1 + 1e6) / 3), rel=1e-5)


def test_quantities_without_an_error_do_not_count() -> None:
    central, truth = torch.tensor([[2.0, 9.0, 9.0], [2.0, 9.0, 9.0]]), torch.tensor([1.0, 1.0, 1.0])
    sigma = torch.tensor([[1.0, math.nan, 0.0], [1.0, 1.0, 0.0]])
    sample = ClosureSample(central, sigma, truth)
    assert (sample.ratio.value, sample.distance.value) == (1.0, 1.0)
    assert sample.variance.isnan().tolist() == [False, True, True]
    assert sample.of(slice(1, 3)).ratio.value is None
    assert sample.of(slice(1, 3)).coverage.value is None


def test_a_single_fit_has_no_error() -> None:
    sample = ClosureSample(torch.tensor([[2.0]]), torch.tensor([[0.5]]), torch.tensor([1.0]))
    assert (sample.distance.value, sample.distance.error) == (2.0, None)


@pytest.mark.parametrize("shapes", [((2, 3), (2, 2), (3,)), ((2, 3), (2, 3), (2,)), ((0, 3), (0, 3), (3,))])
def test_arrays_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    central, sigma, truth = (torch.ones(shape) for shape in shapes)
    with pytest.raises(ShapeError, match="needs values and errors"):
        ClosureSample(central, sigma, truth)
