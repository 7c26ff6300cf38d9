r"""What the hadrons of deep-inelastic events tell of y, and how it goes together with the scattered electron."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from unscatter.detectors.resolution import Resolution
from unscatter.errors import SettingsError
from unscatter.files import did_you_mean
from unscatter.physics.dis_kinematics import Beams, Q2_y_sigma, y_e_sigma, y_from_hadrons

#: Column of y as the hadrons alone have it.
HADRON_COLUMN = "hadron_y"
#: How x, Q2 and y are made of what is measured.
Reconstruction = Literal["electron", "mixed", "sigma", "e-sigma", "average"]
#: Names of the methods.
RECONSTRUCTIONS: tuple[str, ...] = get_args(Reconstruction)


@dataclass(frozen=True)
class Hadrons:
    r"""A measurement of the balance :math:`\Sigma_h = \sum (E - p_z)` of all hadrons, and the method that uses it.

    .. math:: \Sigma_h'' = \max\left(0,\ \Sigma_h (1 + \sigma_h(\Sigma_h)\, z)\right), \qquad \Sigma_h = 2 E_e\, y

    The relative error of y from the electron grows as :math:`1 / y`, and that of :math:`x = Q^2 / (s y)` with it; from the hadrons it does
    not.  With :math:`y_e, Q^2_e` of the electron method and :math:`y_h = \Sigma_h'' / 2 E_e` the methods are

    ============  ==============================================================  ===============================
    method        y                                                               Q2
    ============  ==============================================================  ===============================
    ``electron``  :math:`y_e`                                                     :math:`Q^2_e`
    ``mixed``     :math:`y_h`                                                     :math:`Q^2_e`
    ``sigma``     :math:`y_h / (1 - y_e + y_h)`                                   :math:`Q^2_e (1 - y_e + y_h)`
    ``e-sigma``   :math:`y_h / (1 - y_e + y_h)^2`                                 :math:`Q^2_e`
    ``average``   mean of :math:`y_e` and :math:`y_h`, weights inverse variances  :math:`Q^2_e`
    ============  ==============================================================  ===============================

    The variances of ``average`` are :math:`\left(\sigma_E(E'') (1 - y_e)\right)^2`, without what the angle adds, and
    :math:`\left(\sigma_h(2 E_e y_m)\, y_m\right)^2` at the larger one of both, :math:`y_m = \max(y_e, y_h)`: hadrons that were not seen
    would otherwise pass for an exact measurement of nothing.

    Args:
        resolution: relative width :math:`\sigma_h` as a function of the balance in GeV.
        method: how x, Q2 and y of the event are made.

    Raises:
        SettingsError: an unknown method.

    References:
        Bassler and Bernardi, hep-ex/9412004, for the methods but ``average``, which is the mean of two independent measurements.

    Example:
        >>> hadrons = Hadrons(Resolution(stochastic=0.2, constant=0.08, noise=0.05), method="e-sigma")
        >>> hadrons.measured_y(torch.tensor([0.1]), torch.tensor([1.0]), Beams(18.0, 275.0))
        tensor([0.1133])
    """

    resolution: Resolution
    _: KW_ONLY
    method: str = "average"

    def __post_init__(self) -> None:
        if self.method not in RECONSTRUCTIONS:
            near = did_you_mean(self.method, RECONSTRUCTIONS)
            raise SettingsError(f"'method' of Hadrons must be one of {', '.join(RECONSTRUCTIONS)}, got '{self.method}'.{near}")

    def measured_y(self, y: Tensor, normals: Tensor, beams: Beams) -> Tensor:
        """y of the hadrons alone, from the true one and one standard normal number per event."""
        balance = 2 * beams.electron_energy_GeV * y
        return y_from_hadrons(balance + self.resolution.absolute(balance) * normals, beams).clamp(min=0)

    def reconstruct(self, Q2: Tensor, y: Tensor, hadron_y: Tensor, electron_width: Tensor, beams: Beams) -> tuple[Tensor, Tensor]:
        """Q2 and y of the event, ``[..., num_events]`` each.

        Args:
            Q2: of the electron method, in GeV2.
            y: of the electron method.
            hadron_y: of the hadrons alone.
            electron_width: relative width of the measured energy of the electron.
            beams: energies of the beams.
        """
        match self.method:
            case "electron":
                return Q2, y
            case "mixed":
                return Q2, hadron_y
            case "sigma":
                return Q2_y_sigma(Q2, y, hadron_y)
            case "e-sigma":
                return Q2, y_e_sigma(y, hadron_y)
            case _:
                largest = torch.maximum(y, hadron_y)
                hadron_width = self.resolution.absolute(2 * beams.electron_energy_GeV * largest) / (2 * beams.electron_energy_GeV)
                return Q2, _mean(y, electron_width * (1 - y), hadron_y, hadron_width)


def _mean(one: Tensor, one_width: Tensor, other: Tensor, other_width: Tensor) -> Tensor:
    """Mean of two measurements with inverse variances as weights; the first one where both are exact."""
    total = one_width.square() + other_width.square()
    share = torch.where(total > 0, one_width.square() / torch.where(total > 0, total, 1.0), 0.0)
    return one + share * (other - one)
