r"""Cross sections of inclusive deep-inelastic scattering as linear combinations of structure functions.

.. math::
    \frac{d^2\sigma^{\mathrm{NC}}}{dx\,dQ^2} &= \frac{2\pi\alpha^2}{x Q^4}
        \left[Y_+ \tilde F_2 \mp Y_- x\tilde F_3 - y^2 \tilde F_L\right], \\
    \frac{d^2\sigma^{\mathrm{CC}}}{dx\,dQ^2} &= (1 \pm P)\, \frac{G_F^2}{4\pi x} \left(\frac{M_W^2}{M_W^2 + Q^2}\right)^2
        \left[Y_+ W_2 \mp Y_- xW_3 - y^2 W_L\right], \qquad Y_\pm = 1 \pm (1 - y)^2,

with the upper signs for :math:`e^+`, the lower ones for :math:`e^-` and the longitudinal polarisation P of the lepton beam.  Everything is
linear in the structure functions, so functions here return the coefficient of each; names of structure functions are

=============================  ====================================================================================================
``F2_em FL_em``                photon
``F2_gZ FL_gZ xF3_gZ``         interference of photon and Z
``F2_Z FL_Z xF3_Z``            Z
``F2_Wm FL_Wm xF3_Wm``         :math:`W_2, W_L, xW_3` of :math:`e^- p \to \nu X`
``F2_Wp FL_Wp xF3_Wp``         the same of :math:`e^+ p \to \bar\nu X`
=============================  ====================================================================================================

Couplings of quarks are inside the structure functions, those of leptons and the propagators are in the coefficients.  At leading order

.. math::
    [F_2^{em}, F_2^{\gamma Z}, F_2^{Z}] &= \sum_q [e_q^2,\; 2 e_q v_q,\; v_q^2 + a_q^2]\; x (q + \bar q), \\
    [xF_3^{\gamma Z}, xF_3^{Z}] &= \sum_q [2 e_q a_q,\; 2 v_q a_q]\; x (q - \bar q), \\
    W_2^- = x (u + c + \bar d + \bar s), \quad xW_3^- &= x (u + c - \bar d - \bar s), \quad
    W_2^+ = x (d + s + \bar u + \bar c), \quad xW_3^+ = x (d + s - \bar u - \bar c)

with :math:`a_q = T_3`, :math:`v_q = T_3 - 2 e_q \sin^2\theta_W`.  hoppet has the same normalisation, with :math:`F_L = F_2 - 2 x F_1` and
the mixing angle of its masses; the Particle Data Group has :math:`F_2^{W^\mp} = 2 W_2^\mp`.

References:
    H1 and ZEUS, arXiv:1506.06042, section 2, and arXiv:0911.0884, section 2 (unpolarised, this normalisation);
    A. Karlberg, SciPost Phys. Codebases 32 (2024), arXiv:2401.16964, eqs. 6, 7, 9 and 11 (unpolarised, with the structure functions of
    hoppet; its text has :math:`a_e = \tfrac12`, its program the :math:`-\tfrac12` of here);
    Particle Data Group, Review of Particle Physics, section "Structure Functions" (polarisation, couplings).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from unscatter.errors import ParameterError, SettingsError
from unscatter.physics.constants import ALPHA_EM, FERMI_CONSTANT, MW_GEV, MZ_GEV, PB_PER_INVERSE_GEV2, SIN2_THETA_W

#: Leptons and the sign of their charge.
LEPTONS: Mapping[str, int] = {"e-": -1, "e+": +1}
#: What is exchanged in neutral currents.
EXCHANGES: tuple[str, ...] = ("photon", "photon+Z")


def Y_plus(y: Tensor) -> Tensor:
    """:math:`Y_+ = 1 + (1 - y)^2`; Karlberg, arXiv:2401.16964, below eq. 6."""
    return 1 + (1 - y).square()


def Y_minus(y: Tensor) -> Tensor:
    """:math:`Y_- = 1 - (1 - y)^2 = y (2 - y)`; Karlberg, arXiv:2401.16964, below eq. 6."""
    return y * (2 - y)


def nc_prefactor(x: Tensor, Q2: Tensor, *, alpha_em: float = ALPHA_EM) -> Tensor:
    r""":math:`2\pi\alpha^2 / (x Q^4)` in pb/GeV2, so that :math:`d^2\sigma/dx\,dQ^2` is this times the sum of coefficient times function.

    References:
        Karlberg, arXiv:2401.16964, eq. 6.

    Example:
        >>> import torch
        >>> round(float(nc_prefactor(torch.tensor(0.1), torch.tensor(100.0))), 3)
        130.282
    """
    return (2 * math.pi * alpha_em**2 * PB_PER_INVERSE_GEV2) / (x * Q2.square())


def nc_coefficients(
    Q2: Tensor,
    y: Tensor,
    *,
    lepton: str,
    polarisation: float = 0.0,
    exchange: str = "photon+Z",
    sin2_theta_W: float = SIN2_THETA_W,
    MZ_GeV: float = MZ_GEV,
) -> dict[str, Tensor]:
    r"""Coefficients of the structure functions in the neutral-current cross section.

    .. math::
        \tilde F_{2,L} &= F_{2,L}^{em} - (v_e \pm P a_e) \kappa_Z F_{2,L}^{\gamma Z}
            + (v_e^2 + a_e^2 \pm 2 P v_e a_e) \kappa_Z^2 F_{2,L}^{Z}, \\
        x\tilde F_3 &= -(a_e \pm P v_e) \kappa_Z\, xF_3^{\gamma Z} + (2 v_e a_e \pm P (v_e^2 + a_e^2)) \kappa_Z^2\, xF_3^{Z}

    with the upper signs for :math:`e^+`, :math:`a_e = -\tfrac12`, :math:`v_e = -\tfrac12 + 2 \sin^2\theta_W`.

    Args:
        Q2: in GeV2.
        y: broadcasts against ``Q2``.
        lepton: ``"e-"`` or ``"e+"``; with photons alone they do not differ.
        polarisation: P in [-1, 1], positive for right-handed leptons.
        exchange: ``"photon"`` or ``"photon+Z"``.
        sin2_theta_W: weak mixing angle.
        MZ_GeV: mass of the Z.

    Returns:
        ``{name: coefficient}``; :math:`Y_+` and :math:`-y^2` are of the shape of ``y``, the others of the shape of both.

    Raises:
        SettingsError: an unknown lepton or exchange.
        ParameterError: the polarisation lies outside [-1, 1].

    References:
        Particle Data Group, Review of Particle Physics, section "Structure Functions", generalised structure functions of neutral currents;
        Karlberg, arXiv:2401.16964, eqs. 6 and 7 (P = 0); H1 and ZEUS, arXiv:1506.06042, section 2.

    Example:
        >>> import torch
        >>> nc_coefficients(torch.tensor(100.0), torch.tensor(0.5), lepton="e-", exchange="photon")
        {'F2_em': tensor(1.2500), 'FL_em': tensor(-0.2500)}
    """
    charge = _charge(lepton, polarisation)
    if exchange not in EXCHANGES:
        raise SettingsError(f"'exchange' must be one of {list(EXCHANGES)}, got '{exchange}'.")
    coefficients = _by_power_of_y("em", y, even=1.0)
    if exchange == "photon":
        return coefficients
    a, v = -0.5, -0.5 + 2 * sin2_theta_W
    P, kappa = charge * polarisation, kappa_Z(Q2, sin2_theta_W=sin2_theta_W, MZ_GeV=MZ_GeV)
    coefficients |= _by_power_of_y("gZ", y, even=-(v + P * a) * kappa, odd=charge * (a + P * v) * kappa)
    Z_even, Z_odd = v**2 + a**2 + 2 * P * v * a, 2 * v * a + P * (v**2 + a**2)
    return coefficients | _by_power_of_y("Z", y, even=Z_even * kappa.square(), odd=-charge * Z_odd * kappa.square())


def kappa_Z(Q2: Tensor, *, sin2_theta_W: float = SIN2_THETA_W, MZ_GeV: float = MZ_GEV) -> Tensor:
    r"""Z exchange over photon exchange: couplings and propagators.

    .. math:: \kappa_Z = \frac{1}{4 \sin^2\theta_W \cos^2\theta_W}\, \frac{Q^2}{Q^2 + M_Z^2}

    References:
        Karlberg, arXiv:2401.16964, below eq. 7; H1 and ZEUS, arXiv:1506.06042, section 2.  The Particle Data Group writes
        :math:`G_F M_Z^2 / (2 \sqrt2 \pi \alpha)` for the first factor: the same by the tree-level relations of Karlberg's eq. 8, and up to
        radiative corrections when :math:`\alpha` is taken at the scale of the Z.
    """
    return Q2 / (Q2 + MZ_GeV**2) / (4 * sin2_theta_W * (1 - sin2_theta_W))


def cc_prefactor(x: Tensor, Q2: Tensor, *, MW_GeV: float = MW_GEV, fermi_constant: float = FERMI_CONSTANT) -> Tensor:
    r""":math:`\frac{G_F^2}{4\pi x} \big(\frac{M_W^2}{M_W^2 + Q^2}\big)^2` in pb/GeV2.

    References:
        Karlberg, arXiv:2401.16964, eq. 9, with Fermi's constant for :math:`\pi\alpha / (\sqrt2 M_W^2 \sin^2\theta_W)` by eq. 8.
    """
    propagator = MW_GeV**2 / (MW_GeV**2 + Q2)
    return (fermi_constant**2 / (4 * math.pi) * PB_PER_INVERSE_GEV2) * propagator.square() / x


def cc_coefficients(y: Tensor, *, lepton: str, polarisation: float = 0.0) -> dict[str, Tensor]:
    r"""Coefficients of the structure functions in the charged-current cross section.

    .. math:: (1 \pm P) \left[Y_+ W_2^\pm \mp Y_- xW_3^\pm - y^2 W_L^\pm\right]

    Only left-handed electrons and right-handed positrons take part.

    Args:
        y: inelasticity.
        lepton: ``"e-"``, for the functions ``..._Wm``, or ``"e+"``, for ``..._Wp``.
        polarisation: P in [-1, 1], positive for right-handed leptons.

    Raises:
        SettingsError: an unknown lepton.
        ParameterError: the polarisation lies outside [-1, 1].

    References:
        Karlberg, arXiv:2401.16964, eq. 9 (P = 0); H1 and ZEUS, arXiv:1506.06042, section 2.

    Example:
        >>> import torch
        >>> cc_coefficients(torch.tensor(0.5), lepton="e-")
        {'F2_Wm': tensor(1.2500), 'FL_Wm': tensor(-0.2500), 'xF3_Wm': tensor(0.7500)}
    """
    charge = _charge(lepton, polarisation)
    active = 1 + charge * polarisation
    return _by_power_of_y("Wm" if charge < 0 else "Wp", y, even=active, odd=-charge * active)


def nc_reduced(coefficients: Mapping[str, Tensor], y: Tensor) -> dict[str, Tensor]:
    r"""Coefficients of the reduced neutral-current cross section from those of :func:`nc_coefficients`.

    .. math:: \sigma_{r} = \frac{x Q^4}{2\pi\alpha^2\, Y_+} \frac{d^2\sigma}{dx\,dQ^2}
        = \tilde F_2 \mp \frac{Y_-}{Y_+} x\tilde F_3 - \frac{y^2}{Y_+} \tilde F_L

    References:
        Karlberg, arXiv:2401.16964, eq. 11.
    """
    return {name: coefficient / Y_plus(y) for name, coefficient in coefficients.items()}


def cc_reduced(coefficients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    r"""Coefficients of the reduced charged-current cross section from those of :func:`cc_coefficients`.

    .. math:: \sigma_{r} = \frac{2\pi x}{G_F^2} \left(\frac{M_W^2 + Q^2}{M_W^2}\right)^2 \frac{d^2\sigma}{dx\,dQ^2}
        = \frac{1 \pm P}{2} \left[Y_+ W_2 \mp Y_- xW_3 - y^2 W_L\right]

    References:
        Half of Karlberg, arXiv:2401.16964, eq. 11, which follows H1 alone, arXiv:1206.7007; H1 and ZEUS, arXiv:1506.06042, have this one.
    """
    return {name: coefficient / 2 for name, coefficient in coefficients.items()}


def _by_power_of_y(boson: str, y: Tensor, *, even: Tensor | float, odd: Tensor | float | None = None) -> dict[str, Tensor]:
    """``even`` goes with F2 and FL, ``odd`` with xF3, which a pure photon lacks."""
    coefficients = {f"F2_{boson}": Y_plus(y) * even, f"FL_{boson}": -y.square() * even}
    return coefficients if odd is None else coefficients | {f"xF3_{boson}": Y_minus(y) * odd}


def _charge(lepton: str, polarisation: float) -> int:
    if lepton not in LEPTONS:
        raise SettingsError(f"'lepton' must be one of {list(LEPTONS)}, got '{lepton}'.")
    if not -1 <= polarisation <= 1:
        raise ParameterError(f"'polarisation' must lie in [-1, 1], got {polarisation:g}. It is a fraction, not per cent.")
    return LEPTONS[lepton]
