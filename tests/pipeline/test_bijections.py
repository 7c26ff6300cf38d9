"""Bijections: invertible, inside the region, differentiable everywhere."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unscatter.errors import ParameterError
from unscatter.pipeline import Box, ParameterSpace, Product, Simplex

MIXED = Box((0.0, -1.0, -math.inf, -math.inf), (3.0, math.inf, 2.0, math.inf))

latents = st.lists(st.floats(-12, 12), min_size=4, max_size=4).map(lambda v: torch.tensor(v, dtype=torch.float64))


@given(latents)
def test_box_inverse_undoes_forward(latent: torch.Tensor) -> None:
    torch.testing.assert_close(MIXED.inverse(MIXED.forward(latent)), latent, rtol=1e-6, atol=1e-6)


@given(latents)
def test_box_never_leaves_its_ranges(latent: torch.Tensor) -> None:
    p = MIXED.forward(latent)
    assert bool((p > torch.tensor(MIXED.low)).all())
    assert bool((p < torch.tensor(MIXED.high)).all())


@given(latents)
def test_box_gradient_is_positive_and_elementwise(latent: torch.Tensor) -> None:
    jacobian = torch.func.jacrev(MIXED.forward)(latent)
    assert bool((jacobian.diagonal() > 0).all())
    assert torch.equal(jacobian, torch.diag(jacobian.diagonal()))


def test_box_matches_its_formulas() -> None:
    def softplus(x: float) -> float:
        return math.log1p(math.exp(x))

    p = MIXED.forward(torch.tensor([0.5, 0.5, 0.5, 0.5], dtype=torch.float64))
    expected = [0.3 * (softplus(5.5) - softplus(-4.5)), -1 + softplus(0.5), 2 - softplus(-0.5), 0.5]
    torch.testing.assert_close(p, torch.tensor(expected, dtype=torch.float64))


def test_map_onto_an_interval_is_linear_over_most_of_it() -> None:
    box = Box((2.0,), (7.0,))
    latent = torch.linspace(-2.5, 2.5, 11, dtype=torch.float64)[:, None]
    torch.testing.assert_close(box.forward(latent), 4.5 + 0.5 * latent, rtol=0, atol=0.05)


@given(st.lists(st.floats(-12, 12), min_size=3, max_size=3))
def test_simplex_adds_up_to_one_and_inverts(values: list[float]) -> None:
    latent = torch.tensor(values, dtype=torch.float64)
    fractions = Simplex(4).forward(latent)
    assert float(fractions.sum()) == pytest.approx(1)
    assert bool((fractions > 0).all())
    torch.testing.assert_close(Simplex(4).inverse(fractions), latent, rtol=1e-6, atol=1e-6)


def test_product_maps_each_block_by_its_own_bijection() -> None:
    product = Product((Box((0.0,), (1.0,)), Simplex(3)))
    assert (product.latent_size, product.size) == (3, 4)
    latent = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64)
    torch.testing.assert_close(product.forward(latent)[1:], Simplex(3).forward(latent[1:]))
    torch.testing.assert_close(product.inverse(product.forward(latent)), latent)


def test_upside_down_range_names_the_parameter_and_the_line_to_type() -> None:
    with pytest.raises(ParameterError, match=r"'slope' has the range \(5, 0\).*upside down.*\n.*'slope': \(0, 5\)"):
        ParameterSpace.from_ranges({"slope": (5.0, 0.0)})


def test_value_outside_the_range_is_refused_with_value_and_range() -> None:
    with pytest.raises(ParameterError, match=r"parameter 1 is 7, which is not inside its range \(0, 5\)"):
        Box((0.0, 0.0), (1.0, 5.0)).inverse(torch.tensor([0.5, 7.0]))


def test_fractions_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ParameterError, match="add up to one"):
        Simplex(2).inverse(torch.tensor([0.5, 0.6]))


def test_space_splits_physics_from_nuisances() -> None:
    space = ParameterSpace.from_ranges({"a": (0.0, 1.0), "b": (0.0, 1.0)}, nuisances={"fraction": (0.0, 0.5)})
    parameters = torch.tensor([[0.1, 0.2, 0.3]])
    torch.testing.assert_close(space.physics_params(parameters), torch.tensor([[0.1, 0.2]]))
    torch.testing.assert_close(space.nuisance_values(parameters)["fraction"], torch.tensor([0.3]))


def test_space_gives_physics_parameters_their_shape() -> None:
    space = ParameterSpace(tuple(f"f{i}" for i in range(6)), Box((0.0,) * 6, (1.0,) * 6), shape=(2, 3))
    assert space.physics_params(torch.zeros(7, 6)).shape == (7, 2, 3)


@pytest.mark.parametrize(
    ("names", "shape", "message"),
    [(("a", "a"), None, "different names"), (("a", "b", "c"), None, "makes 2 parameters"), (("a", "b"), (3,), "do not fit physics")],
)
def test_space_that_does_not_fit_is_refused(names: tuple[str, ...], shape: tuple[int, ...] | None, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        ParameterSpace(names, Box((0.0, 0.0), (1.0, 1.0)), shape)


def test_parameter_outside_its_range_is_named_in_every_block() -> None:
    space = ParameterSpace.of_blocks([(("a", "b"), Simplex(2)), (("slope", "norm"), Box((0.0, 0.0), (1.0, 5.0)))])
    with pytest.raises(ParameterError, match=r"^parameter 'norm' is 7, which is not inside its range \(0, 5\)"):
        space.to_latent(torch.tensor([0.5, 0.5, 0.5, 7.0]))
    with pytest.raises(ParameterError, match="^parameter 3 is 7"):
        space.bijection.inverse(torch.tensor([0.5, 0.5, 0.5, 7.0]))


@pytest.mark.parametrize("ends", [(math.nan, 1.0), (0.0, math.nan)])
def test_bound_that_is_not_a_number_is_answered_with_numbers(ends: tuple[float, float]) -> None:
    with pytest.raises(ParameterError, match="'slope' has the range .*: a bound is not a number") as caught:
        ParameterSpace.from_ranges({"slope": ends})
    assert "nan" not in str(caught.value).partition("\n")[2]
