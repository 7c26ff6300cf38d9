from __future__ import annotations

import math

import pytest
import torch

from unscatter.arrays import Events
from unscatter.detectors import Cuts
from unscatter.errors import ColumnError, ParameterError, SettingsError

NUM_EVENTS = 200_000
UNIFORMS = (torch.arange(NUM_EVENTS, dtype=torch.float64) + 0.5) / NUM_EVENTS
NO_NOISE = torch.empty(1, NUM_EVENTS, 0)


def power_law(p: torch.Tensor) -> Events:
    """Density p x^(p-1) on [0, 1], by its inverse distribution function."""
    return Events((UNIFORMS ** (1 / p))[None, :, None], ("x",))


def count_and_gradient(cuts: Cuts, p: float) -> tuple[float, float]:
    parameter = torch.tensor(p, dtype=torch.float64, requires_grad=True)
    weights = cuts(power_law(parameter), NO_NOISE, {}).weights
    assert weights is not None
    (gradient,) = torch.autograd.grad(weights.mean(), parameter)
    return float(weights.detach().mean()), float(gradient)


def test_weights_are_exactly_zero_or_one() -> None:
    values = torch.tensor([[[0.1], [0.2], [0.3], [0.4], [0.5]]], requires_grad=True)
    weights = Cuts({"x": (0.2, 0.4)}, width={"x": 10.0})(Events(values, ("x",)), torch.empty(1, 5, 0), {}).weights
    assert weights is not None
    assert weights.tolist() == [[0.0, 1.0, 1.0, 1.0, 0.0]]


def test_gradient_of_count_above_a_cut_is_the_flux_through_the_edge() -> None:
    # N = 1 - c^p, so dN/dp = -c^p ln c.
    count, gradient = count_and_gradient(Cuts({"x": (0.4, None)}, width={"x": 0.01}), 2.5)
    assert count == pytest.approx(1 - 0.4**2.5, abs=1e-5)
    assert gradient == pytest.approx(-(0.4**2.5) * math.log(0.4), rel=1e-3)


def test_default_width_is_accurate_to_a_per_cent() -> None:
    _, gradient = count_and_gradient(Cuts({"x": (0.4, None)}), 2.5)
    assert gradient == pytest.approx(-(0.4**2.5) * math.log(0.4), rel=1e-2)


def test_fluxes_through_both_ends_of_a_range_add_even_where_the_kernels_overlap() -> None:
    # N = b^p - a^p.
    a, b = 0.50, 0.52
    count, gradient = count_and_gradient(Cuts({"x": (a, b)}, width={"x": 0.04}), 2.5)
    assert count == pytest.approx(b**2.5 - a**2.5, abs=1e-5)
    assert gradient == pytest.approx(b**2.5 * math.log(b) - a**2.5 * math.log(a), rel=2e-2)


def test_bias_of_the_flux_is_a_tenth_of_width_squared_times_the_curvature() -> None:
    # g(t) = f(t) E[dx/dp | x = t] = -t^p ln t for the power law.
    p, c, h = 2.5, 0.4, 0.1
    _, gradient = count_and_gradient(Cuts({"x": (c, None)}, width={"x": h}), p)
    curvature = -(p * (p - 1) * math.log(c) + 2 * p - 1) * c ** (p - 2)
    assert gradient + c**p * math.log(c) == pytest.approx(h**2 / 10 * curvature, rel=0.05)


def test_flux_through_one_column_counts_only_events_inside_the_other_ranges() -> None:
    # x and y independent, y uniform and kept for y < 0.3: N = 0.3 (1 - c^p).
    p = torch.tensor(2.5, dtype=torch.float64, requires_grad=True)
    y = torch.rand(NUM_EVENTS, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    events = Events(torch.stack([UNIFORMS ** (1 / p), y], -1)[None], ("x", "y"))
    weights = Cuts({"x": (0.4, None), "y": (None, 0.3)}, width={"x": 0.05, "y": 0.05})(events, NO_NOISE, {}).weights
    assert weights is not None
    (gradient,) = torch.autograd.grad(weights.mean(), p)
    assert float(gradient) == pytest.approx(-0.3 * 0.4**2.5 * math.log(0.4), rel=0.03)


def test_default_width_follows_the_unit_of_the_column() -> None:
    for unit in (1e-6, 1.0, 1e6):
        values = (unit * UNIFORMS)[None, :, None].requires_grad_()
        weights = Cuts({"x": (0.5 * unit, None)})(Events(values, ("x",)), NO_NOISE, {}).weights
        assert weights is not None
        (slope,) = torch.autograd.grad(weights.sum(), values)
        half_width = 0.1 / math.sqrt(12)
        assert float(slope.max()) * unit == pytest.approx(0.75 / half_width, rel=1e-3)


def test_relative_width_is_a_constant_for_the_gradient() -> None:
    p = torch.tensor(2.5, dtype=torch.float64)
    half_width = 0.3 * float(power_law(p).values.std(correction=0))
    _, relative = count_and_gradient(Cuts({"x": (0.4, None)}, relative_width=0.3), 2.5)
    _, absolute = count_and_gradient(Cuts({"x": (0.4, None)}, width={"x": half_width}), 2.5)
    assert relative == pytest.approx(absolute, rel=1e-9)


def test_equal_events_give_exact_weights_and_no_gradient() -> None:
    values = torch.full((1, 3, 1), 0.7, requires_grad=True)
    weights = Cuts({"x": (0.5, 1.0)})(Events(values, ("x",)), torch.empty(1, 3, 0), {}).weights
    assert weights is not None
    weights.sum().backward()
    assert weights.tolist() == [[1.0, 1.0, 1.0]]
    assert values.grad is not None
    assert not bool(values.grad.any())


def test_bad_cuts_are_errors() -> None:
    with pytest.raises(ParameterError, match=r"Cuts on 'x' is upside down: low = 0.9, high = 0.1"):
        Cuts({"x": (0.9, 0.1)})
    with pytest.raises(SettingsError, match="neither"):
        Cuts({"x": (None, None)})
    with pytest.raises(SettingsError, match="no ranges"):
        Cuts({})
    with pytest.raises(SettingsError, match=r"names \['y'\]"):
        Cuts({"x": (0.1, 0.9)}, width={"y": 0.1})
    with pytest.raises(ParameterError, match="must be positive, got 0"):
        Cuts({"x": (0.1, 0.9)}, relative_width=0.0)
    with pytest.raises(ColumnError, match=r"Cuts\(\['q'\]\) needs the column 'q'.*\['x'\]"):
        Cuts({"q": (0.1, 0.9)}).columns_out(("x",))
