from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unscatter.errors import ParameterError, SettingsError
from unscatter.physics.constants import ALPHA_EM, FERMI_CONSTANT, MW_GEV, MZ_GEV, PB_PER_INVERSE_GEV2, SIN2_THETA_W
from unscatter.physics.dis_cross_sections import (
    LEPTONS,
    Y_minus,
    Y_plus,
    cc_coefficients,
    cc_prefactor,
    cc_reduced,
    kappa_Z,
    nc_coefficients,
    nc_prefactor,
    nc_reduced,
)

X = torch.tensor([0.01, 0.1, 0.5], dtype=torch.float64)
Q2 = torch.tensor([20.0, 3000.0, 30000.0], dtype=torch.float64)
Y = torch.tensor([0.1, 0.6, 0.95], dtype=torch.float64)
#: Toy densities, momentum times number: quark and antiquark.
QUARKS = {"u": (0.7, 0.2), "d": (0.4, 0.25), "s": (0.1, 0.08), "c": (0.05, 0.04)}
#: Charge and third component of the weak isospin.
CHARGES = {"u": (2 / 3, 0.5), "d": (-1 / 3, -0.5), "s": (-1 / 3, -0.5), "c": (2 / 3, 0.5)}


def leading_order() -> dict[str, float]:
    """Structure functions of the toy densities; FL vanishes."""
    functions: dict[str, float] = dict.fromkeys(("F2_em", "F2_gZ", "F2_Z", "xF3_gZ", "xF3_Z"), 0.0)
    for name, (quark, antiquark) in QUARKS.items():
        e, a = CHARGES[name]
        v = a - 2 * e * SIN2_THETA_W
        for function, coupling in (("F2_em", e * e), ("F2_gZ", 2 * e * v), ("F2_Z", v * v + a * a)):
            functions[function] += coupling * (quark + antiquark)
        for function, coupling in (("xF3_gZ", 2 * e * a), ("xF3_Z", 2 * v * a)):
            functions[function] += coupling * (quark - antiquark)
    (u, ubar), (d, dbar), (s, sbar), (c, cbar) = (QUARKS[name] for name in "udsc")
    functions |= {"F2_Wm": u + c + dbar + sbar, "xF3_Wm": u + c - dbar - sbar, "F2_Wp": d + s + ubar + cbar, "xF3_Wp": d + s - ubar - cbar}
    return functions | {f"FL_{boson}": 0.0 for boson in ("em", "gZ", "Z", "Wm", "Wp")}


def cross_section(coefficients: dict[str, Tensor]) -> Tensor:
    functions = leading_order()
    return torch.stack([coefficient * functions[name] for name, coefficient in coefficients.items()]).sum(0)


def from_helicity_amplitudes(lepton: str, polarisation: float) -> Tensor:
    r"""The bracket of the neutral-current cross section from amplitudes of massless particles with definite chirality.

    Equal chiralities scatter isotropically, opposite ones as :math:`(1 - y)^2`, and the amplitude is that of the photon plus that of the Z,
    :math:`Q_e Q_q + g_e g_q / (s^2 c^2) \cdot Q^2 / (Q^2 + M_Z^2)` with :math:`g_L = T_3 - Q s^2`, :math:`g_R = -Q s^2`; see Halzen and
    Martin, Quarks and Leptons (1984), chapters 6 and 13.
    """
    propagator = Q2 / (Q2 + MZ_GEV**2) / (SIN2_THETA_W * (1 - SIN2_THETA_W))
    total = torch.zeros_like(Q2)
    for electron in ("left", "right"):
        # A right-handed positron is the antiparticle of a left-handed electron.
        helicity = (1 if electron == "right" else -1) * (1 if lepton == "e-" else -1)
        share = (1 + helicity * polarisation) / 2
        g_electron = SIN2_THETA_W - (0.5 if electron == "left" else 0.0)
        for name, (quark, antiquark) in QUARKS.items():
            charge, isospin = CHARGES[name]
            for chirality in ("left", "right"):
                g_quark = -charge * SIN2_THETA_W + (isospin if chirality == "left" else 0.0)
                amplitude = -charge + g_electron * g_quark * propagator
                equal = (chirality == electron) == (lepton == "e-")
                flat, falling = (quark, antiquark) if equal else (antiquark, quark)
                total = total + share * amplitude.square() * (flat + falling * (1 - Y) ** 2)
    return total


@pytest.mark.parametrize("lepton", LEPTONS)
@pytest.mark.parametrize("polarisation", [0.0, 0.7, -1.0])
def test_neutral_current_equals_the_sum_over_helicity_amplitudes(lepton: str, polarisation: float) -> None:
    have = cross_section(nc_coefficients(Q2, Y, lepton=lepton, polarisation=polarisation))
    torch.testing.assert_close(have, from_helicity_amplitudes(lepton, polarisation), rtol=1e-12, atol=0)


def test_photon_exchange_is_the_quark_parton_formula_in_picobarn() -> None:
    # Halzen and Martin, eq. (9.2): 2 pi alpha^2 / (x Q^4) [1 + (1 - y)^2] sum e_q^2 x (q + qbar).
    F2 = 4 / 9 * (0.9 + 0.09) + 1 / 9 * (0.65 + 0.18)
    expected = 2 * math.pi * ALPHA_EM**2 / (X * Q2**2) * (1 + (1 - Y) ** 2) * F2 * 0.3893793721e9
    have = nc_prefactor(X, Q2) * cross_section(nc_coefficients(Q2, Y, lepton="e+", exchange="photon"))
    torch.testing.assert_close(have, expected)


@pytest.mark.parametrize("polarisation", [0.0, 0.4, -0.4])
def test_charged_current_electrons_see_u_isotropically_and_anti_d_as_1_minus_y_squared(polarisation: float) -> None:
    # Devenish and Cooper-Sarkar, Deep Inelastic Scattering (2004), chapter 8, at leading order.
    (u, ubar), (d, dbar), (s, sbar), (c, cbar) = (QUARKS[name] for name in "udsc")
    common = FERMI_CONSTANT**2 / (2 * math.pi * X) * (MW_GEV**2 / (MW_GEV**2 + Q2)) ** 2 * PB_PER_INVERSE_GEV2
    electron = (1 - polarisation) * common * (u + c + (1 - Y) ** 2 * (dbar + sbar))
    positron = (1 + polarisation) * common * (ubar + cbar + (1 - Y) ** 2 * (d + s))
    for lepton, expected in (("e-", electron), ("e+", positron)):
        have = cc_prefactor(X, Q2) * cross_section(cc_coefficients(Y, lepton=lepton, polarisation=polarisation))
        torch.testing.assert_close(have, expected, rtol=1e-12, atol=0)


def test_right_handed_electrons_and_left_handed_positrons_do_not_interact_by_charged_currents() -> None:
    for lepton, polarisation in (("e-", 1.0), ("e+", -1.0)):
        assert not any(bool(c.any()) for c in cc_coefficients(Y, lepton=lepton, polarisation=polarisation).values())


def test_electrons_and_positrons_differ_by_xF3_only() -> None:
    electron, positron = (nc_coefficients(Q2, Y, lepton=lepton) for lepton in ("e-", "e+"))
    for name in electron:
        sign = -1 if name.startswith("xF3") else 1
        torch.testing.assert_close(electron[name], sign * positron[name])
    # Interference raises the rate of electrons: e_u a_u and the axial coupling of the electron have opposite signs.
    assert bool((electron["xF3_gZ"] > 0).all())


def test_polarisation_acts_on_positrons_opposite_to_electrons() -> None:
    # CP: an electron of one helicity and a positron of the other have the same F2 couplings.
    electron = nc_coefficients(Q2, Y, lepton="e-", polarisation=0.6)
    positron = nc_coefficients(Q2, Y, lepton="e+", polarisation=-0.6)
    for name in ("F2_gZ", "FL_gZ", "F2_Z", "FL_Z"):
        torch.testing.assert_close(electron[name], positron[name])


def test_longitudinal_function_enters_with_minus_y_squared_and_the_coupling_of_F2() -> None:
    coefficients = nc_coefficients(Q2, Y, lepton="e-", polarisation=0.3) | cc_coefficients(Y, lepton="e-", polarisation=0.3)
    for boson in ("em", "gZ", "Z", "Wm"):
        torch.testing.assert_close(coefficients[f"FL_{boson}"] / coefficients[f"F2_{boson}"], -Y.square() / (1 + (1 - Y) ** 2))


def test_Z_decouples_at_low_Q2_and_its_propagator_saturates_at_high_Q2() -> None:
    low = nc_coefficients(torch.tensor(1e-6), torch.tensor(0.5), lepton="e-")
    assert max(abs(float(low[name])) for name in low if not name.endswith("em")) < 1e-9
    for Q2_value, fraction in ((1e12, 1.0), (MZ_GEV**2, 0.5)):
        assert float(kappa_Z(torch.tensor(Q2_value))) == pytest.approx(fraction / (4 * 0.23126 * 0.76874), rel=1e-6)
    # The other common form of the coupling, with the running electromagnetic coupling at the scale of the Z, 1/127.95.
    other = FERMI_CONSTANT * MZ_GEV**2 / (2 * math.sqrt(2) * math.pi / 127.95)
    assert float(kappa_Z(torch.tensor(1e12))) == pytest.approx(other, rel=0.01)


def test_Y_plus_and_Y_minus() -> None:
    torch.testing.assert_close(Y_plus(Y) + Y_minus(Y), torch.full_like(Y, 2))
    torch.testing.assert_close(Y_plus(Y) - Y_minus(Y), 2 * (1 - Y) ** 2)
    # At small y the difference of two numbers close to one would be lost in single precision.
    assert float(Y_minus(torch.tensor(1e-6))) == pytest.approx(2e-6, rel=1e-6)


def test_reduced_cross_sections_are_cross_sections_without_their_kinematic_factors() -> None:
    neutral = nc_coefficients(Q2, Y, lepton="e+", polarisation=0.2)
    sigma = nc_prefactor(X, Q2) * cross_section(neutral)
    factor = X * Q2**2 / (2 * math.pi * ALPHA_EM**2 * (1 + (1 - Y) ** 2)) / PB_PER_INVERSE_GEV2
    torch.testing.assert_close(cross_section(nc_reduced(neutral, Y)), factor * sigma)
    charged = cc_coefficients(Y, lepton="e+")
    sigma = cc_prefactor(X, Q2) * cross_section(charged)
    factor = 2 * math.pi * X / FERMI_CONSTANT**2 * ((MW_GEV**2 + Q2) / MW_GEV**2) ** 2 / PB_PER_INVERSE_GEV2
    torch.testing.assert_close(cross_section(cc_reduced(charged)), factor * sigma)


def test_photon_exchange_keeps_only_the_photon() -> None:
    photon, both = (nc_coefficients(Q2, Y, lepton="e-", exchange=exchange) for exchange in ("photon", "photon+Z"))
    assert set(photon) == {"F2_em", "FL_em"}
    assert set(both) == {"F2_em", "FL_em", "F2_gZ", "FL_gZ", "xF3_gZ", "F2_Z", "FL_Z", "xF3_Z"}
    for name in photon:
        assert torch.equal(photon[name], both[name])


def test_coefficients_are_differentiable_and_can_be_mapped() -> None:
    def total(Q2: Tensor, y: Tensor) -> Tensor:
        return nc_prefactor(0.1 * torch.ones_like(Q2), Q2) * cross_section(nc_coefficients(Q2, y, lepton="e-", polarisation=0.5))

    assert torch.autograd.gradcheck(total, (Q2[1:].clone().requires_grad_(), Y[1:].clone().requires_grad_()))
    torch.testing.assert_close(torch.func.vmap(total)(Q2, Y), total(Q2, Y))


def test_single_precision_is_good_to_rounding() -> None:
    exact = nc_prefactor(X, Q2) * cross_section(nc_coefficients(Q2, Y, lepton="e+"))
    single = nc_prefactor(X.float(), Q2.float()) * cross_section(nc_coefficients(Q2.float(), Y.float(), lepton="e+"))
    torch.testing.assert_close(single.double(), exact, rtol=1e-6, atol=0)


def test_unknown_leptons_exchanges_and_polarisations_are_errors() -> None:
    with pytest.raises(SettingsError, match=r"'lepton' must be one of \['e-', 'e\+'\], got 'mu-'"):
        nc_coefficients(Q2, Y, lepton="mu-")
    with pytest.raises(SettingsError, match=r"'exchange' must be one of \['photon', 'photon\+Z'\], got 'W'"):
        nc_coefficients(Q2, Y, lepton="e-", exchange="W")
    with pytest.raises(ParameterError, match=r"'polarisation' must lie in \[-1, 1\], got 30"):
        cc_coefficients(Y, lepton="e-", polarisation=30.0)
