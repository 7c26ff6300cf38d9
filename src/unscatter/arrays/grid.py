"""Grids: named, strictly increasing axes on which densities are tabulated."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from unscatter.errors import GridError


@dataclass(frozen=True, eq=False)
class Grid:
    r"""A rectilinear grid, one named axis per observable.

    Axes may be uniform, logarithmic or arbitrary; a density on the grid is understood as the *multilinear interpolant* of its node
    values, whose integral over a cell is the mean of the corner values times the volume of the cell.

    Args:
        axes: one strictly increasing 1-D tensor per observable, at least two nodes each, in the unit of the observable.
        names: one name per axis; they become the columns of the events.

    Raises:
        GridError: an axis is not one-dimensional, too short, not finite or not strictly increasing, or names are missing or repeated.

    Example:
        >>> grid = Grid.from_axes({"x": torch.linspace(0.1, 1.0, 10), "y": torch.logspace(0, 2, 5)})
        >>> grid.shape
        (10, 5)
    """

    axes: tuple[Tensor, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.names) or not self.axes:
            raise GridError(f"a grid needs one name per axis, got {len(self.axes)} axes and the names {list(self.names)}.")
        if len(set(self.names)) != len(self.names):
            raise GridError(f"the axes of a grid need different names, got {list(self.names)}.")
        for name, axis in zip(self.names, self.axes, strict=True):
            _check_axis(name, axis)

    @classmethod
    def from_axes(cls, axes: Mapping[str, Tensor | Sequence[float] | np.ndarray]) -> Grid:
        """Build a grid from ``{name: nodes}``; lists and NumPy arrays are taken as float64."""
        tensors = tuple(a if isinstance(a, Tensor) else torch.as_tensor(np.asarray(a, dtype=np.float64)) for a in axes.values())
        return cls(tensors, tuple(axes))

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of nodes along each axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def num_dimensions(self) -> int:
        """Number of axes."""
        return len(self.axes)

    @property
    def low(self) -> tuple[float, ...]:
        """First node of each axis."""
        return tuple(float(axis[0]) for axis in self.axes)

    @property
    def high(self) -> tuple[float, ...]:
        """Last node of each axis."""
        return tuple(float(axis[-1]) for axis in self.axes)

    def ranges(self, names: Collection[str]) -> tuple[tuple[float, ...], tuple[float, ...], tuple[str, ...]]:
        """First nodes, last nodes and names of those axes that are among ``names``.

        Example:
            >>> Grid.from_axes({"x": torch.linspace(0, 1, 3), "Q2": torch.linspace(1, 9, 3)}).ranges(("Q2", "y"))
            ((1.0,), (9.0,), ('Q2',))
        """
        axes = [axis for axis in zip(self.low, self.high, self.names, strict=True) if axis[2] in names]
        return tuple(low for low, _, _ in axes), tuple(high for _, high, _ in axes), tuple(name for _, _, name in axes)

    @cached_property
    def trapezoid_weights(self) -> tuple[Tensor, ...]:
        r"""Per axis, the weights :math:`w_k` with :math:`\sum_k w_k f(x_k) = \int f` for the piecewise linear interpolant."""
        return tuple(_trapezoid_weights(axis) for axis in self.axes)

    def mesh(self) -> tuple[Tensor, ...]:
        """Coordinates of all nodes, one tensor of shape :attr:`shape` per axis."""
        return torch.meshgrid(*self.axes, indexing="ij")

    def integrate(self, values: Tensor) -> Tensor:
        r"""Integrate the multilinear interpolant of node values over the grid.

        Args:
            values: ``[..., *nodes]``.

        Returns:
            Tensor of shape ``[...]``.

        Example:
            >>> grid = Grid.from_axes({"x": [0.0, 0.5, 1.0], "y": [0.0, 2.0]})
            >>> float(grid.integrate(torch.ones(3, 2)))
            2.0
        """
        for weights in reversed(self.trapezoid_weights):
            values = values @ weights.to(values)
        return values

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Grid:
        """The same grid on another device or in another precision; the same object for the same arguments."""
        # Theories ask at every step: without this memory each step would check and tabulate the axes anew.
        key = (str(device), dtype)
        if key not in self._moved:
            moved = tuple(axis.to(device=device, dtype=dtype) for axis in self.axes)
            unchanged = all(new is old for new, old in zip(moved, self.axes, strict=True))
            self._moved[key] = self if unchanged else Grid(moved, self.names)
        return self._moved[key]

    @cached_property
    def _moved(self) -> dict[tuple[str, torch.dtype | None], Grid]:
        return {}


def _trapezoid_weights(axis: Tensor) -> Tensor:
    half_widths = torch.diff(axis) / 2
    zero = half_widths.new_zeros(1)
    return torch.cat([half_widths, zero]) + torch.cat([zero, half_widths])


def _check_axis(name: str, axis: Tensor) -> None:
    if axis.ndim != 1 or len(axis) < 2:
        raise GridError(f"axis '{name}' needs at least two nodes in one dimension, got the shape {tuple(axis.shape)}.")
    if not bool(torch.isfinite(axis).all()):
        raise GridError(f"axis '{name}' has nodes that are not finite.")
    steps = torch.diff(axis)
    if not bool((steps > 0).all()):
        k = int(torch.argmin(steps))
        raise GridError(
            f"axis '{name}' must increase strictly, but node {k + 1} is {float(axis[k + 1]):g} after {float(axis[k]):g}.\n"
            "Sort the nodes and remove repeated ones, for example with torch.unique(nodes)."
        )
