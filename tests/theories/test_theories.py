"""Theories: shapes, rates, and what users get wrong."""

import math
import sys
from collections.abc import Callable

import numpy as np
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


def with_condition(p: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    if p[0] > 0:
        return t
    return p[0] * t


def leaving(p: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    sys.exit(0)


@pytest.mark.parametrize(
    ("function", "what", "instead"),
    [
        (lambda p, t: np.exp(-p[0] * t), "NumPy", "torch.exp(x) instead of np.exp(x)"),
        (lambda p, t: torch.from_numpy(np.exp(-p.numpy()[0] * t.numpy())), "NumPy", "torch.exp(x) instead of np.exp(x)"),
        (lambda p, t: torch.tensor(p.tolist()) * t, "lists", "torch operations"),
        (lambda p, t: float(p[0]) * t, "turned into a Python number", "p[0] instead of float(p[0])"),
        (lambda p, t: math.exp(p[0]) * t, "turned into a Python number", "torch.exp(p[0]) instead of math.exp(p[0])"),
        (with_condition, "a Python condition depends on a parameter", "torch.where(p[0] > 0, one, other)"),
        (lambda p, t: max(p[0], t[0]) * t, "a Python condition", "torch.where"),
        (lambda p, t: t[t > p[0]], "many sets of parameters at once", "torch operations that return new tensors"),
        (lambda p, t: t / 0 + 1 / 0, "ZeroDivisionError: division by zero", ""),
        (leaving, "SystemExit: 0", ""),
    ],
)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_failing_function_is_told_with_its_line_and_what_to_write(
    function: Callable[..., torch.Tensor], what: str, instead: str, requires_grad: bool
) -> None:
    theory = FunctionTheory(function, GRID, (1,))
    with pytest.raises(TheoryError) as caught:
        theory(torch.ones(3, 1, dtype=torch.float64, requires_grad=requires_grad))
    message = str(caught.value)
    first = function.__code__.co_firstlineno
    line = int(message.partition(f"failed in '{__file__}', line ")[2].partition(" ")[0])
    assert first <= line <= first + 1
    assert what in message
    assert instead in message


def test_function_that_cannot_be_called_is_told_with_where_it_stands() -> None:
    def lonely(p: torch.Tensor) -> torch.Tensor:
        return p

    with pytest.raises(TheoryError, match=rf"failed in '.*test_theories.py', line {lonely.__code__.co_firstlineno}: TypeError: .*lonely"):
        FunctionTheory(lonely, GRID, (1,))(torch.ones(1, 1))


def test_lack_of_memory_is_not_taken_for_a_fault_of_the_function() -> None:
    with pytest.raises(RuntimeError, match="allocate"):
        FunctionTheory(lambda p, t: torch.ones(10**15), GRID, (1,))(torch.ones(1, 1))
