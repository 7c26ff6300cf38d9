"""LOITS, the published sampler, for comparison: local orthogonal inverse-transform sampling."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from unscatter.arrays import Density, Events
from unscatter.samplers import uniforms
from unscatter.samplers.eager import invert_cell
from unscatter.samplers.rosenblatt import flatten
from unscatter.samplers.tables import check_density, grid_axes


@dataclass(frozen=True)
class Loits:
    r"""Local orthogonal inverse-transform sampling as published, with its known defects.

    Of the N events asked for, cell k of the grid receives

    .. math:: N_k = \lfloor N p_k \rfloor, \qquad p_k = \bar\rho_k \Big/ \sum_l \bar\rho_l,

    where :math:`\bar\rho_k` is the mean of the corner values.  Inside its cell an event is placed by inverse transforms of the multilinear
    interpolant, one coordinate after the other.  What that means:

    * The counts carry no gradient.  Only the shape within cells is differentiable, which keeps 5 % of the gradient of a mean with 10 nodes
      a side and 0.05 % with 100; moving probability from cell to cell, and from one axis to the other, is invisible.
    * Volumes of cells are ignored: on axes that are not uniform the events follow another density.
    * Rounding down loses events: with 99 x 99 cells 2,398 of 10,000 for the truth of the two-dimensional proxy problem.  The output keeps
      its rectangular shape; the missing events are the last ones, have weight zero, and lie in the last filled cell.
    * Events come in the order of the cells.

    For anything but comparisons use :class:`~unscatter.samplers.Rosenblatt`.

    Example:
        >>> from unscatter.arrays import Density, Grid
        >>> grid = Grid.from_axes({"x": [0.0, 1.0, 2.0, 3.0]})
        >>> events = Loits()(Density(torch.ones(1, 4), grid, ("signal",)), torch.rand(1, 100, 1))
        >>> int(events.weights.sum())
        99
    """

    def uniforms(
        self, batch_shape: tuple[int, ...], num_events: int, num_dimensions: int, *, generator: torch.Generator | None = None,
        device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32,
    ) -> Tensor:  # fmt: skip
        """Independent uniform numbers in [0, 1), ``[*batch_shape, num_events, num_dimensions]``."""
        return uniforms.plain((*batch_shape, num_events, num_dimensions), generator, device, dtype)

    def __call__(self, density: Density, uniforms: Tensor) -> Events:
        """Map uniform numbers to weighted events; shapes and errors as for :class:`~unscatter.samplers.Rosenblatt`."""
        values, numbers = flatten(density, uniforms)
        scale = check_density(values.detach(), density.batch_shape, density.channels)
        corners = _corners(values / scale.view(-1, *[1] * density.grid.num_dimensions))
        cells, weights = _allocate(corners.detach().mean(0), numbers.shape[-2])
        events = _place(corners.gather(2, cells.expand(len(corners), *cells.shape)), cells, numbers, density)
        return Events(events.view(uniforms.shape), density.grid.names, weights.view(uniforms.shape[:-1]))


def _corners(values: Tensor) -> Tensor:
    """Corner values of every cell, ``[2 ** dimensions, samples, cells]``; the last axis is the fastest bit."""
    dimensions = values.ndim - 1
    ends = product((slice(None, -1), slice(1, None)), repeat=dimensions)
    return torch.stack([values[(slice(None), *end)].flatten(1) for end in ends])


def _allocate(means: Tensor, num_events: int) -> tuple[Tensor, Tensor]:
    """Cell and weight of every event, ``[samples, events]``, from the mean density of each cell, ``[samples, cells]``."""
    # In double precision: a million events times a rounded probability would gain or lose some.
    exact = means.double()
    counts = (exact / exact.sum(1, keepdim=True) * num_events).floor()
    filled = counts.cumsum(1)
    numbers = torch.arange(num_events, device=means.device, dtype=torch.float64).expand(len(means), -1).contiguous()
    present = numbers < filled[:, -1:]
    last = torch.searchsorted(filled, (filled[:, -1:] - 1).clamp(min=0), right=True)
    cells = torch.where(present, torch.searchsorted(filled, numbers, right=True), last).clamp(max=means.shape[1] - 1)
    return cells, present.to(means.dtype)


def _place(corners: Tensor, cells: Tensor, numbers: Tensor, density: Density) -> Tensor:
    """Inverse transforms inside the cells, ``[samples, events, dimensions]``, from corner values ``[2 ** dimensions, samples, events]``."""
    axes = grid_axes(density.grid, corners.dtype, corners.device)
    positions = torch.unravel_index(cells, [axis.num_nodes - 1 for axis in axes])
    columns = []
    for d, (axis, cell) in enumerate(zip(axes, positions, strict=True)):
        half = len(corners) // 2
        low, high = corners[:half].sum(0), corners[half:].sum(0)
        fraction = _differentiable_inverse(low, high, numbers[..., d])
        corners = torch.lerp(corners[:half], corners[half:], fraction)
        columns.append(torch.lerp(axis.nodes[cell], axis.nodes[cell + 1], fraction).clamp(axis.low, axis.high))
    return torch.stack(columns, -1)


def _differentiable_inverse(low: Tensor, high: Tensor, uniforms: Tensor) -> Tensor:
    """Inverse transform of a linear density whose gradient is minus the change of the integral over the density."""
    a, b = low.detach(), high.detach()
    s = invert_cell(a, b, uniforms, 1 - uniforms)
    density = torch.lerp(a, b, s)
    visible = density > torch.finfo(a.dtype).eps * (a + b)
    rise = low * (s - s.square() / 2) + high * s.square() / 2 - uniforms * (low + high) / 2
    return s - torch.where(visible, (rise - rise.detach()) / torch.where(visible, density, 1), 0)
