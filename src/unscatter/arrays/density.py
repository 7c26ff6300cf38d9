"""What a theory returns: densities at the nodes of a grid, per channel."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unscatter.arrays.grid import Grid
from unscatter.errors import ShapeError


@dataclass(frozen=True, eq=False)
class Density:
    r"""Unnormalised event densities of all channels, tabulated on one grid.

    Args:
        values: :math:`\rho_c(x_k) \ge 0` at the nodes, ``[..., channel, *nodes]``, in any unit common to a channel.
        grid: the nodes.
        channels: one name per channel.
        expected_counts: expected number of events per channel before the detector, ``[..., channel]``: cross section times
            luminosity. None where rates carry no information.

    Raises:
        ShapeError: the shapes of ``values``, ``grid``, ``channels`` and ``expected_counts`` do not agree.
    """

    values: Tensor
    grid: Grid
    channels: tuple[str, ...]
    expected_counts: Tensor | None = None

    def __post_init__(self) -> None:
        wanted = (len(self.channels), *self.grid.shape)
        if tuple(self.values.shape[-len(wanted) :]) != wanted:
            raise ShapeError(
                f"'values' must end in [channel, *nodes] = {list(wanted)}, got the shape {tuple(self.values.shape)}.\n"
                f"The channels are {list(self.channels)}; the grid has the axes {dict(zip(self.grid.names, self.grid.shape, strict=True))}."
            )
        if self.expected_counts is not None and self.expected_counts.shape != self.batch_shape + (len(self.channels),):
            raise ShapeError(
                f"'expected_counts' must have the shape {(*self.batch_shape, len(self.channels))}, got {tuple(self.expected_counts.shape)}."
            )

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading axes, for instance ``(replica, batch)``."""
        return tuple(self.values.shape[: -1 - self.grid.num_dimensions])
