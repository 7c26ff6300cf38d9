"""A theory made of one function, for problems that fit in a few lines."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unscatter.arrays import Density, Grid
from unscatter.errors import TheoryError
from unscatter.theories.rates import check_luminosity, expected_counts


@dataclass(frozen=True, eq=False)
class FunctionTheory:
    r"""A theory made of a function that evaluates the density at the nodes for one set of physics parameters.

    The expected number of events of a channel is the integral of its density times the channel's luminosity,

    .. math:: \mu_c = L_c \int \rho_c(x)\,dx .

    Args:
        function: ``function(physics_params, *coordinates)``, with ``physics_params`` of shape ``parameter_shape`` and one tensor of
            coordinates ``[*nodes]`` per axis of the grid; returns :math:`\rho \ge 0` as ``[channel, *nodes]``, or as ``[*nodes]``
            where there is a single channel.  Batches are made by :func:`torch.func.vmap`.
        grid: nodes.
        parameter_shape: shape of one set of physics parameters.
        channels: one name per measured data set.
        luminosity: :math:`L_c` per channel in the inverse unit of the density's integral, or None where rates carry no information.

    Raises:
        SettingsError: a luminosity is missing or not positive.

    Example:
        A single exponential decay, whose rate is the parameter:

        >>> grid = Grid.from_axes({"time_s": torch.linspace(0, 10, 101)})
        >>> theory = FunctionTheory(lambda p, t: torch.exp(-p[0] * t), grid, parameter_shape=(1,))
        >>> theory(torch.tensor([[0.5], [0.7]])).values.shape
        torch.Size([2, 1, 101])
    """

    function: Callable[..., Tensor]
    grid: Grid
    parameter_shape: tuple[int, ...]
    channels: tuple[str, ...] = ("events",)
    luminosity: tuple[float, ...] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_luminosity(self.luminosity, self.channels)

    def __call__(self, physics_params: Tensor) -> Density:
        """Evaluate the function at the nodes, ``[..., *parameter_shape]`` to ``[..., channel, *nodes]``.

        Raises:
            TheoryError: the function returned something else than a tensor of shape ``[channel, *nodes]``.
        """
        grid = self.grid.to(physics_params.device, physics_params.dtype)
        coordinates = grid.mesh()
        batch_shape = physics_params.shape[: physics_params.ndim - len(self.parameter_shape)]
        flat = physics_params.reshape(math.prod(batch_shape), *self.parameter_shape)
        values = torch.func.vmap(lambda p: self._evaluate(p, coordinates))(flat)
        values = values.reshape(*batch_shape, *values.shape[1:])
        return Density(values, grid, self.channels, expected_counts(values, grid, self.luminosity))

    def _evaluate(self, physics_params: Tensor, coordinates: tuple[Tensor, ...]) -> Tensor:
        values = self.function(physics_params, *coordinates)
        wanted = (len(self.channels), *self.grid.shape)
        if not isinstance(values, Tensor):
            raise TheoryError(f"the theory's function must return a tensor of shape {wanted}, got {type(values).__name__}.")
        if len(self.channels) == 1 and tuple(values.shape) == self.grid.shape:
            return values.unsqueeze(0)
        if tuple(values.shape) != wanted:
            raise TheoryError(
                f"the theory's function must return [channel, *nodes] = {wanted}, got {tuple(values.shape)}.\n"
                f"It is called with one set of parameters of shape {self.parameter_shape} and {len(coordinates)} arrays of "
                f"coordinates {list(self.grid.names)} of shape {self.grid.shape}: return one value per channel and node."
            )
        return values
