"""The two proxy problems as theories."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unscatter.arrays import Density, Grid
from unscatter.physics.proxies import proxy1d_cross_sections, proxy2d_density
from unscatter.theories.rates import check_luminosity, expected_counts


@dataclass(frozen=True, eq=False)
class Proxy1D:
    """Toy cross sections of the momentum fraction on proton and neutron, from six parameters.

    The formula is :func:`unscatter.physics.proxies.proxy1d_cross_sections`.

    Args:
        grid: one axis ``x`` in (0, 1).
        luminosity: per channel, in the inverse unit of the cross section, or None where rates carry no information.

    Example:
        >>> theory = Proxy1D(Grid.from_axes({"x": torch.linspace(0.1, 0.9, 17)}), luminosity=(1000.0, 1000.0))
        >>> density = theory(torch.tensor([[2.1875, -0.5, 3.0, 1.09375, -0.5, 4.0]]))
        >>> density.values.shape, density.expected_counts.shape
        (torch.Size([1, 2, 17]), torch.Size([1, 2]))
    """

    grid: Grid
    luminosity: tuple[float, ...] | None = None
    parameter_shape: tuple[int, ...] = (6,)
    channels: tuple[str, ...] = ("proton", "neutron")

    def __post_init__(self) -> None:
        check_luminosity(self.luminosity, self.channels)

    def __call__(self, physics_params: Tensor) -> Density:
        """Evaluate both cross sections, ``[..., 6]`` to ``[..., 2, nodes]``."""
        grid = self.grid.to(physics_params.device, physics_params.dtype)
        values = proxy1d_cross_sections(grid.axes[0], physics_params)
        return Density(values, grid, self.channels, expected_counts(values, grid, self.luminosity))


@dataclass(frozen=True, eq=False)
class Proxy2D:
    """Toy density of two correlated observables, from five parameters.

    The formula is :func:`unscatter.physics.proxies.proxy2d_density`.

    Args:
        grid: axes ``x`` and ``y`` in (0, 1).
        luminosity: in the inverse unit of the density's integral, or None where rates carry no information.

    Example:
        >>> grid = Grid.from_axes({"x": torch.linspace(0.1, 0.9, 9), "y": torch.linspace(0.1, 0.9, 17)})
        >>> Proxy2D(grid)(torch.tensor([[0.5, 3.0, 0.3, 4.0, 0.75]])).values.shape
        torch.Size([1, 1, 9, 17])
    """

    grid: Grid
    luminosity: tuple[float, ...] | None = None
    parameter_shape: tuple[int, ...] = (5,)
    channels: tuple[str, ...] = ("events",)

    def __post_init__(self) -> None:
        check_luminosity(self.luminosity, self.channels)

    def __call__(self, physics_params: Tensor) -> Density:
        """Evaluate the density, ``[..., 5]`` to ``[..., 1, nx, ny]``."""
        grid = self.grid.to(physics_params.device, physics_params.dtype)
        values = proxy2d_density(grid.axes[0], grid.axes[1], physics_params).unsqueeze(-3)
        return Density(values, grid, self.channels, expected_counts(values, grid, self.luminosity))
