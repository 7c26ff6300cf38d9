"""Piecewise cubic interpolation in a logarithm, as the grids of the LHAPDF library are meant to be read."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def cubic_weights(
    nodes: Float[Tensor, " nodes"], points: Float[Tensor, " points"], straight: Bool[Tensor, " points"] | None = None
) -> tuple[Int[Tensor, "points 4"], Float[Tensor, "points 4"]]:
    r"""Four nodes around each point, and their weights in a cubic Hermite interpolant in the logarithm of the coordinate.

    With :math:`u = \ln(x / x_0) / h` in the cell between nodes 0 and 1, of width :math:`h = \ln(x_1 / x_0)`,

    .. math::
        f(u) = (2u^3 - 3u^2 + 1) f_0 + (u^3 - 2u^2 + u) h f'_0 + (3u^2 - 2u^3) f_1 + (u^3 - u^2) h f'_1

    and derivatives at nodes are the mean of the slopes on either side.  Where a side is missing, at the ends and where a node stands twice,
    the slope of the other side is taken; so a node that stands twice separates two interpolants.  A point on it belongs to the upper one.

    Args:
        nodes: positive and increasing, but for nodes that stand twice.
        points: between the first and the last node.
        straight: points that are interpolated linearly instead.

    Returns:
        Positions of the nodes, and weights; nodes that are not there have weight zero.

    References:
        A. Buckley et al., LHAPDF6, arXiv:1412.7420; the derivatives are those of its program, version 6.4.

    Example:
        >>> nodes = torch.tensor([1.0, 2.0, 8.0, 16.0, 64.0])
        >>> columns, weights = cubic_weights(nodes, torch.tensor([4.0]))
        >>> columns.tolist(), bool(torch.isclose((weights * nodes.log()[columns]).sum(), torch.tensor(4.0).log()))
        ([[0, 1, 2, 3]], True)
    """
    # The cell is found before logarithms are taken, so that a point on a threshold stays on it.
    cell, log_nodes = _cell(nodes, points), nodes.log()
    widths = log_nodes.diff()
    u = (points.log() - log_nodes[cell]) / widths[cell]
    # Ratio of this cell's width to that of its neighbour, zero without neighbour.
    left, right = _ratio(widths, cell, cell - 1), _ratio(widths, cell, cell + 1)
    if straight is not None:
        left, right = left.masked_fill(straight, 0.0), right.masked_fill(straight, 0.0)
    slope_0, slope_1 = u * (1 - u).square(), u.square() * (u - 1)
    # Share of the derivatives that this cell's own slope has: half of them, or all without neighbour.
    own = slope_0 * torch.where(left > 0, 0.5, 1.0) + slope_1 * torch.where(right > 0, 0.5, 1.0)
    before, after = 0.5 * left * slope_0, 0.5 * right * slope_1
    rise = u.square() * (3 - 2 * u)
    weights = torch.stack([-before, 1 - rise - own + before, rise + own - after, after], -1)
    columns = (cell[:, None] + torch.arange(-1, 3, device=nodes.device)).clamp(0, len(nodes) - 1)
    return columns, weights


def alone(nodes: Float[Tensor, " nodes"], points: Float[Tensor, " points"]) -> Bool[Tensor, " points"]:
    """Whether a point lies in a cell without neighbours, between two nodes that are all there is or that both stand twice.

    Example:
        >>> alone(torch.tensor([1.0, 2.0, 2.0, 3.0, 4.0]), torch.tensor([1.5, 2.0, 3.5])).tolist()
        [True, False, False]
    """
    widths, cell = nodes.diff(), _cell(nodes, points)
    return (_ratio(widths, cell, cell - 1) == 0) & (_ratio(widths, cell, cell + 1) == 0)


def _cell(nodes: Tensor, points: Tensor) -> Tensor:
    return (torch.searchsorted(nodes, points.contiguous(), right=True) - 1).clamp(0, len(nodes) - 2)


def _ratio(widths: Tensor, cell: Tensor, neighbour: Tensor) -> Tensor:
    inside = (neighbour >= 0) & (neighbour < len(widths))
    width = torch.where(inside, widths[neighbour.clamp(0, len(widths) - 1)], 0.0)
    return torch.where(width > 0, widths[cell] / torch.where(width > 0, width, 1.0), 0.0)
