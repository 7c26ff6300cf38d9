"""Channels: measured sets of deep-inelastic events, and the linear operator of their cross section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from unscatter.errors import SettingsError
from unscatter.pdfs import TARGETS
from unscatter.physics.dis_cross_sections import EXCHANGES, LEPTONS, cc_coefficients, cc_prefactor, nc_coefficients, nc_prefactor
from unscatter.physics.dis_kinematics import Beams, jacobian_dx_dQ2_by_dQ2_dy, x_from_Q2_y
from unscatter.theories.dis.tables import DisTables


@dataclass(frozen=True, kw_only=True)
class DisChannel:
    """One measured set of events.

    Raises:
        SettingsError: an unknown target, lepton, current or exchange, or a luminosity that is not positive.

    Example:
        >>> DisChannel(name="proton", target="proton", beams=Beams(18.0, 275.0), luminosity_inv_pb=4.1).beams.s
        19800.0
    """

    name: str
    """Name of the channel."""
    target: str
    """``proton``, ``neutron`` or ``deuteron``, the latter per nucleon."""
    beams: Beams
    """Energies of lepton and nucleon; a charged-current event has the same variables, found from the hadrons."""
    luminosity_inv_pb: float
    """Integrated luminosity in 1/pb, per nucleon."""
    lepton: str = "e-"
    """``e-`` or ``e+``."""
    current: Literal["NC", "CC"] = "NC"
    """Neutral or charged current."""
    exchange: str = "photon+Z"
    """Neutral current only: ``photon`` or ``photon+Z``."""
    polarisation: float = 0.0
    """Longitudinal polarisation of the lepton beam."""

    def __post_init__(self) -> None:
        allowed = {"target": TARGETS, "lepton": tuple(LEPTONS), "current": ("NC", "CC"), "exchange": EXCHANGES}
        for key, values in allowed.items():
            if getattr(self, key) not in values:
                raise SettingsError(f"'{key}' of channel '{self.name}' must be one of {list(values)}, got '{getattr(self, key)}'.")
        if not 0 < self.luminosity_inv_pb < float("inf"):
            raise SettingsError(
                f"the luminosity of channel '{self.name}' must be a positive number of 1/pb, got {self.luminosity_inv_pb:g}."
            )


def cross_section_operator(channel: DisChannel, tables: DisTables, Q2: Tensor, y: Tensor) -> Tensor:
    r"""Linear operator of :math:`d^2\sigma / dQ^2\,dy` in pb/GeV2 on the densities at the starting scale.

    Args:
        channel: the process.
        tables: structure functions.
        Q2: in GeV2, ``[points]``.
        y: ``[points]``.

    Returns:
        ``[points, 8, x nodes]``, float64; zero where x would exceed one.

    Raises:
        TableError: points outside the tables.

    References:
        Karlberg, arXiv:2401.16964, eqs. 6 and 9 by x and Q2, and section 2.1 for the factor :math:`x / y` from there to Q2 and y.
    """
    x = x_from_Q2_y(Q2, y, channel.beams.s)
    inside = x < 1
    result = Q2.new_zeros(len(Q2), 8, len(tables.x_nodes))
    x, Q2, y = x[inside], Q2[inside], y[inside]
    scale, coefficients = _cross_section(channel, tables, x, Q2, y)
    scale = scale * jacobian_dx_dQ2_by_dQ2_dy(x, y)
    result[inside] = scale[:, None, None] * tables.combination(coefficients, x, Q2, channel.target)
    return result


def _cross_section(channel: DisChannel, tables: DisTables, x: Tensor, Q2: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Prefactor and coefficients of the structure functions in the cross section by x and Q2."""
    settings = tables.settings
    if channel.current == "CC":
        coefficients = cc_coefficients(y, lepton=channel.lepton, polarisation=channel.polarisation)
        return cc_prefactor(x, Q2, MW_GeV=settings.MW_GeV), coefficients
    coefficients = nc_coefficients(
        Q2,
        y,
        lepton=channel.lepton,
        polarisation=channel.polarisation,
        exchange=channel.exchange,
        sin2_theta_W=settings.sin2_theta_W,
        MZ_GeV=settings.MZ_GeV,
    )
    return nc_prefactor(x, Q2), coefficients
