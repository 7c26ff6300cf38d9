"""Multilinear interpolation of node values."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from unscatter.arrays.grid import Grid


def interpolate(values: Tensor, grid: Grid, points: Tensor) -> Tensor:
    r"""Evaluate the multilinear interpolant of node values.

    .. math:: f(x) = \sum_{k \in \text{corners}} v_k \prod_d \left(1 - \frac{|x_d - x_{k,d}|}{h_d}\right)

    Args:
        values: ``[..., *nodes]``.
        grid: the nodes.
        points: ``[..., num_events, dimensions]`` with the same leading axes; points outside are held at the edge.

    Returns:
        ``[..., num_events]``.

    Example:
        >>> grid = Grid.from_axes({"x": torch.tensor([0.0, 1.0, 3.0])})
        >>> interpolate(torch.tensor([0.0, 1.0, 5.0]), grid, torch.tensor([[0.5], [2.0]]))
        tensor([0.5000, 3.0000])
    """
    located = [_locate(axis.to(points), points[..., d].contiguous()) for d, axis in enumerate(grid.axes)]
    flat = values.flatten(-grid.num_dimensions)
    result = torch.zeros_like(points[..., 0])
    for corner in itertools.product((0, 1), repeat=grid.num_dimensions):
        index, weight = torch.zeros_like(located[0][0]), torch.ones_like(result)
        for size, (cell, fraction), upper in zip(grid.shape, located, corner, strict=True):
            index = index * size + cell + upper
            weight = weight * (fraction if upper else 1 - fraction)
        result = result + weight * torch.gather(flat.expand(*index.shape[:-1], -1), -1, index)
    return result


def _locate(axis: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Cell that holds each point and the fraction of the cell below it."""
    cell = (torch.searchsorted(axis, x, right=True) - 1).clamp(0, len(axis) - 2)
    fraction = ((x - axis[cell]) / (axis[cell + 1] - axis[cell])).clamp(0, 1)
    return cell, fraction
