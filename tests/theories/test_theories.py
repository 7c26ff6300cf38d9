"""Theories: shapes, rates, and what users get wrong."""

import pytest
import torch

from unscatter.arrays import Grid
from unscatter.errors import SettingsError, TheoryError
from unscatter.theories import FunctionTheory, Proxy1D, Proxy2D, Theory

GRID = Grid.from_axes({"t": torch.linspace(0, 4, 401, dtype=torch.float64)})


def decay(p: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return p[0] * torch.exp(-p[0] * t)


def test_function_is_evaluated_per_parameter_set() -> None:
    theory = FunctionTheory(decay, GRID, (1,))
    rates = torch.tensor([[[0.5], [1.0]], [[2.0], [3.0]]], dtype=torch.float64)
    values = theory(rates).values
    assert values.shape == (2, 2, 1, 401)
    torch.testing.assert_close(values[1, 0, 0], decay(rates[1, 0], GRID.axes[0]))


def test_expected_counts_are_luminosity_times_integral() -> None:
    theory = FunctionTheory(decay, GRID, (1,), luminosity=(1000.0,))
    counts = theory(torch.tensor([1.0], dtype=torch.float64)).expected_counts
    assert counts is not None
    assert float(counts) == pytest.approx(1000 * (1 - torch.exp(torch.tensor(-4.0)).item()), rel=1e-4)


def test_two_channels_keep_their_order() -> None:
    theory = FunctionTheory(lambda p, t: torch.stack([p[0] + 0 * t, p[1] + 0 * t]), GRID, (2,), ("near", "far"))
    values = theory(torch.tensor([[1.0, 2.0]], dtype=torch.float64)).values
    assert values[0, :, 0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("shape", [(3,), (2, 401), (401, 1)])
def test_wrong_shape_is_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    theory = FunctionTheory(lambda p, t: p[0] * torch.ones(shape, dtype=torch.float64), GRID, (1,))
    with pytest.raises(TheoryError, match=r"must return \[channel, \*nodes\] = \(1, 401\), got \(" + ", ".join(map(str, shape))):
        theory(torch.ones(5, 1, dtype=torch.float64))


def test_function_that_returns_no_tensor_is_refused() -> None:
    with pytest.raises(TheoryError, match="got float"):
        FunctionTheory(lambda p, t: 1.0, GRID, (1,))(torch.ones(1, 1))  # pyright: ignore[reportArgumentType]


def test_luminosity_needs_one_value_per_channel() -> None:
    with pytest.raises(SettingsError, match="one value per channel"):
        FunctionTheory(decay, GRID, (1,), luminosity=(1.0, 2.0))
    with pytest.raises(SettingsError, match="must be positive"):
        FunctionTheory(decay, GRID, (1,), luminosity=(-1.0,))


def test_proxies_are_theories() -> None:
    assert isinstance(Proxy1D(GRID), Theory)
    assert isinstance(Proxy2D(GRID), Theory)
    assert isinstance(FunctionTheory(decay, GRID, (1,)), Theory)
