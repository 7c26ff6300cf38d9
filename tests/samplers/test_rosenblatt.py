"""Rosenblatt's map: exact values, exact gradients, awkward densities, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.samplers.densities import BOX_POINT, ENGINES, exact_moment, proxy2d, random_density, signal
from unscatter.arrays import Density, Grid
from unscatter.errors import DensityError, GridError, SettingsError, ShapeError
from unscatter.samplers import Rosenblatt, Sampler, eager, kernel, sample
from unscatter.samplers.reference import reference_distribution, reference_sample

# torch.func.jvp of torch 2.13 itself calls what torch 2.13 has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
engines = pytest.mark.parametrize("compile", ENGINES)
shapes = st.lists(st.integers(2, 6), min_size=1, max_size=3).map(tuple)


def quasi_uniforms(num_events: int, dimensions: int, dtype: torch.dtype = torch.float64) -> Tensor:
    sampler = Rosenblatt(points="sobol")
    return sampler.uniforms((1,), num_events, dimensions, generator=torch.Generator().manual_seed(5), dtype=dtype)


def draw(density: Density, uniforms: Tensor, compile: bool) -> Tensor:
    return Rosenblatt(compile=compile)(density, uniforms).values


# --- values --------------------------------------------------------------------------------------------------------------------------


@engines
@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), shape=shapes, zeros=st.sampled_from([0.0, 0.5]))
def test_every_event_equals_that_of_the_reference(compile: bool, seed: int, shape: tuple[int, ...], zeros: float) -> None:
    density = random_density(seed, shape, zeros=zeros)
    uniforms = torch.rand(1, 8, len(shape), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    axes = [axis.numpy() for axis in density.grid.axes]
    expected = reference_sample(density.values[0].numpy(), axes, uniforms[0].numpy())
    np.testing.assert_allclose(draw(density, uniforms, compile)[0].numpy(), expected, rtol=1e-9, atol=1e-9)


@engines
@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), shape=shapes)
def test_conditional_distribution_functions_of_an_event_are_its_uniforms(compile: bool, seed: int, shape: tuple[int, ...]) -> None:
    density = random_density(seed, shape)
    uniforms = torch.rand(1, 8, len(shape), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    events = draw(density, uniforms, compile)[0].numpy()
    axes = [axis.numpy() for axis in density.grid.axes]
    found = [reference_distribution(density.values[0].numpy(), axes, event) for event in events]
    np.testing.assert_allclose(found, uniforms[0].numpy(), atol=1e-10)


@engines
def test_linear_density_has_the_closed_form_inverse(compile: bool) -> None:
    u = torch.linspace(0, 1, 101, dtype=torch.float64)[None, :, None]
    rising = draw(signal(np.array([0.0, 2.0]), [0.0, 1.0]), u, compile)
    falling = draw(signal(np.array([2.0, 0.0]), [0.0, 1.0]), u, compile)
    torch.testing.assert_close(rising, u.sqrt(), rtol=1e-14, atol=0)
    torch.testing.assert_close(falling, 1 - (1 - u).sqrt(), rtol=1e-13, atol=1e-7)  # u = 1 counts as the number just below


@engines
def test_small_uniforms_lose_no_digits(compile: bool) -> None:
    # F = x + eps x^2 / 2 with a tiny slope: the textbook root (-1 + sqrt(1 + 2 eps u)) / eps would be noise.
    slope = 1e-12
    u = torch.logspace(-12, -1, 12, dtype=torch.float64)[None, :, None]
    events = draw(signal(np.array([1.0, 1.0 + slope]), [0.0, 1.0]), u, compile)
    torch.testing.assert_close(events, u, rtol=1e-11, atol=0)


@engines
def test_product_density_gives_independent_columns_with_the_moments_of_their_factors(compile: bool) -> None:
    x, y, z = (torch.linspace(0, 1, n, dtype=torch.float64) for n in (40, 30, 20))
    values = x[:, None, None] * (1 - y)[None, :, None] * torch.ones(20, dtype=torch.float64)
    events = draw(signal(values, x, y, z), quasi_uniforms(2**15, 3), compile)[0]
    torch.testing.assert_close(events.mean(0), torch.tensor([2 / 3, 1 / 3, 1 / 2], dtype=torch.float64), atol=1e-4, rtol=0)
    variances = torch.tensor([1 / 18, 1 / 18, 1 / 12], dtype=torch.float64)
    torch.testing.assert_close(events.T.cov(), torch.diag(variances), atol=1e-4, rtol=0)


@engines
def test_correlated_density_has_its_covariance(compile: bool) -> None:
    # rho = x + y on the unit square is bilinear: E[x] = 7/12, cov = 1/3 - 49/144.
    nodes = torch.linspace(0, 1, 5, dtype=torch.float64)
    events = draw(signal(nodes[:, None] + nodes, nodes, nodes), quasi_uniforms(2**15, 2), compile)[0]
    torch.testing.assert_close(events.mean(0), torch.full((2,), 7 / 12, dtype=torch.float64), atol=1e-4, rtol=0)
    assert float(events.T.cov()[0, 1]) == pytest.approx(1 / 3 - 49 / 144, abs=1e-4)


@engines
def test_logarithmic_axes_sample_the_same_function_as_uniform_ones(compile: bool) -> None:
    # rho = 1/Q2 on [1, 100]: log Q2 is uniform, whatever the spacing of the nodes, once they are dense.
    for axis in (torch.logspace(0, 2, 400, dtype=torch.float64), torch.linspace(1, 100, 4000, dtype=torch.float64)):
        logarithm = draw(signal(1 / axis, axis), quasi_uniforms(2**13, 1), compile).log()
        assert float(logarithm.mean()) == pytest.approx(math.log(100) / 2, abs=3e-3)
        assert float(logarithm.var()) == pytest.approx(math.log(100) ** 2 / 12, abs=6e-3)


@engines
def test_histogram_of_plain_events_agrees_with_the_cell_probabilities(compile: bool) -> None:
    density = random_density(3, (6, 5))
    num_events = 200_000
    events = sample(density, num_events, sampler=Rosenblatt(compile=compile), generator=torch.Generator().manual_seed(1)).values[0]
    counts, _ = torch.histogramdd(events, bins=[axis.contiguous() for axis in density.grid.axes])
    corners = density.values[0].unfold(0, 2, 1).unfold(1, 2, 1).mean((-1, -2))
    masses = corners * density.grid.axes[0].diff()[:, None] * density.grid.axes[1].diff()
    expected = num_events * masses / masses.sum()
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi2 - 19) < 4 * math.sqrt(2 * 19)


@engines
def test_float32_events_follow_float64_ones(compile: bool) -> None:
    density = random_density(7, (9, 8, 7))
    uniforms = quasi_uniforms(500, 3)
    single = Density(density.values.float(), density.grid, density.channels)
    torch.testing.assert_close(draw(single, uniforms, compile).double(), draw(density, uniforms, compile), rtol=1e-4, atol=1e-3)
    assert draw(single, uniforms, compile).dtype == torch.float32


@engines
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_events_of_extreme_uniforms_stay_on_the_grid(compile: bool, dtype: torch.dtype) -> None:
    below_one = 1 - torch.finfo(dtype).eps / 2
    u = torch.tensor([0.0, torch.finfo(dtype).tiny, 0.5, below_one, 1.0], dtype=dtype)
    uniforms = torch.cartesian_prod(u, u)[None]
    axes = [torch.linspace(0.001, 0.999, 7, dtype=torch.float64), torch.logspace(-4, -0.3, 6, dtype=torch.float64)]
    for seed in range(10):
        values = random_density(seed, (7, 6), zeros=0.4).values.to(dtype)
        events = draw(Density(values, Grid.from_axes({"x": axes[0], "y": axes[1]}), ("signal",)), uniforms, compile).double()
        for d in range(2):
            assert (events[..., d] >= axes[d][0]).all()
            assert (events[..., d] <= axes[d][-1]).all()


@engines
def test_shapes_and_columns_are_those_asked_for(compile: bool) -> None:
    values = torch.rand(3, 4, 2, 6, 5)
    grid = Grid.from_axes({"x": torch.linspace(0, 1, 6), "Q2": torch.logspace(0, 2, 5)})
    density = Density(values, grid, ("proton", "neutron"))
    events = sample(density, 17, sampler=Rosenblatt(compile=compile))
    assert events.values.shape == (3, 4, 2, 17, 2)
    assert events.columns == ("x", "Q2")
    assert events.weights is None
    assert sample(density, 0, sampler=Rosenblatt(compile=compile)).values.shape == (3, 4, 2, 0, 2)
    assert isinstance(Rosenblatt(), Sampler)


@engines
def test_every_sample_of_a_batch_is_drawn_from_its_own_density(compile: bool) -> None:
    values = torch.rand(3, 2, 6, 5, dtype=torch.float64)
    grid = Grid.from_axes({"x": torch.linspace(0, 1, 6), "y": torch.logspace(0, 2, 5)})
    uniforms = torch.rand(3, 2, 10, 2, dtype=torch.float64)
    together = draw(Density(values, grid, ("a", "b")), uniforms, compile)
    for i in range(3):
        alone = draw(Density(values[i], grid, ("a", "b")), uniforms[i], compile)
        torch.testing.assert_close(together[i], alone, rtol=0, atol=0)


def test_engines_agree_to_rounding() -> None:
    if not kernel.available():
        pytest.skip(f"no compiled kernel: {kernel.why_not()}")
    for shape in ((33,), (2, 9), (17, 12), (5, 4, 6), (3, 2, 4, 3)):
        density = random_density(11, shape)
        uniforms = quasi_uniforms(1000, len(shape))
        eager, compiled = (draw(density, uniforms, engine) for engine in (False, True))
        torch.testing.assert_close(compiled, eager, rtol=1e-12, atol=1e-12)
        gradients = [
            torch.func.grad(
                lambda v, engine=engine, d=density, u=uniforms: draw(Density(v, d.grid, d.channels), u, engine).square().mean()
            )(density.values)
            for engine in (False, True)
        ]
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=1e-10)


# --- gradients -----------------------------------------------------------------------------------------------------------------------


@engines
@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), shape=shapes)
def test_gradient_of_every_event_equals_finite_differences(compile: bool, seed: int, shape: tuple[int, ...]) -> None:
    density = random_density(seed, shape)
    values = density.values + 0.1
    uniforms = 0.02 + 0.96 * torch.rand(1, 5, len(shape), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    direction = torch.randn(values.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))

    def events(step: float) -> Tensor:
        return draw(Density(values + step * direction, density.grid, density.channels), uniforms, compile)

    slope = torch.func.jvp(lambda v: draw(Density(v, density.grid, density.channels), uniforms, compile), (values,), (direction,))[1]
    step = 1e-6
    torch.testing.assert_close(slope, (events(step) - events(-step)) / (2 * step), rtol=2e-4, atol=2e-4)


@engines
@pytest.mark.parametrize("shape", [(5,), (4, 5), (3, 4, 3)])
def test_reverse_forward_and_batched_modes_give_one_jacobian(compile: bool, shape: tuple[int, ...]) -> None:
    density = random_density(2, shape)
    uniforms = quasi_uniforms(16, len(shape))

    def events(values: Tensor) -> Tensor:
        return draw(Density(values, density.grid, density.channels), uniforms, compile)

    reverse, forward = torch.func.jacrev(events)(density.values), torch.func.jacfwd(events)(density.values)
    torch.testing.assert_close(reverse, forward, rtol=1e-9, atol=1e-10)
    batch = torch.stack([density.values, density.values.square() + 0.1])
    torch.testing.assert_close(torch.func.vmap(events)(batch), torch.stack([events(v) for v in batch]), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.func.vmap(torch.func.jacrev(events))(batch)[0], reverse, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        torch.func.vmap(events, in_dims=-1, out_dims=1)(batch.movedim(0, -1))[:, 1], events(batch[1]), rtol=1e-12, atol=1e-12
    )


@engines
@pytest.mark.parametrize("gradient", ["pathwise", "score"])
def test_gradient_of_a_mean_equals_that_of_the_exact_integral(compile: bool, gradient: str) -> None:
    density = random_density(4, (6, 7, 5))
    values = (density.values + 0.2).requires_grad_()
    density = Density(values, density.grid, density.channels)
    events = Rosenblatt(compile=compile, gradient=gradient)(density, quasi_uniforms(2**16, 3))  # type: ignore[arg-type]
    for name in density.grid.names:
        estimate = (events.column(name) * events.weights_or_ones()).mean()
        found, exact = (
            torch.autograd.grad(moment.sum(), values, retain_graph=True)[0] for moment in (estimate, exact_moment(density, name))
        )
        assert float((found - exact).norm() / exact.norm()) < 0.03


@engines
@pytest.mark.parametrize("num_nodes", [10, 30, 100])
def test_gradient_of_proxy2d_moments_is_within_one_per_cent_of_exact(compile: bool, num_nodes: int) -> None:
    box = BOX_POINT.clone().requires_grad_()
    density = proxy2d(box, num_nodes)
    events = Rosenblatt(compile=compile)(density, quasi_uniforms(2**15, 2))
    for name in ("x", "y"):
        found, exact = (
            torch.autograd.grad(moment, box, retain_graph=True)[0]
            for moment in (events.column(name).mean(), exact_moment(density, name).sum())
        )
        torch.testing.assert_close(found, exact, rtol=0.01, atol=1e-5)


@engines
def test_gradient_of_proxy2d_moments_has_the_tabulated_values(compile: bool) -> None:
    # Exact values of the untabulated density, from Beta functions; 100 nodes a side leave 0.5 per cent.
    box = BOX_POINT.clone().requires_grad_()
    events = Rosenblatt(compile=compile)(proxy2d(box, 100), quasi_uniforms(2**15, 2))
    assert float(events.column("x").detach().mean()) == pytest.approx(0.27797, abs=6e-4)
    assert float(events.column("y").detach().mean()) == pytest.approx(0.21065, abs=6e-4)
    by_x, by_y = (torch.autograd.grad(events.column(name).mean(), box, retain_graph=True)[0] for name in ("x", "y"))
    torch.testing.assert_close(by_x, torch.tensor([0.1984, -0.0635, 0.0034, -0.0010, 0.0087], dtype=torch.float64), rtol=6e-3, atol=1e-4)
    torch.testing.assert_close(by_y, torch.tensor([0.0031, -0.0010, 0.1642, -0.0506, 0.0084], dtype=torch.float64), rtol=6e-3, atol=1e-4)


@engines
def test_gradient_on_a_logarithmic_axis_is_the_closed_form(compile: bool) -> None:
    # rho = Q2^a on [1, 100]: d E[log Q2] / da is the variance of log Q2 (an exponential family), (log 100)^2 / 12 at a = -1.
    power = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    axis = torch.logspace(0, 2, 300, dtype=torch.float64)
    events = draw(signal(axis**power, axis), quasi_uniforms(2**14, 1), compile)
    (slope,) = torch.autograd.grad(events.log().mean(), power)
    assert float(slope) == pytest.approx(math.log(100) ** 2 / 12, rel=2e-3)


@engines
def test_sums_over_many_float32_events_lose_no_digits(compile: bool) -> None:
    # One cell of length 3, E[x] = (a + 2 b) / (a + b): dE/db = 3 a / (3 (a + b)^2) = 1/4 at a = b = 1.
    values = torch.tensor([1.0, 1.0], requires_grad=True)
    sampler = Rosenblatt(compile=compile, points="stratified")
    uniforms = sampler.uniforms((1,), 400_000, 1, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(sampler(signal(values, [0.0, 3.0]), uniforms).values.mean(), values)
    torch.testing.assert_close(gradient, torch.tensor([-1 / 4, 1 / 4]), rtol=2e-6, atol=0)


@pytest.mark.parametrize("piece", [1, 7, 64])
def test_pieces_of_the_events_give_what_all_of_them_give(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    density = random_density(12, (5, 4, 3))
    values = torch.stack([density.values, density.values.square() + 0.1])
    uniforms = torch.rand(2, 1, 45, 3, dtype=torch.float64)

    def events(values: Tensor) -> Tensor:
        return draw(Density(values, density.grid, density.channels), uniforms, False)

    def everything() -> list[Tensor]:
        direction = torch.linspace(-1, 1, values.numel(), dtype=torch.float64).view(values.shape)
        gradient = torch.func.grad(lambda v: events(v).square().sum())(values)
        return [*torch.func.jvp(events, (values,), (direction,)), gradient]

    expected = everything()
    monkeypatch.setattr(eager, "_PIECE", piece)
    torch.testing.assert_close(everything(), expected, rtol=1e-10, atol=1e-11)


@engines
def test_scaling_a_density_moves_nothing(compile: bool) -> None:
    density = random_density(6, (5, 6))
    values = density.values.clone().requires_grad_()
    events = draw(Density(values, density.grid, density.channels), quasi_uniforms(200, 2), compile)
    (gradient,) = torch.autograd.grad(events.square().sum(), values)
    assert float((gradient * values.detach()).sum()) == pytest.approx(0, abs=1e-9 * float(gradient.abs().max()))


def test_score_weights_are_one_and_events_carry_no_gradient() -> None:
    density = random_density(6, (5, 6))
    values = density.values.clone().requires_grad_()
    events = Rosenblatt(gradient="score")(Density(values, density.grid, density.channels), quasi_uniforms(50, 2))
    assert events.weights is not None
    assert not events.values.requires_grad
    torch.testing.assert_close(events.weights.detach(), torch.ones_like(events.weights))
    # The log-likelihood's gradient has mean zero.
    many = Rosenblatt(gradient="score")(Density(values, density.grid, density.channels), quasi_uniforms(2**14, 2))
    (gradient,) = torch.autograd.grad(many.weights_or_ones().mean(), values)
    assert float((gradient * values.detach()).abs().max()) < 2e-3


@engines
@pytest.mark.parametrize("axis", [torch.linspace(0, 1, 6), torch.logspace(-3, 0, 6)])
def test_score_weights_may_be_batched(compile: bool, axis: Tensor) -> None:
    batch = torch.stack([random_density(seed, (6, 6)).values for seed in (1, 2, 3)])
    uniforms = quasi_uniforms(32, 2)

    def mean(values: Tensor) -> Tensor:
        events = Rosenblatt(compile=compile, gradient="score")(signal(values[0], axis.double(), axis.double()), uniforms)
        return (events.values.sum(-1) * events.weights_or_ones()).mean()

    expected = torch.stack([torch.func.grad(mean)(values) for values in batch])
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(mean))(batch), expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(torch.func.vmap(torch.func.jacfwd(mean))(batch), expected, rtol=1e-11, atol=1e-12)


def test_second_derivatives_are_refused_not_wrong() -> None:
    density = random_density(6, (5,))
    values = density.values.clone().requires_grad_()
    events = draw(Density(values, density.grid, density.channels), quasi_uniforms(50, 1), False)
    (first,) = torch.autograd.grad(events.square().sum(), values, create_graph=True)
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.autograd.grad(first.sum(), values)


@engines
def test_gradients_batched_the_old_way_are_refused_not_wrong(compile: bool) -> None:
    density = random_density(6, (5, 4))
    values = density.values.clone().requires_grad_()
    events = draw(Density(values, density.grid, density.channels), quasi_uniforms(8, 2), compile)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(events, values, torch.ones(3, *events.shape, dtype=events.dtype), is_grads_batched=True)


# --- awkward densities ---------------------------------------------------------------------------------------------------------------


def awkward_values(dtype: torch.dtype) -> dict[str, Tensor]:
    decades = 300 if dtype == torch.float64 else 36
    generator = torch.Generator().manual_seed(0)
    exponents = -decades * torch.rand(7, 6, generator=generator, dtype=torch.float64)
    single = torch.zeros(7, 6, dtype=torch.float64)
    single[3, 2] = 1
    slices = torch.zeros(7, 6, dtype=torch.float64)
    slices[torch.arange(7), torch.arange(7) % 6] = 1
    row = torch.zeros(7, 6, dtype=torch.float64)
    row[0] = 1
    checkers = ((torch.arange(7)[:, None] + torch.arange(6)) % 2).double()
    return {
        "300 decades": (10**exponents).to(dtype),
        "300 decades along an axis": (10 ** (-decades * torch.linspace(0, 1, 7).double()))[:, None].expand(7, 6).to(dtype),
        "all huge": torch.full((7, 6), torch.finfo(dtype).max, dtype=dtype),
        "all tiny": torch.full((7, 6), 4 * torch.finfo(dtype).tiny, dtype=dtype),
        "one node": single.to(dtype),
        "one corner": torch.zeros(7, 6, dtype=dtype).index_put((torch.tensor(6), torch.tensor(5)), torch.tensor(1, dtype=dtype)),
        "slices with one node": slices.to(dtype),
        "one row": row.to(dtype),
        "checkers": checkers.to(dtype),
    }


@engines
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", list(awkward_values(torch.float64)))
def test_awkward_densities_give_finite_events_and_gradients(compile: bool, dtype: torch.dtype, name: str) -> None:
    values = awkward_values(dtype)[name].requires_grad_()
    special = torch.tensor([0.0, torch.finfo(dtype).tiny, 1e-7, 0.5, 1 - torch.finfo(dtype).eps / 2], dtype=dtype)
    uniforms = torch.cat([quasi_uniforms(256, 2, dtype), torch.cartesian_prod(special, special)[None]], 1)
    density = signal(values, np.linspace(0, 1, 7), np.geomspace(1e-3, 1, 6))
    for gradient in ("pathwise", "score"):
        events = Rosenblatt(compile=compile, gradient=gradient)(density, uniforms)  # type: ignore[arg-type]
        assert torch.isfinite(events.values).all()
        scale = float(values.detach().max()) if name == "all tiny" else 1.0  # a gradient per value of 1e-38 may overflow, in truth
        (slope,) = torch.autograd.grad((events.values * events.weights_or_ones()[..., None] * scale).sum(), values)
        assert torch.isfinite(slope).all()


@engines
def test_events_never_enter_cells_without_mass(compile: bool) -> None:
    values = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    uniforms = torch.linspace(0, 1, 1001, dtype=torch.float64)[None, :, None]
    events = draw(signal(values, np.arange(11.0)), uniforms, compile)[0, :, 0]
    assert ((events >= 1) & (events <= 3) | (events >= 5) & (events <= 7)).all()
    assert float(((events > 1) & (events < 3)).double().mean()) == pytest.approx(1 / 3, abs=2e-3)


@engines
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_largest_uniforms_stop_at_the_last_cell_with_mass_of_a_conditional(compile: bool, dtype: torch.dtype) -> None:
    # Totals are interpolated between rows: rounding must not carry the event into the cells without mass that follow.
    values = random_density(8, (6, 5, 7)).values[0].to(dtype)
    values[..., 4:] = 0
    uniforms = torch.rand(1, 4000, 3, dtype=dtype)
    uniforms[..., 2] = 1
    events = draw(signal(values, np.arange(6.0), np.geomspace(1, 9, 5), np.arange(7.0)), uniforms, compile)
    assert float(events[..., 2].max()) <= 4
    assert float(events[..., 2].min()) > 3.9


# --- errors --------------------------------------------------------------------------------------------------------------------------


@engines
@pytest.mark.parametrize(
    ("value", "pattern"),
    [(0.0, r"zero at all nodes \(smallest 0, largest 0\)"), (-0.5, "12 of 12 node values below zero"), (math.nan, "12 of 12 .* not finite"),
     (math.inf, "not finite"), (1e-310, "zero at all nodes")],
)  # fmt: skip
def test_a_bad_density_is_an_error_that_names_the_sample(compile: bool, value: float, pattern: str) -> None:
    values = torch.ones(2, 5, 2, 4, 3, dtype=torch.float64)
    values[1, 3, 1] = value
    grid = Grid.from_axes({"x": np.arange(4.0), "y": np.arange(3.0)})
    density = Density(values, grid, ("proton", "neutron"))
    with pytest.raises(
        DensityError, match=r"channel 'neutron', batch index \(1, 3\) has|channel 'neutron', batch index \(1, 3\) is"
    ) as caught:
        sample(density, 10, sampler=Rosenblatt(compile=compile))
    caught.match(pattern)


def test_a_bad_density_is_named_inside_vmap_too() -> None:
    values = torch.ones(4, 1, 5)
    values[2, 0, 1] = -1
    grid = Grid.from_axes({"x": np.arange(5.0)})
    with pytest.raises(DensityError, match=r"channel 'p', batch index \(2,\) has 1 of 5 node values below zero"):
        torch.func.vmap(lambda v: draw(Density(v, grid, ("p",)), torch.full((1, 3, 1), 0.5), False))(values)


def test_wrong_uniforms_and_types_are_errors() -> None:
    density = random_density(0, (4, 3))
    with pytest.raises(ShapeError, match=r"\[1, num_events, 2\] for this density, got \(1, 7, 3\)"):
        Rosenblatt()(density, torch.rand(1, 7, 3))
    with pytest.raises(ShapeError, match="num_events"):
        Rosenblatt()(density, torch.rand(2, 7, 2))
    with pytest.raises(DensityError, match=r"float32 or float64, got torch\.float16"):
        Rosenblatt()(Density(density.values.half(), density.grid, density.channels), torch.rand(1, 7, 2))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("points", "halton", "'points' is 'plain', 'stratified' or 'sobol', got 'halton'"),
        ("gradient", "none", "'pathwise' or 'score', got 'none'"),
    ],
)
def test_unknown_settings_are_errors(setting: str, value: str, message: str) -> None:
    sampler = Rosenblatt()
    object.__setattr__(sampler, setting, value)  # the type checks of the test run would stop it earlier, and with other words
    with pytest.raises(SettingsError, match=message):
        sampler.__post_init__()


def test_nodes_that_coincide_in_float32_are_an_error() -> None:
    axis = np.array([1000.0, 1000.00001, 1001.0])
    with pytest.raises(GridError, match=r"nodes 0 and 1 of axis 'x0', .* coincide in the density's torch\.float32"):
        draw(signal(torch.ones(3), axis), torch.rand(1, 7, 1), False)
    assert torch.isfinite(draw(signal(torch.ones(3, dtype=torch.float64), axis), torch.rand(1, 7, 1), False)).all()
