r"""Fake electrons: the background of photoproduction to deep-inelastic events."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from unscatter.detectors.background import Background
from unscatter.detectors.efficiency import check_range
from unscatter.detectors.electron import ELECTRON_COLUMNS, MeasuredElectron, measured_columns, with_hadrons
from unscatter.detectors.hadrons import HADRON_COLUMN, Hadrons
from unscatter.detectors.resolution import Resolution
from unscatter.detectors.smearing import standard_normals
from unscatter.errors import ParameterError, SettingsError
from unscatter.physics.dis_kinematics import Beams, Q2_y_from_electron


@dataclass(frozen=True)
class PhotoproductionSource:
    r"""Fake electrons: hadrons of photoproduction, the scattered electron itself being lost in the beam pipe.

    Illustrative: energies fall exponentially and directions are uniform in pseudorapidity, which puts the fakes at high y, where
    experiments see them.

    .. math:: \rho(E, \eta) = \frac{e^{-E / E_0}}{E_0 (e^{-E_\text{low} / E_0} - e^{-E_\text{high} / E_0})}\,
        \frac{1}{\eta_\text{high} - \eta_\text{low}}, \qquad \eta = -\ln \tan\tfrac\theta2

    Where hadrons are measured too, the photon has a share :math:`y_\gamma` of the electron's energy, distributed as
    :math:`1 / y_\gamma` from the share of the fake to 1, and what the fake leaves of it is that of the others,

    .. math:: y_h = y_\gamma - y_f, \qquad y_f = \min\left(1, \frac{E}{2 E_e} (1 - \cos\theta)\right)

    Args:
        beams: energies of the beams, for the electron method.
        slope_GeV: :math:`E_0`.
        energy_range_GeV: lowest and highest energy.
        pseudorapidity_range: negative values are the side of the electron beam.
        hadrons: how they are measured and used; not at all when None.
        energy_resolution: relative, of electrons; needed where hadrons are measured, since a mean of both goes by it.

    Raises:
        ParameterError: the slope or an energy is not positive, or a range is upside down.
        SettingsError: hadrons without the resolution of electrons.
    """

    beams: Beams
    _: KW_ONLY
    slope_GeV: float = 2.0
    energy_range_GeV: tuple[float, float] = (1.0, 10.0)
    pseudorapidity_range: tuple[float, float] = (-2.5, -0.5)
    hadrons: Hadrons | None = None
    energy_resolution: Resolution | None = None

    def __post_init__(self) -> None:
        if not self.slope_GeV > 0 or not self.energy_range_GeV[0] > 0:
            raise ParameterError(
                f"energies of fake electrons must be positive, got 'slope_GeV' = {self.slope_GeV:g} "
                f"and 'energy_range_GeV' = {self.energy_range_GeV}."
            )
        if self.hadrons is not None and self.energy_resolution is None:
            raise SettingsError(
                "fake electrons with hadrons need the resolution of electrons: PhotoproductionSource(..., "
                "energy_resolution=Resolution(constant=0.01)), or Resolution() for an exact one."
            )
        check_range("'energy_range_GeV'", *self.energy_range_GeV)
        check_range("'pseudorapidity_range'", *self.pseudorapidity_range)

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of reconstructed events."""
        return ELECTRON_COLUMNS if self.hadrons is None else (*ELECTRON_COLUMNS, HADRON_COLUMN)

    @property
    def dimensions(self) -> int:
        """Uniform numbers per event: energy, angle and, where hadrons are measured, the photon's energy and the hadrons' resolution."""
        return 2 if self.hadrons is None else 4

    def __call__(self, uniforms: Tensor) -> Tensor:
        """Map ``[..., dimensions]`` to events ``[..., columns]`` by inverse distribution functions."""
        (lowest, highest), (eta_low, eta_high) = self.energy_range_GeV, self.pseudorapidity_range
        inside = -math.expm1(-(highest - lowest) / self.slope_GeV)
        energy = lowest - self.slope_GeV * torch.log1p(-inside * uniforms[..., 0])
        theta = 2 * torch.atan(torch.exp(-(eta_low + (eta_high - eta_low) * uniforms[..., 1])))
        electron = MeasuredElectron(*Q2_y_from_electron(energy, theta, self.beams), energy, theta)
        if self.hadrons is None or self.energy_resolution is None:
            measured = measured_columns(*electron, self.beams)
        else:
            own = (1 - electron.y).clamp(min=0, max=1)
            others = own ** (1 - uniforms[..., 2]) - own
            hadron_y = self.hadrons.measured_y(others, standard_normals(uniforms[..., 3]), self.beams)
            measured = with_hadrons(electron, hadron_y, self.hadrons, self.energy_resolution, self.beams)
        return torch.stack([measured[name] for name in self.columns], -1)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> PhotoproductionSource:
        """The source itself, which holds no tensors."""
        return self


def photoproduction_background(
    fraction: float | str, source: PhotoproductionSource, *, events_per_signal: float | None = None
) -> Background:
    """Fake electrons among the signal, see :class:`PhotoproductionSource`.

    The stage stands behind the reconstruction and in front of the cuts, so ``fraction`` is the share before the cuts.

    Args:
        fraction: a number in [0, 1), or the name of the nuisance parameter that is fitted.
        source: where the fakes come from.
        events_per_signal: see :class:`~unscatter.detectors.Background`.

    Example:
        >>> photoproduction_background("f_photo", PhotoproductionSource(Beams(18.0, 275.0))).nuisances
        ('f_photo',)
    """
    return Background(fraction, events=source, events_per_signal=events_per_signal)
