"""The two-dimensional proxy density, written out so that the benchmarks need nothing but the samplers."""

from __future__ import annotations

import torch
from torch import Tensor

from unscatter.arrays import Density, Grid

BOX_LOW = torch.tensor([-0.5, 2.75, 0.0, 3.0, 0.0], dtype=torch.float64)
BOX_HIGH = torch.tensor([1.0, 4.0, 1.3, 4.5, 1.5], dtype=torch.float64)
BOX_POINT = torch.tensor([0.67, 0.20, 0.23, 0.67, 0.50], dtype=torch.float64)


def proxy2d(box: Tensor, num_nodes: int, dtype: torch.dtype) -> Density:
    """x^p0 (1-x)^p1 y^p2 (1-y)^p3 (1 + p4 x y) on [0.001, 0.999]^2, parameters in coordinates of their box."""
    p = BOX_LOW + (BOX_HIGH - BOX_LOW) * box
    axis = torch.linspace(0.001, 0.999, num_nodes, dtype=torch.float64)
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    values = x ** p[0] * (1 - x) ** p[1] * y ** p[2] * (1 - y) ** p[3] * (1 + p[4] * x * y)
    return Density(values[None].to(dtype), Grid((axis, axis), ("x", "y")), ("proxy",))


def exact_mean_x(density: Density) -> Tensor:
    """E[x] under the bilinear interpolant, differentiable: hat functions integrated against x and against one."""
    x = density.grid.axes[0]
    width, zero = x.diff(), x.new_zeros(1)
    moment = torch.cat([width * (x[:-1] / 2 + width / 6), zero]) + torch.cat([zero, width * (x[1:] / 2 - width / 6)])
    weights_x, weights_y = density.grid.trapezoid_weights
    line = density.values[0] @ weights_y
    return (line @ moment) / (line @ weights_x)
