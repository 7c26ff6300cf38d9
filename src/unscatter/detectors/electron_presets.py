r"""Acceptance and efficiency for electrons, and ready-made electron detectors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unscatter.detectors.chain import Detector
from unscatter.detectors.cuts import Cuts
from unscatter.detectors.efficiency import Acceptance, Efficiency, check_range
from unscatter.detectors.electron import ELECTRON_COLUMNS, DisKinematics, ElectronReconstruction
from unscatter.detectors.hadrons import HADRON_COLUMN, RECONSTRUCTIONS, Hadrons
from unscatter.detectors.photoproduction import PhotoproductionSource, photoproduction_background
from unscatter.detectors.protocol import DetectorStage
from unscatter.detectors.resolution import Resolution
from unscatter.errors import ParameterError, SettingsError
from unscatter.files import did_you_mean
from unscatter.physics.dis_kinematics import Beams

#: Ranges of columns, None for an open end.
Ranges = Mapping[str, tuple[float | None, float | None]]
#: Where phase space ends above an upper cut.
_UPPER_LIMITS: Mapping[str, float] = {"y": 1.0, "electron_theta": math.pi}


def electron_acceptance(
    ranges: Ranges, *, turn_on: Mapping[str, float] | None = None, edge_width: float = 0.2
) -> tuple[DetectorStage, ...]:
    r"""Stages that keep electrons inside ranges of measured columns.

    The gradient of a hard cut needs a width, see :class:`~unscatter.detectors.Cuts`.  Columns here have long tails, so it follows from the
    edge and not from the spread of the column: it is ``edge_width`` times the edge or, for upper edges of ``y`` and ``electron_theta``,
    times the distance from the end of phase space, 1 and :math:`\pi`.

    Args:
        ranges: ``{column: (low, high)}``, None for an open end.
        turn_on: ``{column: width}`` for columns where the acceptance rises and falls smoothly, in the unit of the column; the others have
            hard edges.
        edge_width: relative half-width of the kernel in the backward pass of hard edges.

    Returns:
        Stages in the order in which they act; none for no ranges.

    Raises:
        SettingsError: a range has no end, or ``turn_on`` names a column without a range.
        ParameterError: a range is upside down or a width is not positive.

    Example:
        >>> stages = electron_acceptance({"y": (0.01, 0.95), "electron_energy": (2.0, None)}, turn_on={"electron_energy": 0.3})
        >>> [str(stage) for stage in stages]
        ["Acceptance('electron_energy')", "Cuts(['y'])", "Cuts(['y'])"]
    """
    turn_on = turn_on or {}
    if unused := set(turn_on) - set(ranges):
        raise SettingsError(f"'turn_on' names {sorted(unused)}, but there are ranges of {list(ranges)} only.")
    for name, ends in ranges.items():
        check_range(f"'{name}'", *ends)
    smooth = [Acceptance(name, low=ranges[name][0], high=ranges[name][1], width=width) for name, width in turn_on.items()]
    hard = {name: ends for name, ends in ranges.items() if name not in turn_on}
    # The two ends of a column need different widths, hence two stages.
    lows = {name: (low, None) for name, (low, _) in hard.items() if low is not None}
    highs = {name: (None, high) for name, (_, high) in hard.items() if high is not None}
    low_scales = {name: low for name, (low, _) in lows.items()}
    high_scales = {name: _distance_from_end(name, high) for name, (_, high) in highs.items()}
    edges = [(lows, low_scales), (highs, high_scales)]
    return (*smooth, *(Cuts(ends, width=_widths(scales, edge_width)) for ends, scales in edges if ends))


def _distance_from_end(name: str, high: float) -> float:
    limit = _UPPER_LIMITS.get(name, math.inf)
    return limit - high if high < limit < math.inf else high


def _widths(scales: Mapping[str, float], edge_width: float) -> dict[str, float]:
    """Edges at zero have no scale of their own and keep the width that Cuts finds."""
    return {name: edge_width * abs(scale) for name, scale in scales.items() if scale != 0}


@dataclass(frozen=True)
class EnergyTurnOn:
    r"""Efficiency to find an electron, rising with its energy: :math:`\varepsilon(E) = p\, \Phi\big((E - E_0) / w\big)`.

    Args:
        plateau: :math:`p`, in (0, 1].
        threshold_GeV: :math:`E_0`, where half of the plateau is reached.
        width_GeV: :math:`w`.

    Raises:
        ParameterError: the plateau is not a probability, or the width is not positive.
    """

    plateau: float
    threshold_GeV: float
    width_GeV: float

    def __post_init__(self) -> None:
        if not 0 < self.plateau <= 1:
            raise ParameterError(f"'plateau' of an efficiency must lie in (0, 1], got {self.plateau:g}.")
        if not self.width_GeV > 0:
            raise ParameterError(f"'width_GeV' of an efficiency must be positive, got {self.width_GeV:g}.")

    def __call__(self, event: Mapping[str, Tensor]) -> Tensor:
        """The efficiency, ``[..., num_events]``."""
        return self.plateau * torch.special.ndtr((event["electron_energy"] - self.threshold_GeV) / self.width_GeV)


def electron_efficiency(*, plateau: float, threshold_GeV: float, width_GeV: float) -> Efficiency:
    """Efficiency as a function of the measured energy, see :class:`EnergyTurnOn`.

    Example:
        >>> from unscatter.arrays import Events
        >>> stage = electron_efficiency(plateau=0.9, threshold_GeV=3.0, width_GeV=0.5)
        >>> stage(Events(torch.tensor([[[3.0], [20.0]]]), ("electron_energy",)), torch.empty(1, 2, 0), {}).weights
        tensor([[0.4500, 0.9000]])
    """
    return Efficiency(EnergyTurnOn(plateau, threshold_GeV, width_GeV))


@dataclass(frozen=True, kw_only=True)
class ElectronPreset:
    """The numbers of an electron detector; see :func:`electron_detector`."""

    energy_resolution: Resolution
    """Relative."""
    angle_resolution: Resolution
    """In radian."""
    hadron_resolution: Resolution
    """Of the balance E - p_z, relative."""
    efficiency: EnergyTurnOn
    """To find the electron."""
    ranges: Ranges
    """What is kept, in measured columns."""


#: Presets of :func:`electron_detector` other than ``ideal``.
PRESETS: Mapping[str, ElectronPreset] = {
    "eic-like": ElectronPreset(
        energy_resolution=Resolution(stochastic=0.02, constant=0.01),
        angle_resolution=Resolution(constant=1e-3, noise=1e-3),
        hadron_resolution=Resolution(stochastic=0.2, constant=0.08, noise=0.05),
        efficiency=EnergyTurnOn(plateau=0.97, threshold_GeV=1.5, width_GeV=0.5),
        ranges={"electron_energy": (2.0, None), "electron_theta": (None, 3.08), "y": (0.01, 0.95), "W2": (10.0, None), "x": (None, 1.0)},
    ),
    "hera-like": ElectronPreset(
        energy_resolution=Resolution(stochastic=0.12, constant=0.01),
        angle_resolution=Resolution(constant=2e-3),
        hadron_resolution=Resolution(stochastic=0.35, constant=0.08, noise=0.1),
        efficiency=EnergyTurnOn(plateau=0.98, threshold_GeV=6.0, width_GeV=1.5),
        ranges={"electron_energy": (8.0, None), "electron_theta": (None, 3.09), "y": (0.01, 0.9), "W2": (10.0, None), "x": (None, 1.0)},
    ),
}


def electron_detector(
    preset: str, beams: Beams, *, ranges: Ranges | None = None, background: float | str | None = None, reconstruction: str = "electron"
) -> Detector:
    r"""A ready-made detector for deep-inelastic events, from ``("Q2", "y")`` to :data:`ELECTRON_COLUMNS`.

    ===============  ============================================  ==================================  ==============================
    preset           relative energy resolution (E in GeV)         angle, in radian                    efficiency
    ===============  ============================================  ==================================  ==============================
    ``ideal``        none                                          none                                1
    ``eic-like``     :math:`2\%/\sqrt{E} \oplus 1\%`               0.001 :math:`\oplus` 0.001 / E      0.97, half at 1.5, width 0.5 GeV
    ``hera-like``    :math:`12\%/\sqrt{E} \oplus 1\%`              0.002                               0.98, half at 6, width 1.5 GeV
    ===============  ============================================  ==================================  ==============================

    ===============  ===========================================================================================================
    preset           relative resolution of the hadrons' :math:`\Sigma_h = \sum (E - p_z)` in GeV
    ===============  ===========================================================================================================
    ``ideal``        none
    ``eic-like``     :math:`20\%/\sqrt{\Sigma_h} \oplus 8\% \oplus 0.05/\Sigma_h`: 13 % at y = 0.1 of an electron of 18 GeV, 37 % at 0.01
    ``hera-like``    :math:`35\%/\sqrt{\Sigma_h} \oplus 8\% \oplus 0.1/\Sigma_h`: 17 % at y = 0.1 of an electron of 27.5 GeV, 51 % at 0.01
    ===============  ===========================================================================================================

    Kept are, in measured columns, with ``eic-like`` E > 2 GeV, :math:`\theta` < 3.08 (pseudorapidity > -3.5), 0.01 < y < 0.95,
    W2 > 10 GeV2, x < 1; with ``hera-like`` E > 8 GeV, :math:`\theta` < 3.09 (177 degrees), 0.01 < y < 0.9, W2 > 10 GeV2, x < 1; with
    ``ideal`` everything.  Migrations across the ends of the theory's grid are not modelled: when the grid begins at Q2 = 10 GeV2, cut a few
    widths above, for instance ``ranges={"Q2": (12.0, None)}``.

    All numbers are **illustrative**, of the right order of magnitude for these experiments and the same in all directions, which no real
    detector is; those of the hadrons most of all.

    Args:
        preset: ``ideal``, ``eic-like`` or ``hera-like``.
        beams: energies of the beams.
        ranges: further ranges of measured columns, or others than the preset has; ``(None, None)`` removes one.
        background: fraction of fake electrons before the cuts, or the name of the nuisance parameter for it; None for none.
        reconstruction: how x, Q2 and y are made of electron and hadrons, see :class:`~unscatter.detectors.Hadrons`; measured events must
            have been reconstructed in the same way.  With ``electron`` the hadrons are not measured at all, with the others there is a
            column :data:`~unscatter.detectors.HADRON_COLUMN`.

    Raises:
        SettingsError: an unknown preset or reconstruction, or a range of the hadrons where they are not measured.

    References:
        R. Abdul Khalek et al., EIC Yellow Report, arXiv:2103.05419, requirements for the electron endcap: 2%/sqrt(E) with a constant term
        of 1 to 3 %; inclusive studies with 0.01 < y < 0.95 and W2 > 10 GeV2.
        H1, Nucl. Instrum. Meth. A 386 (1997) 310, and hep-ex/0304003: 7 to 12 %/sqrt(E) with 1 %, angles to 1 to 3 mrad;
        ZEUS, hep-ex/0105090: 18 %/sqrt(E).

    Example:
        >>> detector = electron_detector("eic-like", Beams(18.0, 275.0), ranges={"Q2": (12.0, None)})
        >>> detector.columns_out(("Q2", "y"))
        ('x', 'Q2', 'y', 'electron_energy', 'electron_theta', 'W2')
    """
    known = ["ideal", *PRESETS]
    if preset not in known:
        raise SettingsError(f"'preset' must be one of {', '.join(known)}, got '{preset}'.{did_you_mean(preset, known)}")
    if reconstruction not in RECONSTRUCTIONS:
        raise SettingsError(
            f"'reconstruction' must be one of {', '.join(RECONSTRUCTIONS)}, got '{reconstruction}'."
            f"{did_you_mean(reconstruction, RECONSTRUCTIONS)}"
        )
    numbers = PRESETS.get(preset)
    merged = {**(numbers.ranges if numbers else {}), **(ranges or {})}
    kept = {name: ends for name, ends in merged.items() if ends != (None, None)}
    if reconstruction == "electron" and HADRON_COLUMN in kept:
        raise SettingsError(f"there is a range of '{HADRON_COLUMN}', but the electron alone is measured: give reconstruction='average'.")
    exact = Resolution()
    energy, balance = (exact, exact) if numbers is None else (numbers.energy_resolution, numbers.hadron_resolution)
    hadrons = None if reconstruction == "electron" else Hadrons(balance, method=reconstruction)
    source = PhotoproductionSource(beams, hadrons=hadrons, energy_resolution=energy)
    fakes = () if background is None else (photoproduction_background(background, source),)
    return Detector((*_electron_stages(numbers, hadrons, beams), *fakes, *electron_acceptance(kept)))


def _electron_stages(numbers: ElectronPreset | None, hadrons: Hadrons | None, beams: Beams) -> tuple[DetectorStage, ...]:
    if numbers is None:
        columns = ELECTRON_COLUMNS if hadrons is None else (*ELECTRON_COLUMNS, HADRON_COLUMN)
        return (DisKinematics(beams, adds=tuple(name for name in columns if name not in ("Q2", "y"))),)
    reconstruction = ElectronReconstruction(
        beams, energy_resolution=numbers.energy_resolution, angle_resolution=numbers.angle_resolution, hadrons=hadrons
    )
    return reconstruction, Efficiency(numbers.efficiency)
