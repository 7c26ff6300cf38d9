from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from tests.physics.dis_events import PYTHIA_BEAMS, pythia_columns
from unscatter.errors import ParameterError
from unscatter.physics.constants import PROTON_MASS_GEV
from unscatter.physics.dis_kinematics import (
    Beams,
    Q2_from_x_y,
    Q2_y_from_electron,
    W2_from_Q2_y,
    check_physical,
    electron_from_Q2_y,
    is_physical,
    jacobian_dQ2_dy_by_electron,
    jacobian_dx_dQ2_by_dQ2_dy,
    jacobian_dx_dQ2_by_electron,
    variables_from_electron,
    x_from_Q2_y,
    y_from_x_Q2,
)

HERA = Beams(27.5, 920.0)


def phase_space(num_events: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Q2 and y all over phase space, with x up to 1."""
    uniforms = torch.rand(2, num_events, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = 10 ** (-3 * uniforms[0]) * 0.999
    return HERA.s * y * 10 ** (-4 * uniforms[1]), y


def test_kinematics_of_generated_events_follow_from_energy_and_angle() -> None:
    x, Q2, y, energy, theta = pythia_columns()
    have = variables_from_electron(energy, theta, PYTHIA_BEAMS)
    torch.testing.assert_close(have.Q2, Q2, rtol=3e-6, atol=0)
    # Single precision limits y, the small difference of two numbers close to one; and the generator's proton has a mass.
    mass_effect = energy * PROTON_MASS_GEV**2 / (4 * PYTHIA_BEAMS.electron_energy_GeV * PYTHIA_BEAMS.hadron_energy_GeV**2)
    assert bool(((have.y - y).abs() < mass_effect + 1e-7).all())
    torch.testing.assert_close(have.x, x, rtol=1.5e-4, atol=0)


def test_energy_and_angle_of_generated_events_follow_from_kinematics() -> None:
    _, Q2, y, energy, theta = pythia_columns()
    have = electron_from_Q2_y(Q2, y, PYTHIA_BEAMS)
    torch.testing.assert_close(have.energy_GeV, energy, rtol=5e-6, atol=0)
    # The mass of the generator's proton turns electrons by 7e-5 where they go along with it (y = 0.999), and hardly elsewhere.
    torch.testing.assert_close(have.theta, theta, rtol=0, atol=1e-4)
    torch.testing.assert_close(have.theta[theta > 1], theta[theta > 1], rtol=0, atol=5e-6)


def test_x_of_generated_events_follows_from_Q2_and_y_with_massless_s() -> None:
    x, Q2, y, *_ = pythia_columns()
    torch.testing.assert_close(x_from_Q2_y(Q2, y, PYTHIA_BEAMS.s), x, rtol=4e-6, atol=0)


def test_electron_method_undoes_the_prediction_of_the_electron() -> None:
    Q2, y = phase_space()
    have = variables_from_electron(*electron_from_Q2_y(Q2, y, HERA), HERA)
    torch.testing.assert_close(have.Q2, Q2, rtol=1e-12, atol=0)
    torch.testing.assert_close(have.y, y, rtol=0, atol=1e-13)
    torch.testing.assert_close(have.x, x_from_Q2_y(Q2, y, HERA.s), rtol=1e-9, atol=0)


def test_x_Q2_and_y_determine_one_another() -> None:
    Q2, y = phase_space()
    x = x_from_Q2_y(Q2, y, HERA.s)
    torch.testing.assert_close(y_from_x_Q2(x, Q2, HERA.s), y)
    torch.testing.assert_close(Q2_from_x_y(x, y, HERA.s), Q2)


def test_unscattered_electron_keeps_its_energy_and_goes_on_opposite_to_the_hadron() -> None:
    electron = electron_from_Q2_y(torch.tensor(1e-8, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64), HERA)
    assert float(electron.energy_GeV) == pytest.approx(27.5)
    assert float(electron.theta) == pytest.approx(math.pi, abs=1e-5)


def test_elastic_kinematic_peak_and_backscattering() -> None:
    # Along x = E_e / E_h the energy is that of the beam for all angles; y -> 1 at any Q2 sends the electron along the hadron.
    y = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    Q2 = Q2_from_x_y(torch.tensor(HERA.electron_energy_GeV / HERA.hadron_energy_GeV, dtype=torch.float64), y, HERA.s)
    torch.testing.assert_close(electron_from_Q2_y(Q2, y, HERA).energy_GeV, torch.full_like(y, 27.5))
    assert float(electron_from_Q2_y(torch.tensor(100.0), torch.tensor(1.0), HERA).theta) == pytest.approx(0, abs=1e-5)


def test_W2_is_the_mass_of_the_proton_in_elastic_scattering_and_large_at_small_x() -> None:
    Q2, y = phase_space()
    x = x_from_Q2_y(Q2, y, HERA.s)
    torch.testing.assert_close(W2_from_Q2_y(Q2, y, HERA.s), PROTON_MASS_GEV**2 + Q2 * (1 - x) / x, rtol=1e-10, atol=1e-10)
    assert float(W2_from_Q2_y(torch.tensor(5.0), torch.tensor(5.0), 1.0)) == pytest.approx(PROTON_MASS_GEV**2)


def determinants(function: Callable[[torch.Tensor], torch.Tensor], arguments: torch.Tensor) -> torch.Tensor:
    """|det| of the derivatives of ``function(pair) -> pair``, for pairs ``[events, 2]``."""
    jacobian = torch.func.vmap(torch.func.jacrev(function))(arguments)
    return torch.linalg.det(jacobian).abs()


def test_jacobians_are_the_determinants_of_the_derivatives() -> None:
    Q2, y = phase_space()
    energy, theta = electron_from_Q2_y(Q2, y, HERA)
    x = x_from_Q2_y(Q2, y, HERA.s)

    def x_Q2_of_Q2_y(pair: torch.Tensor) -> torch.Tensor:
        return torch.stack([x_from_Q2_y(pair[0], pair[1], HERA.s), pair[0]])

    def Q2_y_of_electron(pair: torch.Tensor) -> torch.Tensor:
        return torch.stack(Q2_y_from_electron(pair[0], pair[1], HERA))

    def x_Q2_of_electron(pair: torch.Tensor) -> torch.Tensor:
        return torch.stack(variables_from_electron(pair[0], pair[1], HERA)[:2])

    def electron_of_Q2_y(pair: torch.Tensor) -> torch.Tensor:
        return torch.stack(electron_from_Q2_y(pair[0], pair[1], HERA))

    electrons, pairs = torch.stack([energy, theta], -1), torch.stack([Q2, y], -1)
    torch.testing.assert_close(jacobian_dx_dQ2_by_dQ2_dy(x, y), determinants(x_Q2_of_Q2_y, pairs))
    torch.testing.assert_close(jacobian_dQ2_dy_by_electron(energy, theta), determinants(Q2_y_of_electron, electrons))
    torch.testing.assert_close(
        jacobian_dx_dQ2_by_electron(energy, theta, HERA), determinants(x_Q2_of_electron, electrons), rtol=1e-6, atol=0
    )
    torch.testing.assert_close(1 / jacobian_dQ2_dy_by_electron(energy, theta), determinants(electron_of_Q2_y, pairs))


def test_gradients_are_finite_at_and_beyond_the_edges_of_phase_space() -> None:
    values = torch.tensor([[0.0, 0.5], [10.0, 1.0], [0.0, 1.0], [10.0, 1.2], [-1.0, 0.5], [10.0, 0.0]], requires_grad=True)
    energy, theta = electron_from_Q2_y(values[:, 0], values[:, 1], HERA)
    (gradient,) = torch.autograd.grad((energy + theta).sum(), values)
    assert bool(torch.isfinite(theta).all())
    assert bool(torch.isfinite(gradient).all())


def test_single_precision_is_good_to_rounding() -> None:
    Q2, y = phase_space()
    exact, single = electron_from_Q2_y(Q2, y, HERA), electron_from_Q2_y(Q2.float(), y.float(), HERA)
    torch.testing.assert_close(single.energy_GeV.double(), exact.energy_GeV, rtol=1e-6, atol=0)
    torch.testing.assert_close(single.theta.double(), exact.theta, rtol=0, atol=2e-5)
    torch.testing.assert_close(
        W2_from_Q2_y(Q2.float(), y.float(), HERA.s).double(), W2_from_Q2_y(Q2, y, HERA.s), rtol=0, atol=3e-7 * HERA.s
    )


def test_functions_can_be_mapped() -> None:
    Q2, y = phase_space()
    mapped = torch.func.vmap(lambda Q2, y: electron_from_Q2_y(Q2, y, HERA))(Q2, y)
    torch.testing.assert_close(tuple(mapped), tuple(electron_from_Q2_y(Q2, y, HERA)))


def test_events_outside_phase_space_are_found_and_named() -> None:
    x, Q2, y = torch.tensor([0.1, 1.0, 1.1, 0.1, 0.1]), torch.tensor(10.0), torch.tensor([0.5, 0.5, 0.5, 1.0, -0.1])
    assert is_physical(x, Q2, y).tolist() == [True, True, False, False, False]
    check_physical(x[:2], Q2, y[:2])
    with pytest.raises(ParameterError, match=r"3 of 5 events.*x = 1.1, Q2 = 10, y = 0.5"):
        check_physical(x, Q2, y)


def test_beams_without_energy_are_an_error() -> None:
    assert HERA.s == pytest.approx(318.12**2, rel=1e-4)
    with pytest.raises(ParameterError, match="'hadron_energy_GeV' must be positive, got 0"):
        Beams(18.0, 0.0)
    with pytest.raises(ParameterError, match="'electron_energy_GeV' must be positive, got -1"):
        Beams(-1.0, 275.0)
