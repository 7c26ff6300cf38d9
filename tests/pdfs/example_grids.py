"""A set of parton densities in closed form, for tests of grids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unscatter.pdfs.grid import AlphaS, PdfGrid
from unscatter.pdfs.pdf_set import PdfInfo, PdfSet

PARTONS = (-2, -1, 21, 1, 2)
#: Regions between thresholds: one of two nodes only, then one of four and one of five.
REGIONS = ((1.3, 1.51), (1.51, 2.0, 3.0, 4.92), (4.92, 8.0, 20.0, 91.1876, 1000.0))
POWERS = torch.tensor([[-0.15, 7.0], [-0.15, 7.0], [-0.2, 5.0], [0.6, 4.5], [0.6, 3.5]], dtype=torch.float64)


def x_nodes() -> Tensor:
    return torch.cat([torch.logspace(-5, -1, 13, dtype=torch.float64), torch.linspace(0.2, 1, 9, dtype=torch.float64)])


def densities(x: Tensor, Q: Tensor) -> Tensor:
    """``[parton, x, Q]``."""
    shape = x ** POWERS[:, :1] * (1 - x) ** POWERS[:, 1:]
    scale = torch.log(Q**2 / 0.04)
    return shape[:, :, None] * (x[:, None] ** (0.1 * (1.5 - torch.log(scale))))[None]


def member(stretch: float = 1.0, step: float = 0.1, regions: Sequence[Sequence[float]] = REGIONS) -> PdfGrid:
    """Densities times ``stretch``, with a relative ``step`` from each region to the next."""
    x, Q = x_nodes(), [torch.tensor(nodes, dtype=torch.float64) for nodes in regions]
    values = torch.cat([stretch * (1 + step * region) * densities(x, nodes) for region, nodes in enumerate(Q)], -1)
    return PdfGrid(x, torch.cat(Q), PARTONS, values)


def alpha_s() -> AlphaS:
    regions = [torch.tensor(nodes, dtype=torch.float64) for nodes in REGIONS[1:]]
    return AlphaS(
        torch.cat(regions), torch.cat([12.566 / (b * torch.log(Q**2 / 0.04)) for b, Q in zip((8.33, 7.67), regions, strict=True)])
    )


def pdf_set() -> PdfSet:
    info = PdfInfo(description='An "example": closed form', authors="nobody", alpha_s=alpha_s(), set_index=7, further={"Note": "kept"})
    return PdfSet.from_replicas(info, [member(0.9), member(1.1)])
