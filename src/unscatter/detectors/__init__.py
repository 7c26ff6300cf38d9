"""Detectors: what happens between true and measured events, differentiable throughout.

A detector is a chain of stages; any object with ``noise_columns``, ``nuisances`` and a call fits in, see :class:`DetectorStage`.
"""

from unscatter.detectors.background import Background, BackgroundSource, DensitySource, EventPool
from unscatter.detectors.chain import Detector, PerChannel
from unscatter.detectors.cuts import Cuts
from unscatter.detectors.efficiency import Acceptance, Efficiency, LinearTable
from unscatter.detectors.electron import ELECTRON_COLUMNS, DisKinematics, ElectronReconstruction
from unscatter.detectors.electron_presets import PRESETS, Ranges, electron_acceptance, electron_detector, electron_efficiency
from unscatter.detectors.hadrons import HADRON_COLUMN, RECONSTRUCTIONS, Hadrons, Reconstruction
from unscatter.detectors.photoproduction import PhotoproductionSource, photoproduction_background
from unscatter.detectors.protocol import CheckedStage, ColumnStage, DetectorStage, GrowingStage, MovableStage
from unscatter.detectors.resolution import Resolution
from unscatter.detectors.smearing import EventFunction, Smearing, UserSmearing, standard_normals
from unscatter.detectors.unweighting import unweight

__all__ = [
    "ELECTRON_COLUMNS",
    "HADRON_COLUMN",
    "PRESETS",
    "RECONSTRUCTIONS",
    "Acceptance",
    "Background",
    "BackgroundSource",
    "CheckedStage",
    "ColumnStage",
    "Cuts",
    "DensitySource",
    "Detector",
    "DetectorStage",
    "DisKinematics",
    "Efficiency",
    "ElectronReconstruction",
    "EventFunction",
    "EventPool",
    "GrowingStage",
    "Hadrons",
    "LinearTable",
    "MovableStage",
    "PerChannel",
    "PhotoproductionSource",
    "Ranges",
    "Reconstruction",
    "Resolution",
    "Smearing",
    "UserSmearing",
    "electron_acceptance",
    "electron_detector",
    "electron_efficiency",
    "photoproduction_background",
    "standard_normals",
    "unweight",
]
