from __future__ import annotations

import numpy as np
import pytest

from unscatter.theories.dis.nodes import DEGREE, Q_nodes, Q_weights, x_nodes, x_weights


def test_x_nodes_increase_from_x_min_to_below_one() -> None:
    nodes = x_nodes(1e-5, 50)
    assert nodes[0] == 1e-5
    assert nodes[-1] < 1
    assert (np.diff(nodes) > 0).all()


def test_interpolation_returns_the_values_at_the_nodes() -> None:
    nodes = x_nodes(1e-5, 50)
    np.testing.assert_allclose(x_weights(nodes, nodes), np.eye(50), atol=1e-9)
    scales = Q_nodes(4.92, 1e4, 14)
    np.testing.assert_allclose(Q_weights(scales, scales), np.eye(14), atol=1e-12)


@pytest.mark.parametrize("power", range(DEGREE + 1))
def test_x_interpolation_is_exact_for_polynomials_in_its_variable(power: int) -> None:
    def density(x: np.ndarray) -> np.ndarray:
        return (1 - x) ** 2 * ((-np.log(x) + 8 * (1 - x)) / 10) ** power

    nodes, x = x_nodes(1e-5, 30), np.concatenate([np.geomspace(1e-5, 0.1, 40), np.linspace(0.1, 1, 40)])
    np.testing.assert_allclose(x_weights(x, nodes) @ density(nodes), density(x), rtol=1e-10, atol=1e-13)


def test_interpolant_is_continuous_and_vanishes_at_one() -> None:
    nodes = x_nodes(1e-5, 50)
    values = np.random.default_rng(1).normal(size=50) * (1 - nodes)
    below, above = (x_weights(nodes[1:] * (1 + step), nodes) @ values for step in (-1e-9, 1e-9))
    np.testing.assert_allclose(below, above, atol=1e-6)
    assert (x_weights([1.0], nodes) == 0).all()


@pytest.mark.parametrize(("x_power", "one_minus_x_power"), [(0.6, 2.7), (0.5, 3.5), (-0.2, 5.0), (-0.2, 7.4)])
def test_densities_are_interpolated_within_2e_5_up_to_0_7(x_power: float, one_minus_x_power: float) -> None:
    def density(x: np.ndarray) -> np.ndarray:
        return x**x_power * (1 - x) ** one_minus_x_power * (1 + 2 * np.sqrt(x))

    nodes, x = x_nodes(1e-5, 50), np.geomspace(1e-5, 0.7, 500)
    np.testing.assert_allclose(x_weights(x, nodes) @ density(nodes), density(x), rtol=2e-5)


def test_chebyshev_nodes_resolve_the_running_of_a_high_moment() -> None:
    def moment(Q: np.ndarray) -> np.ndarray:
        return np.log(Q**2 / 0.2**2) ** -2.5

    for low, high, num_nodes in ((1.65, 4.92, 10), (4.92, 1e4, 14)):
        scales = np.geomspace(low, high, 101)
        nodes = Q_nodes(low, high, num_nodes)
        assert (nodes[0], nodes[-1]) == (low, high)
        np.testing.assert_allclose(Q_weights(scales, nodes) @ moment(nodes), moment(scales), rtol=1e-7)
