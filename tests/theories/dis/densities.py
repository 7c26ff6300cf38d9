"""Densities with which tables are compared to other programs."""

from __future__ import annotations

import torch
from torch import Tensor

from unscatter.pdfs import FIT_FLAVOURS, read_lhapdf
from unscatter.problems import example_file


def nnpdf31_lo(x: Tensor) -> Tensor:
    """Momentum densities ``[8, points]`` of NNPDF3.1 LO at 1.65 GeV, which the example events were made with."""
    grid = read_lhapdf(example_file("NNPDF31_lo_as_0130_excerpt")).central
    ids = {"g": 21, "d": 1, "u": 2, "s": 3, "dbar": -1, "ubar": -2, "sbar": -3}
    # The grid ends at 0.95; beyond it densities go to zero like (1 - x)^3.
    inside = x.clamp(max=0.95)
    fall = ((1 - x) / (1 - inside)) ** 3
    values = [grid.xf(ids[name], inside, 1.65) if name in ids else 2 * grid.xf(4, inside, 1.65) for name in FIT_FLAVOURS]
    return torch.stack(values) * fall


def smooth_densities(x: Tensor) -> Tensor:
    """Momentum densities ``[8, points]`` like those of a proton, with s unlike anti-s; the stored values were computed for them."""
    u_valence = 3.1 * x**0.7 * (1 - x) ** 3.2 * (1 + 2 * x)
    d_valence = 1.8 * x**0.75 * (1 - x) ** 4.3
    dbar = 0.18 * x**-0.2 * (1 - x) ** 6.5
    ubar = 0.16 * x**-0.2 * (1 - x) ** 7 * (1 + 1.5 * x)
    values = {
        "g": 2.2 * x**-0.15 * (1 - x) ** 5.3,
        "d": d_valence + dbar,
        "u": u_valence + ubar,
        "s": 0.07 * x**-0.2 * (1 - x) ** 6,
        "dbar": dbar,
        "ubar": ubar,
        "sbar": 0.06 * x**-0.2 * (1 - x) ** 7,
        "c+": 0.04 * x**-0.22 * (1 - x) ** 5,
    }
    return torch.stack([values[name] for name in FIT_FLAVOURS])


def les_houches_densities(x: Tensor) -> Tensor:
    """Momentum densities ``[8, points]`` of the benchmark, hep-ph/0204316, eq. (29)."""
    dbar = 0.1939875 * x**-0.1 * (1 - x) ** 6
    ubar = (1 - x) * dbar
    strange = 0.2 * (ubar + dbar)
    values = {
        "g": 1.7 * x**-0.1 * (1 - x) ** 5,
        "d": 3.06432 * x**0.8 * (1 - x) ** 4 + dbar,
        "u": 5.1072 * x**0.8 * (1 - x) ** 3 + ubar,
        "s": strange,
        "dbar": dbar,
        "ubar": ubar,
        "sbar": strange,
        "c+": torch.zeros_like(x),
    }
    return torch.stack([values[name] for name in FIT_FLAVOURS])
