r"""Widths of measurements as functions of energy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unscatter.errors import ParameterError

#: Below this energy in GeV resolutions stay what they are here.
_LOWEST_ENERGY = 1e-3


@dataclass(frozen=True)
class Resolution:
    r"""How the width of a measurement depends on an energy.

    .. math:: \sigma(E) = \frac{a}{\sqrt{E / \mathrm{GeV}}} \oplus b \oplus \frac{c}{E / \mathrm{GeV}},
        \qquad p \oplus q = \sqrt{p^2 + q^2}

    Args:
        stochastic: :math:`a`; shower fluctuations.
        constant: :math:`b`; calibration, or the granularity of a position measurement.
        noise: :math:`c`; electronics, or multiple scattering of a track.

    Raises:
        ParameterError: a term is negative.

    References:
        Particle Data Group, Review of Particle Physics, section "Particle Detectors at Accelerators", resolution of electromagnetic
        calorimeters.

    Example:
        >>> Resolution(stochastic=0.10, constant=0.01)(torch.tensor([1.0, 25.0]))
        tensor([0.1005, 0.0224])
    """

    stochastic: float = 0.0
    constant: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("stochastic", self.stochastic), ("constant", self.constant), ("noise", self.noise)):
            if not 0 <= value < math.inf:
                raise ParameterError(f"'{name}' of a Resolution must not be negative, got {value:g}. Two per cent are 0.02.")

    def __call__(self, energy_GeV: Tensor) -> Tensor:
        """Width at the energies, of their shape."""
        if not (self.stochastic or self.noise):
            return torch.full_like(energy_GeV, self.constant)
        energy = energy_GeV.clamp(min=_LOWEST_ENERGY)
        return (self.stochastic**2 / energy + self.constant**2 + (self.noise / energy).square()).sqrt()

    def absolute(self, energy_GeV: Tensor) -> Tensor:
        """Width in GeV at the energies; the noise is there even where nothing else is."""
        energy = energy_GeV.clamp(min=_LOWEST_ENERGY)
        return self(energy) * energy
