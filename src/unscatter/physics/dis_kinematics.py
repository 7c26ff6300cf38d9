r"""Kinematics of inclusive deep-inelastic scattering, :math:`e(k) + h(P) \to e(k') + X`, with massless beams.

.. math::
    Q^2 = -(k - k')^2, \qquad x = \frac{Q^2}{2 P \cdot q}, \qquad y = \frac{P \cdot q}{P \cdot k}, \qquad q = k - k', \qquad
    s = 2 P \cdot k, \qquad Q^2 = x y s

The polar angle :math:`\theta` of the scattered electron counts from the direction of the **hadron** beam, as at HERA and at the EIC: an
unscattered electron has :math:`\theta = \pi`, one turned round has :math:`\theta = 0`.  Formulas hold event by event for tensors that
broadcast; energies are in GeV, Q2, W2 and s in GeV2, angles in radian.

References:
    Particle Data Group, Review of Particle Physics, section "Structure Functions", definitions of the invariants;
    A. Karlberg, arXiv:2401.16964, eqs. 1 (invariants) and 3 to 5 (momenta, the hadron along z);
    U. Bassler and G. Bernardi, Nucl. Instrum. Meth. A 361 (1995) 197 (hep-ex/9412004), for the methods of reconstruction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from unscatter.errors import ParameterError
from unscatter.physics.constants import PROTON_MASS_GEV

#: Where neither electron nor hadrons were seen, 1 - y_e + y_h is taken as this.
_LEAST_BALANCE = 1e-6


@dataclass(frozen=True)
class Beams:
    r"""An electron and a hadron beam that meet head-on.

    Args:
        electron_energy_GeV: :math:`E_e`.
        hadron_energy_GeV: :math:`E_h`, per nucleon for nuclei.

    Raises:
        ParameterError: an energy is not positive and finite.

    Example:
        >>> Beams(electron_energy_GeV=18.0, hadron_energy_GeV=275.0).s
        19800.0
    """

    electron_energy_GeV: float
    hadron_energy_GeV: float

    def __post_init__(self) -> None:
        for name, energy in (("electron_energy_GeV", self.electron_energy_GeV), ("hadron_energy_GeV", self.hadron_energy_GeV)):
            if not 0 < energy < math.inf:
                raise ParameterError(f"'{name}' must be positive, got {energy:g}. For the EIC's highest energies: Beams(18.0, 275.0).")

    @property
    def s(self) -> float:
        """Squared centre-of-mass energy, :math:`s = 4 E_e E_h`, in GeV2."""
        return 4 * self.electron_energy_GeV * self.hadron_energy_GeV


class ScatteredElectron(NamedTuple):
    """What is measured of the scattered electron."""

    energy_GeV: Tensor
    theta: Tensor


class DisVariables(NamedTuple):
    """Invariants of an event."""

    x: Tensor
    Q2: Tensor
    y: Tensor


def x_from_Q2_y(Q2: Tensor, y: Tensor, s: float) -> Tensor:
    r"""Bjorken's variable, :math:`x = Q^2 / (y s)`.

    Example:
        >>> x_from_Q2_y(torch.tensor(19.8), torch.tensor(0.1), s=19800.0)
        tensor(0.0100)
    """
    return Q2 / (y * s)


def y_from_x_Q2(x: Tensor, Q2: Tensor, s: float) -> Tensor:
    r"""Inelasticity, :math:`y = Q^2 / (x s)`."""
    return Q2 / (x * s)


def Q2_from_x_y(x: Tensor, y: Tensor, s: float) -> Tensor:
    r"""Momentum transfer, :math:`Q^2 = x y s`."""
    return x * y * s


def W2_from_Q2_y(Q2: Tensor, y: Tensor, s: float, mass_GeV: float = PROTON_MASS_GEV) -> Tensor:
    r"""Squared mass of the hadronic final state.

    .. math:: W^2 = (P + q)^2 = M^2 + y s - Q^2 = M^2 + Q^2 \frac{1 - x}{x}

    Written with y instead of x it is finite for all measured values, whatever x has become.

    Example:
        >>> W2_from_Q2_y(torch.tensor(100.0), torch.tensor(0.5), s=19800.0)
        tensor(9800.8799)
    """
    return mass_GeV**2 + (y * s - Q2)


def electron_from_Q2_y(Q2: Tensor, y: Tensor, beams: Beams) -> ScatteredElectron:
    r"""Energy and polar angle of the scattered electron.

    .. math::
        E' = E_e (1 - y) + \frac{Q^2}{4 E_e}, \qquad
        E' \cos^2\tfrac\theta2 = \frac{Q^2}{4 E_e}, \qquad E' \sin^2\tfrac\theta2 = E_e (1 - y), \qquad
        \theta = 2 \arctan \sqrt{\frac{4 E_e^2 (1 - y)}{Q^2}}

    Args:
        Q2: :math:`Q^2 \ge 0`.
        y: :math:`y \le 1`; values beyond are taken as the limit :math:`\theta = 0`.
        beams: energies of the beams.

    References:
        Inverse of the electron method, see :func:`Q2_y_from_electron`.

    Example:
        >>> electron = electron_from_Q2_y(torch.tensor(10.425033), torch.tensor(0.35985246), Beams(18.0, 275.0))
        >>> [round(float(value), 3) for value in electron]
        [11.667, 2.918]
    """
    forward, backward = light_cone_energies(Q2, y, beams)
    return ScatteredElectron(forward + backward, 2 * torch.atan2(safe_root(backward), safe_root(forward)))


def Q2_y_from_electron(energy_GeV: Tensor, theta: Tensor, beams: Beams) -> tuple[Tensor, Tensor]:
    r"""The electron method: :math:`Q^2` and y from energy and angle.

    .. math:: Q^2 = 4 E_e E' \cos^2\tfrac\theta2, \qquad y = 1 - \frac{E'}{E_e} \sin^2\tfrac\theta2

    y is the difference of two numbers close to one where it is small: with relative errors :math:`\epsilon` of E' it is good to
    :math:`\epsilon / y`, be the errors those of a calorimeter or of float32.

    References:
        Bassler and Bernardi, hep-ex/9412004, electron method.

    Example:
        >>> energy, theta = torch.tensor(11.667447), torch.tensor(2.9183295)
        >>> [round(float(value), 4) for value in Q2_y_from_electron(energy, theta, Beams(18.0, 275.0))]
        [10.425, 0.3599]
    """
    beam = beams.electron_energy_GeV
    return 4 * beam * energy_GeV * torch.cos(theta / 2).square(), 1 - energy_GeV / beam * torch.sin(theta / 2).square()


def variables_from_electron(energy_GeV: Tensor, theta: Tensor, beams: Beams) -> DisVariables:
    """The electron method for all three invariants; see :func:`Q2_y_from_electron`."""
    Q2, y = Q2_y_from_electron(energy_GeV, theta, beams)
    return DisVariables(x_from_Q2_y(Q2, y, beams.s), Q2, y)


def y_from_hadrons(balance_GeV: Tensor, beams: Beams) -> Tensor:
    r"""The method of Jacquet and Blondel: y from all that is not the scattered electron.

    .. math:: y_h = \frac{\Sigma_h}{2 E_e}, \qquad \Sigma_h = \sum_{i \ne e'} \left(E_i - p_{z,i}\right)

    Particles that escape along the hadron beam hardly contribute to :math:`\Sigma_h`, and unlike in the electron method the relative error
    of y stays finite where y is small.

    Args:
        balance_GeV: :math:`\Sigma_h`, with z along the hadron beam.
        beams: energies of the beams.

    References:
        F. Jacquet and A. Blondel, DESY 79/48 (1979), 391; Bassler and Bernardi, hep-ex/9412004.

    Example:
        >>> y_from_hadrons(torch.tensor(3.6), Beams(18.0, 275.0))
        tensor(0.1000)
    """
    return balance_GeV / (2 * beams.electron_energy_GeV)


def Q2_y_sigma(Q2_electron: Tensor, y_electron: Tensor, y_hadrons: Tensor) -> tuple[Tensor, Tensor]:
    r"""The sigma method, whose y and Q2 do not need the energy of the electron beam; both ``[...]``, Q2 in GeV2.

    .. math::
        y_\Sigma = \frac{\Sigma_h}{\Sigma_h + \Sigma_e} = \frac{y_h}{1 - y_e + y_h}, \qquad
        Q^2_\Sigma = \frac{E'^2 \sin^2\theta}{1 - y_\Sigma} = Q^2_e\, (1 - y_e + y_h), \qquad
        \Sigma_e = E' (1 - \cos\theta) = 2 E_e (1 - y_e)

    Args:
        Q2_electron: :math:`Q^2_e` of the electron method.
        y_electron: :math:`y_e` of the electron method.
        y_hadrons: :math:`y_h`, see :func:`y_from_hadrons`.

    The sum :math:`1 - y_e + y_h`, zero where nothing was seen, is taken as 1e-6 at least.

    References:
        Bassler and Bernardi, hep-ex/9412004, sigma method.

    Example:
        >>> [round(float(value), 3) for value in Q2_y_sigma(torch.tensor(40.0), torch.tensor(0.5), torch.tensor(0.5))]
        [40.0, 0.5]
    """
    total = (1 - y_electron + y_hadrons).clamp(min=_LEAST_BALANCE)
    return Q2_electron * total, y_hadrons / total


def y_e_sigma(y_electron: Tensor, y_hadrons: Tensor) -> Tensor:
    r"""y of the e-sigma method, which takes Q2 from the electron and x from the sigma method.

    .. math:: y_{e\Sigma} = \frac{Q^2_e}{s\, x_\Sigma} = \frac{2 E_e}{\Sigma_h + \Sigma_e}\, y_\Sigma = \frac{y_h}{(1 - y_e + y_h)^2}

    Args:
        y_electron: :math:`y_e` of the electron method.
        y_hadrons: :math:`y_h`, see :func:`y_from_hadrons`.

    Example:
        >>> y_e_sigma(torch.tensor(0.5), torch.tensor(0.5))
        tensor(0.5000)

    References:
        Bassler and Bernardi, hep-ex/9412004, e-sigma method.
    """
    return y_hadrons / (1 - y_electron + y_hadrons).clamp(min=_LEAST_BALANCE).square()


def light_cone_energies(Q2: Tensor, y: Tensor, beams: Beams) -> tuple[Tensor, Tensor]:
    r""":math:`\tfrac12 (E' \pm p'_z)`, the energy of the scattered electron shared out between the two beam directions.

    .. math:: a = E' \cos^2\tfrac\theta2 = \frac{Q^2}{4 E_e}, \qquad b = E' \sin^2\tfrac\theta2 = E_e (1 - y)
    """
    beam = beams.electron_energy_GeV
    return Q2 / (4 * beam), beam * (1 - y)


def safe_root(energy_GeV: Tensor) -> Tensor:
    r"""Square root of an energy, of 1e-12 GeV at least, where the slope ends: gradients stay finite at and beyond the edge of phase space.

    Example:
        >>> safe_root(torch.tensor([4.0, 0.0, -1.0])).tolist()
        [2.0, 9.999999974752427e-07, 9.999999974752427e-07]
    """
    return energy_GeV.clamp(min=1e-12).sqrt()


def jacobian_dx_dQ2_by_dQ2_dy(x: Tensor, y: Tensor) -> Tensor:
    r"""Factor from a density in (x, Q2) to one in (Q2, y).

    .. math:: \frac{d^2\sigma}{dQ^2\,dy} = \frac{x}{y}\, \frac{d^2\sigma}{dx\,dQ^2}
    """
    return x / y


def jacobian_dQ2_dy_by_electron(energy_GeV: Tensor, theta: Tensor) -> Tensor:
    r"""Factor from a density in (Q2, y) to one in energy and angle of the electron.

    .. math:: \frac{d^2\sigma}{dE'\,d\theta} = 2 E' \sin\theta\, \frac{d^2\sigma}{dQ^2\,dy}
    """
    return 2 * energy_GeV * torch.sin(theta)


def jacobian_dx_dQ2_by_electron(energy_GeV: Tensor, theta: Tensor, beams: Beams) -> Tensor:
    r"""Factor from a density in (x, Q2) to one in energy and angle of the electron.

    .. math:: \frac{d^2\sigma}{dE'\,d\theta} = 2 E' \sin\theta\, \frac{x}{y}\, \frac{d^2\sigma}{dx\,dQ^2}
    """
    x, _, y = variables_from_electron(energy_GeV, theta, beams)
    return jacobian_dQ2_dy_by_electron(energy_GeV, theta) * jacobian_dx_dQ2_by_dQ2_dy(x, y)


def is_physical(x: Tensor, Q2: Tensor, y: Tensor) -> Tensor:
    r"""Where :math:`0 < x \le 1`, :math:`Q^2 > 0` and :math:`0 < y < 1`, as booleans."""
    return (x > 0) & (x <= 1) & (Q2 > 0) & (y > 0) & (y < 1)


def check_physical(x: Tensor, Q2: Tensor, y: Tensor) -> None:
    """Raise ParameterError, with the first bad event, unless all events are physical."""
    x, Q2, y = torch.broadcast_tensors(x, Q2, y)
    bad = ~is_physical(x, Q2, y)
    if bool(bad.any()):
        first = {name: float(values[bad][0]) for name, values in (("x", x), ("Q2", Q2), ("y", y))}
        raise ParameterError(
            f"{int(bad.sum())} of {bad.numel()} events lie outside 0 < x <= 1, Q2 > 0, 0 < y < 1, the first has "
            f"{', '.join(f'{name} = {value:g}' for name, value in first.items())}.\n"
            "Check the energies of the beams, or keep the others: events[is_physical(x, Q2, y)]."
        )
