"""Functional forms of parton densities against their closed forms."""

from __future__ import annotations

import pytest
import torch

from unscatter.pdfs import FIT_FLAVOURS, Functional
from unscatter.physics.parton_shapes import bernstein_polynomial, power_shape

X = torch.linspace(0, 1, 101, dtype=torch.float64)


def test_bernstein_polynomial_of_equal_coefficients_is_one() -> None:
    """The basis is a partition of unity."""
    for order in (1, 2, 5):
        torch.testing.assert_close(bernstein_polynomial(X, torch.ones(order, dtype=torch.float64)), torch.ones_like(X))


@pytest.mark.parametrize("coefficients", [(0.3, 4.0), (0.0, 0.0), (2.5, 1.0, 7.0)])
def test_bernstein_polynomial_is_positive_begins_at_one_with_its_slope_and_ends_at_its_last_coefficient(
    coefficients: tuple[float, ...],
) -> None:
    e, order = torch.tensor(coefficients, dtype=torch.float64), len(coefficients)
    values = bernstein_polynomial(X, e)
    assert float(values.min()) >= 0
    assert float(values[0]) == 1
    assert float(values[-1]) == pytest.approx(coefficients[-1])
    t = 1e-6
    slope = (float(bernstein_polynomial(torch.tensor([t**2], dtype=torch.float64), e)) - 1) / t
    assert slope == pytest.approx(order * (coefficients[0] - 1), abs=1e-4)


def test_quadratic_bernstein_polynomial_is_the_one_of_its_formula() -> None:
    t, d, e = X.sqrt(), 0.4, 3.0
    expected = (1 - t) ** 2 + 2 * d * t * (1 - t) + e * t**2
    torch.testing.assert_close(bernstein_polynomial(X, torch.tensor([d, e], dtype=torch.float64)), expected)


def test_power_shape_is_a_beta_function_times_a_polynomial() -> None:
    x = X[1:-1]
    shape = power_shape(x, torch.tensor(0.5), torch.tensor(3.0), torch.tensor([2.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(shape, x.sqrt() * (1 - x) ** 3 * (1 + 2 * x + x**2))


def densities(**changed: float) -> dict[str, torch.Tensor]:
    form = Functional()
    names = (*form.ranges, *form.fractions)
    values = dict(zip(names, form.start, strict=True)) | changed
    xf = form(torch.tensor([values[name] for name in names], dtype=torch.float64), torch.tensor([1e-5, 1e-2, 0.3], dtype=torch.float64))
    return dict(zip(FIT_FLAVOURS, xf, strict=True))


def test_antiquarks_are_alike_at_the_start_and_free_of_each_other_at_small_x() -> None:
    start = densities()
    torch.testing.assert_close(start["ubar"], start["dbar"])
    # With powers of their own they part as the difference of the powers says.
    free = densities(dbar_b=-0.1)
    ratio = free["dbar"] / free["ubar"]
    assert float(ratio[1] / ratio[0]) == pytest.approx(1000**0.05, rel=1e-2)
