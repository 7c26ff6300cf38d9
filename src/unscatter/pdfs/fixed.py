"""Densities that are known: those of a grid at one scale, in the place of a parametrisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unscatter.errors import PdfGridError
from unscatter.pdfs.grid import PdfGrid

#: Partons of each density of a fit, in the order of ``FIT_FLAVOURS``; more than one are added up.
_PARTONS = ((21,), (1,), (2,), (3,), (-1,), (-2,), (-3,), (4, -4))
#: A set without these has none of them; it must have all others.
_OPTIONAL = (4, -4)
#: A grid that ends this close to x = 1 is continued there, where densities are tiny.
_CONTINUED_FROM = 0.9
#: How densities fall there, as the interpolation of theory tables has it.
_POWER = 2
#: Rounding at the lower edge is forgiven, as to single precision.
_EDGE = 1e-6


@dataclass(frozen=True, eq=False)
class FixedDensities:
    r"""Momentum densities of one member of a set at one scale; a parametrisation without parameters.

    Above the last node :math:`x_K` of the grid they are continued as :math:`x f(x) = x_K f(x_K)\, \bigl(\frac{1-x}{1-x_K}\bigr)^2`.

    Args:
        grid: where the densities come from; without charm, that is zero.
        Q_GeV: the scale.

    Raises:
        PdfGridError: the grid lacks gluon or light quarks, does not cover the scale, or ends below x = 0.9.

    Example:
        >>> x, Q = torch.logspace(-3, 0, 31), torch.tensor([1.5, 4.0])
        >>> grid = PdfGrid(x, Q, (-3, -2, -1, 21, 1, 2, 3), torch.ones(7, 1, 1) * (1 - x)[:, None].expand(31, 2))
        >>> densities = FixedDensities(grid, 1.65)
        >>> densities(torch.empty(5, 0), torch.tensor([0.1, 0.5])).shape, len(densities.ranges)
        (torch.Size([5, 8, 2]), 0)
    """

    grid: PdfGrid
    Q_GeV: float
    name: str = field(default="fixed", init=False)

    def __post_init__(self) -> None:
        missing = [parton for partons in _PARTONS for parton in partons if parton not in (*self.grid.pdg_ids, *_OPTIONAL)]
        if missing:
            raise PdfGridError(f"the grid has no partons {missing}; gluon, light quarks and antiquarks are needed. Use another set.")
        low, high = float(self.grid.Q_nodes_GeV[0]), float(self.grid.Q_nodes_GeV[-1])
        if not low * (1 - _EDGE) <= self.Q_GeV <= high * (1 + _EDGE):
            raise PdfGridError(
                f"the grid reaches from Q = {low:g} to {high:g} GeV, but its densities are needed at {self.Q_GeV:g} GeV.\n"
                "Use a set that begins lower, or theory tables that begin higher: unscatter tables build --set Q0_GeV=..."
            )
        if not float(self.grid.x_nodes[-1]) >= _CONTINUED_FROM:
            raise PdfGridError(f"the grid ends at x = {float(self.grid.x_nodes[-1]):g}, and has to reach {_CONTINUED_FROM:g} at least.")

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """No parameters."""
        return {}

    @property
    def fractions(self) -> tuple[str, ...]:
        """No parameters."""
        return ()

    @property
    def start(self) -> tuple[float, ...]:
        """No parameters."""
        return ()

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Momentum densities of the fit's flavours, whatever the parameters, ``[..., 0]`` to ``[..., 8, points]``.

        Raises:
            PdfGridError: points below the grid.
        """
        points = x.detach().to("cpu", torch.float64)
        self._check_low(points)
        last = self.grid.x_nodes[-1]
        inside = points.clamp(float(self.grid.x_nodes[0]), float(last))
        falls = ((1 - points) / (1 - last)).pow(_POWER) if float(last) < 1 else torch.ones_like(points)
        values = torch.stack([self._sum(partons, inside) for partons in _PARTONS]) * torch.where(points > last, falls, 1.0)
        return values.to(parameters).expand(*parameters.shape[:-1], *values.shape)

    def _sum(self, partons: tuple[int, ...], x: Tensor) -> Tensor:
        present = [parton for parton in partons if parton in self.grid.pdg_ids]
        return torch.stack([self.grid.xf(parton, x, self.Q_GeV) for parton in present]).sum(0) if present else torch.zeros_like(x)

    def _check_low(self, x: Tensor) -> None:
        lowest, low = float(x.min()), float(self.grid.x_nodes[0])
        if lowest < low * (1 - _EDGE):
            raise PdfGridError(
                f"densities are needed from x = {lowest:g} on, but the grid begins at {low:g}.\n"
                "Use a set that reaches lower, or theory tables that begin higher: unscatter tables build --set x_min=..."
            )
