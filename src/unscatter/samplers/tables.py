"""Tables behind the Rosenblatt map: axes in one precision, marginals and cumulative integrals of node values, the check of a density."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import torch
from torch import Tensor

from unscatter.arrays import Grid
from unscatter.errors import DensityError, GridError


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis in the precision of the density; widths are fractions of the whole axis, so that no power of a unit can overflow.

    Args:
        nodes: positions, ``[nodes]``; the end points are rounded inwards, so that no event leaves the axis as the user wrote it.
        widths: cell widths over the length of the axis, ``[nodes - 1]``.
        weights: trapezoid weights for these widths, ``[nodes]``; they add up to one.
        length: last minus first node, in the unit of the observable.
        low: first node, rounded inwards.
        high: last node, rounded inwards.
        step: distance of the nodes if it is the same everywhere to within rounding of the nodes, otherwise zero.
    """

    nodes: Tensor
    widths: Tensor
    weights: Tensor
    length: float
    low: float
    high: float
    step: float

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return self.nodes.shape[0]


@lru_cache(maxsize=64)
def grid_axes(grid: Grid, dtype: torch.dtype, device: torch.device) -> tuple[Axis, ...]:
    """The axes of ``grid`` in the precision and on the device of a density (remembered: a training step asks every time).

    Raises:
        GridError: neighbouring nodes coincide in this precision.
    """
    return tuple(_axis(name, np.array(nodes.tolist()), dtype, device) for name, nodes in zip(grid.names, grid.axes, strict=True))


def _axis(name: str, nodes: np.ndarray, dtype: torch.dtype, device: torch.device) -> Axis:
    precision = np.float32 if dtype == torch.float32 else np.float64
    rounded = nodes.astype(precision)
    if rounded[0] < nodes[0]:
        rounded[0] = np.nextafter(rounded[0], precision(np.inf))
    if rounded[-1] > nodes[-1]:
        rounded[-1] = np.nextafter(rounded[-1], precision(-np.inf))
    if not (np.diff(rounded) > 0).all():
        k = int(np.argmin(np.diff(rounded)))
        raise GridError(
            f"the nodes {k} and {k + 1} of axis '{name}', {nodes[k]!r} and {nodes[k + 1]!r}, coincide in the density's {dtype}.\n"
            "Compute the density in float64, or shift or scale the observable."
        )
    widths = np.diff(nodes) / (nodes[-1] - nodes[0])
    weights = np.concatenate([widths, [0.0]]) / 2 + np.concatenate([[0.0], widths]) / 2
    # Cast by NumPy: nothing that is remembered may have been made inside a torch.func transform.
    moved = [torch.from_numpy(array.astype(precision)).to(device) for array in (rounded, widths, weights)]
    even = np.abs(nodes - np.linspace(nodes[0], nodes[-1], len(nodes))).max() <= 2 * np.finfo(precision).eps * np.abs(nodes).max()
    step = (nodes[-1] - nodes[0]) / (len(nodes) - 1) if even else 0.0
    length, low, high = float(nodes[-1] - nodes[0]), float(rounded[0]), float(rounded[-1])
    return Axis(moved[0], moved[1], moved[2], length, low, high, float(step))


def check_density(values: Tensor, batch_shape: tuple[int, ...], channels: tuple[str, ...]) -> Tensor:
    """Largest node value of every sample, after one pass over the values and one wait for the device.

    Args:
        values: node values, ``[samples, *nodes]``; a sample is one channel of one batch element.
        batch_shape: the leading axes that were flattened into ``samples``, for the message.
        channels: names of the channels, the last of the flattened axes.

    Returns:
        Maxima, ``[samples]``.

    Raises:
        DensityError: a sample is negative somewhere, not finite, or zero everywhere.
    """
    flat = values.flatten(1)
    # Two plain reductions: torch.aminmax along an axis is not vectorised on the CPU and takes ten times as long.
    highest = flat.amax(1)
    least, smallest_maximum, largest_maximum = torch.stack([flat.min(), *highest.aminmax()]).tolist()
    # Reductions hand NaN on, and comparisons with NaN are false.
    if not (least >= 0 and smallest_maximum >= torch.finfo(values.dtype).tiny and largest_maximum < math.inf):
        good = (flat.amin(1) >= 0) & (highest >= torch.finfo(values.dtype).tiny) & (highest < math.inf)
        raise DensityError(_complaint(values, int(torch.argmin(good.to(torch.uint8))), batch_shape, channels))
    return highest


def _complaint(values: Tensor, sample: int, batch_shape: tuple[int, ...], channels: tuple[str, ...]) -> str:
    nodes = values[sample]
    finite = nodes[torch.isfinite(nodes)]
    seen = f"smallest {float(finite.min()):g}, largest {float(finite.max()):g}" if len(finite) else "no finite value"
    where = f"channel '{channels[sample % len(channels)]}'"
    if batch := _batch_index(sample // len(channels), batch_shape):
        where += f", batch index {batch}"
    if num_bad := nodes.numel() - len(finite):
        problem = f"has {num_bad} of {nodes.numel()} node values that are not finite"
        advice = "Look for 0/0, log(0) or a negative base of a power in the theory at the edges of the grid."
    elif bool((nodes < 0).any()):
        problem = f"has {int((nodes < 0).sum())} of {nodes.numel()} node values below zero"
        advice = "Restrict the parameters to where the theory is positive, or clip on purpose with 'values.clamp(min=0)'."
    else:
        problem = "is zero at all nodes"
        advice = f"Values below {torch.finfo(values.dtype).tiny:g} count as zero in {values.dtype}: multiply the density by a constant."
    return f"the density of {where} {problem} ({seen}).\n{advice}"


def _batch_index(flat: int, batch_shape: tuple[int, ...]) -> tuple[int, ...]:
    # Under torch.func.vmap the mapped axes come in front of the axes that the caller can see.
    index: list[int] = []
    for size in reversed(batch_shape):
        flat, i = divmod(flat, size)
        index.insert(0, i)
    return (flat, *index) if flat else tuple(index)


def marginals(values: Tensor, axes: tuple[Axis, ...]) -> list[Tensor]:
    r"""Node values of the density with the later axes integrated out, :math:`M_d(k_1 \dots k_d) = \int \rho\, dx_{d+1} \dots dx_D`.

    Args:
        values: ``[samples, *nodes]``.
        axes: the axes, lengths counted as one.

    Returns:
        One tensor ``[samples, n_1, ..., n_d]`` for d = 1, ..., D.
    """
    found = [values]
    for axis in reversed(axes[1:]):
        found.insert(0, found[0] @ axis.weights)
    return found


@dataclass(frozen=True, eq=False)
class Table:
    """Marginal of one coordinate and its integrals, flattened over samples, the earlier axes and this axis.

    Args:
        axis: the axis of this coordinate.
        shape: ``(samples, n_1, ..., n_d)``.
        values: marginal M at the nodes, flat.
        integrals: integral C of M from the first node of the axis to each node, flat.
        ends: C at the last node, flat ``[samples * n_1 * ... * n_(d-1)]``: the marginal one dimension down.
    """

    axis: Axis
    shape: tuple[int, ...]
    values: Tensor
    integrals: Tensor
    ends: Tensor

    @property
    def distances(self) -> tuple[int, ...]:
        """How far the next node along each earlier axis is away in the flat table."""
        return distances(self.shape[1:])[:-1]

    @property
    def corners(self) -> tuple[int, ...]:
        """How far the corners of the cell of the earlier coordinates are away from the lowest one; the latest axis is the outermost bit."""
        offsets = (0,)
        for distance in self.distances:
            offsets += tuple(offset + distance for offset in offsets)
        return offsets


def distances(shape: tuple[int, ...]) -> tuple[int, ...]:
    """How far neighbours along each axis of a contiguous array are apart."""
    return tuple(prod(shape[d + 1 :]) for d in range(len(shape)))


def tabulate(values: Tensor, axes: tuple[Axis, ...]) -> list[Table]:
    """Tables of all coordinates for node values ``[samples, *nodes]``, the first coordinate first."""
    found: list[Table] = []
    for axis in reversed(axes):
        integrals = cumulative(values, axis)
        ends = integrals[..., -1]
        found.insert(0, Table(axis, tuple(values.shape), values.flatten(), integrals.flatten(), ends.flatten()))
        values = ends
    return found


def cumulative(values: Tensor, axis: Axis) -> Tensor:
    """Integral of the piecewise linear interpolant from the first node to each node, along the last axis of ``values``."""
    masses = (values[..., 1:] + values[..., :-1]) * (axis.widths / 2)
    return torch.nn.functional.pad(masses.cumsum(-1), (1, 0))


def cumulative_adjoint(gradient: Tensor, axis: Axis) -> Tensor:
    """Transpose of :func:`cumulative`: gradient at the cumulative integrals to gradient at the node values."""
    later = gradient[..., 1:].flip(-1).cumsum(-1).flip(-1) * (axis.widths / 2)
    return torch.nn.functional.pad(later, (0, 1)) + torch.nn.functional.pad(later, (1, 0))
