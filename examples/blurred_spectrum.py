"""A problem outside of nuclear theory: a gamma line on a falling continuum, seen through a blurring detector.

The true spectrum is what a source emits; the detector blurs it, misses soft photons, and adds a flat background.  Wanted are position,
width and share of the line and the slope of the continuum *before* the detector, which is known as unfolding or deconvolution.
"""

from __future__ import annotations

import math

import torch

from unscatter import (
    Background,
    Cuts,
    Detector,
    Efficiency,
    Events,
    FunctionTheory,
    Grid,
    ParameterSpace,
    Pipeline,
    Problem,
    Smearing,
)  # fmt: skip

LOW_KEV, HIGH_KEV = 100.0, 1500.0


def spectrum(physics_params: torch.Tensor, energy_keV: torch.Tensor) -> torch.Tensor:
    """Emitted photons per keV, normalised to one: a Gaussian line and an exponential continuum."""
    position, width, share, slope = physics_params
    line = torch.exp(-0.5 * ((energy_keV - position) / width) ** 2) / (width * math.sqrt(2 * math.pi))
    continuum = torch.exp(-(energy_keV - LOW_KEV) / slope) / slope
    return share * line + (1 - share) * continuum


def make_problem(nodes: int = 257, background: float = 0.1) -> Problem:
    """The spectrum behind a scintillator whose resolution is 60 keV at 662 keV."""
    grid = Grid.from_axes({"energy_keV": torch.linspace(LOW_KEV, HIGH_KEV, nodes, dtype=torch.float64)})
    flat = Events(torch.linspace(0.0, 1600.0, 4001)[:, None], ("energy_keV",))
    detector = Detector(
        (
            Smearing("energy_keV", function=lambda event: 2.33 * event["energy_keV"].clamp(min=0).sqrt()),
            Efficiency.tabulated("energy_keV", nodes=[200.0, 400.0, 1300.0], values=[0.4, 0.9, 0.7]),
            Background(background, events=flat),
            Cuts({"energy_keV": (250.0, 1300.0)}),
        )
    )
    space = ParameterSpace.from_ranges(
        {"position_keV": (550.0, 800.0), "width_keV": (10.0, 100.0), "share": (0.0, 0.8), "slope_keV": (100.0, 1000.0)}
    )
    return Problem(
        name="blurred-spectrum",
        space=space,
        pipeline=Pipeline(FunctionTheory(spectrum, grid, parameter_shape=(4,)), detector),
        truth=(662.0, 30.0, 0.3, 350.0),
        start=(680.0, 50.0, 0.2, 500.0),
        description="a gamma line on a continuum, unfolded from what a scintillator sees",
    )
