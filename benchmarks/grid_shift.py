"""How far the interpolation grid of proxy2d moves a maximum-likelihood fit, in standard deviations at 100,000 events.

    python benchmarks/grid_shift.py

The likelihood of the multilinear interpolant is maximised for events of the exact density: one Newton step from the truth, with
expectations by quadrature, so nothing fluctuates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unscatter.arrays import Grid
from unscatter.arrays.interpolation import interpolate
from unscatter.physics.proxies import PROXY2D_TRUTH, proxy2d_density

NUM_EVENTS = 1e5
LOW, HIGH = 0.001, 0.999


def shift(nodes: int, power: float) -> list[float]:
    """Shift of each parameter for ``nodes`` a side, spaced as i^power."""
    axis = LOW + (HIGH - LOW) * torch.linspace(0, 1, nodes, dtype=torch.float64) ** power
    grid = Grid((axis, axis), ("x", "y"))
    s = (torch.arange(1500, dtype=torch.float64) + 0.5) / 1500
    x, weights = LOW + (HIGH - LOW) * s**2, (HIGH - LOW) * 2 * s / 1500
    points = torch.stack(torch.meshgrid(x, x, indexing="ij"), -1).flatten(0, 1)
    truth = torch.tensor(PROXY2D_TRUTH, dtype=torch.float64)
    expected = (proxy2d_density(x, x, truth) * weights[:, None] * weights).flatten()
    expected = NUM_EVENTS * expected / expected.sum()

    def log_likelihood(p: Tensor) -> Tensor:
        values = proxy2d_density(axis, axis, p)
        return (expected * interpolate(values, grid, points).log()).sum() - NUM_EVENTS * grid.integrate(values).log()

    gradient, hessian = torch.func.grad(log_likelihood)(truth), torch.func.hessian(log_likelihood)(truth)
    covariance = torch.linalg.inv(-hessian)
    return (covariance @ gradient / covariance.diagonal().sqrt()).tolist()


def main() -> None:
    for nodes, power in ((49, 1.0), (49, 1.5), (97, 1.5), (129, 1.6)):
        print(f"{nodes:>4} nodes spaced as i^{power}: " + " ".join(f"{v:+.3f}" for v in shift(nodes, power)), flush=True)


if __name__ == "__main__":
    main()
