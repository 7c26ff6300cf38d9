"""Densities with known integrals, shared by the tests of the samplers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unscatter.arrays import Density, Grid
from unscatter.samplers import kernel

# Both engines where there is a compiler.
ENGINES = [False, True] if kernel.available() else [False]

# The two-dimensional proxy problem: the box of its parameters and the point at which its moments are tabulated.
BOX_LOW = torch.tensor([-0.5, 2.75, 0.0, 3.0, 0.0], dtype=torch.float64)
BOX_HIGH = torch.tensor([1.0, 4.0, 1.3, 4.5, 1.5], dtype=torch.float64)
BOX_POINT = torch.tensor([0.67, 0.20, 0.23, 0.67, 0.50], dtype=torch.float64)


def proxy2d(box: Tensor, num_nodes: int, dtype: torch.dtype = torch.float64) -> Density:
    """x^p0 (1-x)^p1 y^p2 (1-y)^p3 (1 + p4 x y) on [0.001, 0.999]^2."""
    p = BOX_LOW + (BOX_HIGH - BOX_LOW) * box
    axis = torch.linspace(0.001, 0.999, num_nodes, dtype=torch.float64)
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    values = x ** p[0] * (1 - x) ** p[1] * y ** p[2] * (1 - y) ** p[3] * (1 + p[4] * x * y)
    return Density(values[None].to(dtype), Grid((axis, axis), ("x", "y")), ("proxy",))


def signal(values: Tensor | np.ndarray, *axes: list[float] | np.ndarray | Tensor) -> Density:
    """One channel named 'signal' on axes named 'x0', 'x1', ..."""
    grid = Grid.from_axes({f"x{i}": axis for i, axis in enumerate(axes)})
    return Density(torch.as_tensor(values)[None], grid, ("signal",))


def random_density(seed: int, shape: tuple[int, ...], *, zeros: float = 0.0) -> Density:
    """Random node values on random axes, a share of the nodes zero (never all)."""
    rng = np.random.default_rng(seed)
    values = rng.exponential(size=shape) ** 2 * (rng.random(shape) >= zeros)
    values.flat[rng.integers(values.size)] = 1.0
    axes = [rng.normal(scale=3) + np.cumsum(rng.uniform(0.02, 1.0, n)) for n in shape]
    return signal(values, *axes)


def exact_moment(density: Density, column: str) -> Tensor:
    """Mean of one coordinate under the multilinear interpolant, per channel; differentiable in the node values."""
    grid = density.grid
    integral = moment = density.values
    for name, axis, weights in reversed(list(zip(grid.names, grid.axes, grid.trapezoid_weights, strict=True))):
        integral = integral @ weights
        moment = moment @ (_first_moment_weights(axis) if name == column else weights)
    return moment / integral


def _first_moment_weights(axis: Tensor) -> Tensor:
    """Integrals of x times the hat function of each node: h (x_k / 2 + h / 6) to its right, h (x_k / 2 - h / 6) to its left."""
    width, zero = axis.diff(), axis.new_zeros(1)
    right, left = width * (axis[:-1] / 2 + width / 6), width * (axis[1:] / 2 - width / 6)
    return torch.cat([right, zero]) + torch.cat([zero, left])
