from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unscatter.arrays import Density, Events, Grid
from unscatter.detectors import Background, Cuts, Detector, Efficiency, Smearing
from unscatter.errors import ShapeError, TheoryError
from unscatter.physics.proxies import PROXY2D_TRUTH
from unscatter.pipeline import ParameterSpace, Pipeline, Problem, fisher_information
from unscatter.pipeline.derivatives import jacobian
from unscatter.problems import proxy2d
from unscatter.theories import FunctionTheory

NUM_EVENTS = 60_000
GAUSS_GRID = Grid.from_axes({"x": torch.linspace(-8, 8, 401)})


def gaussian(
    detector: Detector, luminosity: tuple[float, ...] | None = None, nuisances: dict[str, tuple[float, float]] | None = None
) -> Problem:
    """Mean and norm of a Gaussian of unit width."""
    theory = FunctionTheory(lambda p, x: p[1] * torch.exp(-((x - p[0]) ** 2) / 2), GAUSS_GRID, (2,), luminosity=luminosity)
    space = ParameterSpace.from_ranges({"mean": (-2.0, 2.0), "norm": (0.5, 2.0)}, nuisances=nuisances)
    return Problem("gaussian", space, Pipeline(theory, detector))


POINT = torch.tensor([0.3, 1.0], dtype=torch.float64)


def exact_proxy2d_information(low: float, high: float) -> np.ndarray:
    """Gauss-Legendre quadrature of the analytic scores, nodes crowding at the ends."""
    nodes, weights = np.polynomial.legendre.leggauss(300)
    s = (nodes + 1) / 2
    x = low + (high - low) * s**3 * (10 - 15 * s + 6 * s**2)
    w = weights / 2 * (high - low) * 30 * s**2 * (1 - s) ** 2
    a, b, c, d, k = PROXY2D_TRUTH
    X, Y = np.meshgrid(x, x, indexing="ij")
    density = (X**a * (1 - X) ** b * Y**c * (1 - Y) ** d * (1 + k * X * Y) * np.outer(w, w)).ravel()
    density /= density.sum()
    scores = np.stack([np.log(X), np.log1p(-X), np.log(Y), np.log1p(-Y), X * Y / (1 + k * X * Y)], -1).reshape(-1, 5)
    scores -= density @ scores
    return (scores * density[:, None]).T @ scores


def test_quadrature_equals_independent_gauss_legendre_of_the_analytic_scores() -> None:
    found = fisher_information(proxy2d(), torch.tensor(PROXY2D_TRUTH)).shape[0].numpy()
    assert np.allclose(found, exact_proxy2d_information(0.001, 0.999), rtol=2e-3, atol=1e-5)


def test_simulated_information_of_a_detector_that_does_nothing_equals_quadrature() -> None:
    idle = Detector((Efficiency(lambda event: torch.full_like(event["x"], 0.5)),))
    point = torch.tensor(PROXY2D_TRUTH)
    exact, simulated = (fisher_information(proxy2d(nodes=65, detector=d), point, num_events=200_000).shape[0] for d in (Detector(), idle))
    ratio = torch.linalg.inv(simulated).diagonal().sqrt() / torch.linalg.inv(exact).diagonal().sqrt()
    assert torch.allclose(ratio, torch.ones(5, dtype=torch.float64), atol=0.025)


def test_gaussian_smearing_leaves_one_over_the_sum_of_variances() -> None:
    for width in (0.5, 1.0, 2.0):
        found = fisher_information(gaussian(Detector((Smearing("x", absolute=width),))), POINT, num_events=NUM_EVENTS).shape[0]
        assert float(found[0, 0]) == pytest.approx(1 / (1 + width**2), rel=0.03)
        assert found[1].abs().max() < 1e-12


def test_a_cut_leaves_the_variance_of_the_score_inside() -> None:
    # Above c the score x - m of a unit Gaussian has the variance of a truncated normal: 1 + a h - h^2 with a = c - m and the hazard h.
    cut = 0.8
    a = cut - float(POINT[0])
    hazard = math.exp(-(a**2) / 2) / math.sqrt(2 * math.pi) / (0.5 * math.erfc(a / math.sqrt(2)))
    found = fisher_information(gaussian(Detector((Cuts({"x": (cut, None)}),)), (100.0,)), POINT, num_events=NUM_EVENTS)
    assert float(found.shape[0, 0, 0]) == pytest.approx(1 + a * hazard - hazard**2, rel=0.03)
    # The number of events above the cut follows the flux through it, and the norm.
    assert found.log_rate[0].tolist() == pytest.approx([hazard, 1.0], rel=0.02)


def test_background_fraction_has_the_information_of_a_mixture_of_separate_peaks() -> None:
    # Background far away from the signal tells itself apart: information of a binomial fraction, 1 / (f (1 - f)).
    far = Background("share", events=Events(7.5 + 0.1 * torch.rand(1000, 1, generator=torch.Generator().manual_seed(1)), ("x",)))
    problem = gaussian(Detector((far,)), nuisances={"share": (0.0, 0.9)})
    found = fisher_information(problem, torch.tensor([0.3, 1.0, 0.3]), num_events=NUM_EVENTS).shape[0]
    assert float(found[2, 2]) == pytest.approx(1 / (0.3 * 0.7), rel=0.03)
    assert float(found[0, 0]) == pytest.approx(0.7, rel=0.03)
    assert abs(float(found[0, 2])) < 0.05


def test_background_of_the_shape_of_the_signal_hides_its_fraction() -> None:
    signal = Events(0.3 + torch.randn(200_000, 1, generator=torch.Generator().manual_seed(1)), ("x",))
    problem = gaussian(Detector((Background("share", events=signal),)), nuisances={"share": (0.0, 0.9)})
    found = fisher_information(problem, torch.tensor([0.3, 1.0, 0.3]), num_events=NUM_EVENTS).shape[0]
    assert float(found[2, 2]) < 0.02


def test_a_column_that_is_not_observed_carries_no_information() -> None:
    ideal = proxy2d(nodes=33)
    blind = Problem("blind", ideal.space, ideal.pipeline, observables=("x",))
    found = fisher_information(blind, torch.tensor(PROXY2D_TRUTH), num_events=NUM_EVENTS).shape[0]
    # p2 and p3 shape y alone, which is seen only through the weak correlation.
    assert float(found[0, 0]) > 0.4
    assert found[2:4, 2:4].abs().max() < 0.01


def test_simulated_information_is_never_negative_nor_above_that_of_the_truth() -> None:
    point = torch.tensor(PROXY2D_TRUTH)
    ideal = fisher_information(proxy2d(nodes=33), point).shape[0]
    smeared = fisher_information(proxy2d(nodes=33, detector=Detector((Smearing("x", absolute=1.0),))), point, num_events=20_000).shape[0]
    scale = smeared.diagonal().max()
    assert float(torch.linalg.eigvalsh(smeared).min()) > -1e-12 * float(scale)
    assert float(torch.linalg.eigvalsh(ideal * 1.1 - smeared).min()) > -1e-3


def test_total_adds_channels_by_their_counts_and_rates_only_on_request() -> None:
    found = fisher_information(gaussian(Detector(), (100.0,)), POINT)
    counts = torch.tensor([50.0])
    assert float(found.total(counts, rates=False)[0, 0]) == pytest.approx(50.0, rel=1e-3)
    assert float(found.total(counts, rates=False)[1, 1]) == pytest.approx(0.0, abs=1e-9)
    assert float(found.total(counts, rates=True)[1, 1]) == pytest.approx(50.0, rel=1e-6)
    with pytest.raises(ShapeError, match="1 channels"):
        found.total(torch.ones(2), rates=False)


def test_nodes_without_density_carry_no_information() -> None:
    theory = FunctionTheory(
        lambda p, x: (1 - (x - p[0]).abs()).clamp(min=0) * (x > 0), Grid.from_axes({"x": torch.linspace(-3, 3, 61)}), (1,)
    )
    problem = Problem("tent", ParameterSpace.from_ranges({"centre": (-0.5, 0.5)}), Pipeline(theory))
    assert bool(torch.isfinite(fisher_information(problem, torch.tensor([0.02])).shape).all())


def test_parameters_at_the_edge_of_their_box_have_information_where_the_theory_has_a_derivative() -> None:
    edge = torch.tensor([0.5, 3.0, 0.0, 4.0, 0.0])
    assert bool(torch.isfinite(fisher_information(proxy2d(nodes=17), edge).shape).all())
    theory = FunctionTheory(lambda p, x: p[0].sqrt() * x + 1, Grid.from_axes({"x": torch.linspace(0, 1, 11)}), (1,))
    problem = Problem("root", ParameterSpace.from_ranges({"a": (0.0, 1.0)}), Pipeline(theory))
    with pytest.raises(TheoryError, match=r"derivatives of the theory by \['a'\] are not finite at \{'a': 0.0\}"):
        fisher_information(problem, torch.tensor([0.0]))


def test_wrong_number_of_parameters_is_an_error() -> None:
    with pytest.raises(ShapeError, match=r"5 numbers"):
        fisher_information(proxy2d(nodes=9), torch.zeros(4))


def test_a_theory_without_gradient_is_an_error_that_says_what_to_do() -> None:
    theory = FunctionTheory(lambda p, x: torch.exp(-p.detach()[0] * x), GAUSS_GRID, (1,))
    problem = Problem("detached", ParameterSpace.from_ranges({"a": (0.1, 1.0)}), Pipeline(theory))
    with pytest.raises(TheoryError, match=r"(?s)no gradient reaches.*without \.detach\(\)"):
        fisher_information(problem, torch.tensor([0.5]))


class _Once(torch.autograd.Function):
    """x^3 whose backward pass has no derivative; forward mode is there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return 3 * ctx.saved_tensors[0] ** 2 * grad_outputs[0]

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Tensor) -> Tensor:
        return 3 * ctx.saved_tensors[0] ** 2 * grad_inputs[0]


class _Detaching(torch.autograd.Function):
    """x^3 whose backward pass detaches half of the incoming gradient, and without forward mode."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return 3 * ctx.saved_tensors[0] ** 2 * (0.5 * grad_outputs[0] + 0.5 * grad_outputs[0].detach())


@dataclass(frozen=True)
class _Applied:
    function: Callable[[Tensor], Tensor]

    def __call__(self, p: Tensor) -> Tensor:
        return self.function(p.unsqueeze(0).expand(4, -1)).sum(1)


def test_jacobian_takes_forward_mode_where_the_backward_pass_has_no_derivative() -> None:
    _, slopes = jacobian(_Applied(_Once.apply), torch.tensor([1.0, 2.0]))
    assert torch.allclose(slopes, torch.tensor([3.0, 12.0]).expand(4, 2))


def test_jacobian_refuses_what_neither_mode_can_do_instead_of_returning_half_of_it() -> None:
    with pytest.raises(TheoryError, match=r"(?s)only once and not in forward mode.*@once_differentiable"):
        jacobian(_Applied(_Detaching.apply), torch.tensor([1.0, 2.0]))


@dataclass(frozen=True, eq=False)
class _ThreeAxes:
    grid: Grid
    parameter_shape: tuple[int, ...] = (3,)
    channels: tuple[str, ...] = ("left", "right")

    def __call__(self, physics_params: Tensor) -> Density:
        parts = [torch.exp(-physics_params[..., d, None] * axis.to(physics_params)) for d, axis in enumerate(self.grid.axes)]
        product = torch.einsum("...i,...j,...k->...ijk", *parts)
        return Density(torch.stack([product, product], -4), self.grid, self.channels)


def test_three_axes_and_two_channels_have_the_information_of_their_factors() -> None:
    axis = torch.linspace(0, 12, 61)
    names = ("a", "b", "c")
    problem = Problem("three", ParameterSpace.from_ranges(dict.fromkeys(names, (0.5, 3.0))), Pipeline(_ThreeAxes(Grid((axis,) * 3, names))))
    point = torch.tensor([1.0, 1.5, 2.0])
    found = fisher_information(problem, point)
    # One exponential of rate r has the information 1 / r^2 per event.
    expected = torch.diag(1 / point.double() ** 2).expand(2, 3, 3)
    assert torch.allclose(found.shape, expected, rtol=0.05, atol=1e-3)
    smeared = Problem("smeared", problem.space, Pipeline(problem.pipeline.theory, Detector((Smearing("a", absolute=1e-3),))))
    simulated = fisher_information(smeared, point, num_events=NUM_EVENTS)
    assert torch.allclose(simulated.shape, found.shape, rtol=0.12, atol=0.03)
