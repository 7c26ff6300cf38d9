r"""The Rosenblatt map, its adjoint and its tangent in plain PyTorch operations: any device, any number of dimensions.

Notation, for one sample and one event.  Along axis d the event lies in cell j at the fraction s of the cell's width h (all lengths are
fractions of the axis).  The earlier coordinates lie in cells as well; the :math:`2^{d-1}` corners c of that cell have the multilinear
weights :math:`w_c`.  With the marginals M and their cumulative integrals C (:mod:`~unscatter.samplers.tables`) the conditional density and
its integral up to the event are

.. math:: f = \sum_c w_c\,[a_c + (b_c - a_c) s], \qquad G = \sum_c w_c\,[C_c(j) + h (a_c s + (b_c - a_c) s^2 / 2)],

where a and b are the values of M at the two ends of cell j, and the event solves :math:`G = u\,T` with
:math:`T = \sum_c w_c C_c(\text{end})`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from unscatter.samplers.tables import Axis, cumulative, cumulative_adjoint, marginals


@dataclass(frozen=True, eq=False)
class Conditional:
    """Everything about one coordinate of the events, see the module's notation; ``c`` stands for the corners.

    Args:
        left: flat position of node j of each corner's row in the table ``[samples, rows * nodes]``, ``[samples, events, c]``.
        rows: row of each corner, ``[samples, events, c]``.
        corner_weights: :math:`w_c`, ``[samples, events, c]``.
        fraction: s, ``[samples, events]``.
        width: h, ``[samples, events]``.
        low: :math:`a_c`, ``[samples, events, c]``.
        high: :math:`b_c`, ``[samples, events, c]``.
        before: :math:`C_c(j)`, ``[samples, events, c]``.
        total: :math:`C_c` at the end of the axis, ``[samples, events, c]``.
    """

    left: Tensor
    rows: Tensor
    corner_weights: Tensor
    fraction: Tensor
    width: Tensor
    low: Tensor
    high: Tensor
    before: Tensor
    total: Tensor

    @cached_property
    def density(self) -> Tensor:
        """f, ``[samples, events]``."""
        return _dot(self.corner_weights, torch.lerp(self.low, self.high, self.fraction[..., None]))

    @cached_property
    def normalisation(self) -> Tensor:
        """T, ``[samples, events]``."""
        return _dot(self.corner_weights, self.total)

    @cached_property
    def shapes(self) -> tuple[Tensor, Tensor]:
        """What the end points a and b of a cell contribute to G per unit of density: h (s - s^2 / 2) and h s^2 / 2."""
        upper = self.width * self.fraction.square() / 2
        return self.width * self.fraction - upper, upper

    @cached_property
    def corner_integrals(self) -> Tensor:
        """The bracket in G for every corner, ``[samples, events, c]``."""
        lower, upper = self.shapes
        return self.before + lower[..., None] * self.low + upper[..., None] * self.high

    @cached_property
    def reached(self) -> Tensor:
        """u = G / T, ``[samples, events]``."""
        tiny = torch.finfo(self.low.dtype).tiny
        return _dot(self.corner_weights, self.corner_integrals) / self.normalisation.clamp(min=tiny)

    def mismatch(self, reached: Tensor) -> Tensor:
        """G - u T of every corner, ``[samples, events, c]``: also the derivative of G - u T with respect to the corner weights."""
        return self.corner_integrals - reached[..., None] * self.total


def forward(values: Tensor, uniforms: Tensor, axes: tuple[Axis, ...]) -> Tensor:
    """Map uniform numbers to events.

    Args:
        values: node values scaled to a maximum of one, ``[samples, *nodes]``.
        uniforms: ``[samples, events, dimensions]``.
        axes: the axes of the grid.

    Returns:
        Events, ``[samples, events, dimensions]``.
    """
    rows = torch.zeros_like(uniforms[..., :1], dtype=torch.int64)
    weights = torch.ones_like(uniforms[..., :1])
    columns = []
    for d, (axis, table) in enumerate(zip(axes, marginals(values, axes), strict=True)):
        integrals = cumulative(table, axis)
        cells, fraction = _invert(table.flatten(1), integrals.flatten(1), uniforms[..., d], rows, weights, axis.num_nodes)
        columns.append(_position(axis, cells, fraction))
        if d + 1 < len(axes):
            rows, weights = _refine(rows, weights, cells, fraction, axis.num_nodes)
    return torch.stack(columns, -1)


def adjoint(values: Tensor, events: Tensor, gradient: Tensor, axes: tuple[Axis, ...]) -> Tensor:
    r"""Pull a gradient at the events back to the node values, :math:`dx = -(dG - u\,dT) / f` coordinate by coordinate, last one first.

    Args:
        values: node values scaled to a maximum of one, ``[samples, *nodes]``.
        events: ``[samples, events, dimensions]``.
        gradient: gradient at the events, same shape.
        axes: the axes of the grid.

    Returns:
        Gradient at the scaled node values, ``[samples, *nodes]``.
    """
    tables = marginals(values, axes)
    conditionals = locate(tables, events, axes)
    visible = _on_support(conditionals)
    wanted = [gradient[..., d] * axis.length for d, axis in enumerate(axes)]
    to_tables = [torch.zeros_like(table) for table in tables]
    for d in reversed(range(len(axes))):
        here = conditionals[d]
        push = torch.where(visible[d], -wanted[d] / here.density, 0)
        for earlier, slope in enumerate(_weight_slopes(conditionals[:d], here.mismatch(here.reached))):
            wanted[earlier] = wanted[earlier] + push * slope
        to_tables[d] = _scatter(here, push, tables[d], axes[d])
    for d in range(1, len(axes)):
        to_tables[d] = to_tables[d] + to_tables[d - 1][..., None] * axes[d].weights
    return to_tables[-1]


def tangent(values: Tensor, events: Tensor, direction: Tensor, axes: tuple[Axis, ...]) -> Tensor:
    """Push a change of the node values forward to the events: the transpose of :func:`adjoint`.

    Args:
        values: node values scaled to a maximum of one, ``[samples, *nodes]``.
        events: ``[samples, events, dimensions]``.
        direction: change of the scaled node values, ``[samples, *nodes]``.
        axes: the axes of the grid.

    Returns:
        Change of the events, ``[samples, events, dimensions]``.
    """
    tables = marginals(values, axes)
    conditionals = locate(tables, events, axes)
    visible = _on_support(conditionals)
    changes: list[Tensor] = []
    for d, (axis, table) in enumerate(zip(axes, marginals(direction, axes), strict=True)):
        here = conditionals[d]
        moved = _at(here, table, axis)
        excess = _dot(here.corner_weights, moved.mismatch(here.reached))
        for change, slope in zip(changes, _weight_slopes(conditionals[:d], here.mismatch(here.reached)), strict=True):
            excess = excess + change * slope
        changes.append(torch.where(visible[d], -excess / here.density, 0))
    return torch.stack([change * axis.length for change, axis in zip(changes, axes, strict=True)], -1)


def locate(tables: list[Tensor], events: Tensor, axes: tuple[Axis, ...]) -> list[Conditional]:
    """Cells, fractions and conditional densities of given events, one :class:`Conditional` per coordinate."""
    rows = torch.zeros_like(events[..., :1], dtype=torch.int64)
    weights = torch.ones_like(events[..., :1])
    found = []
    for d, (axis, table) in enumerate(zip(axes, tables, strict=True)):
        cells, fraction = find_cells(axis, events[..., d])
        found.append(_conditional(table, axis, rows, weights, cells, fraction))
        rows, weights = _refine(rows, weights, cells, fraction, axis.num_nodes)
    return found


def find_cells(axis: Axis, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cell number and fraction of the cell's width for positions on one axis, both in the shape of ``positions``."""
    cells = (torch.searchsorted(axis.nodes, positions.contiguous(), right=True) - 1).clamp(0, axis.num_nodes - 2)
    left = axis.nodes[cells]
    return cells, ((positions - left) / (axis.nodes[cells + 1] - left)).clamp(0, 1)


def invert_cell(low: Tensor, high: Tensor, below: Tensor, above: Tensor) -> Tensor:
    r"""Fraction of a cell's width at which a linear density has let ``below`` of its mass pass and has ``above`` left.

    With :math:`\alpha = a / (a + b)`, :math:`\beta = 1 - \alpha` and :math:`q` the share of the mass,
    :math:`2 \alpha s + (\beta - \alpha) s^2 = q` is solved by

    .. math:: s = \frac{q}{\alpha + \sqrt{D}}, \qquad D = \min(\alpha, \beta)^2 + |\beta - \alpha|\,(q \text{ or } 1 - q),

    with :math:`q` where the density rises and :math:`1 - q` where it falls: only positive terms are added, so nothing cancels.

    Args:
        low: density at the lower end, a.
        high: density at the upper end, b.
        below: mass below the point, in any unit.
        above: mass above the point, in the same unit.

    Returns:
        s in [0, 1].
    """
    tiny = torch.finfo(low.dtype).tiny
    share = (low + high).clamp(min=tiny)
    alpha, beta = low / share, high / share
    mass = (below + above).clamp(min=tiny)
    passed = (below / mass).clamp(0, 1)
    left = (above / mass).clamp(0, 1)
    root = (torch.minimum(alpha, beta).square() + (beta - alpha).abs() * torch.where(alpha > beta, left, passed)).sqrt()
    return (passed / (alpha + root).clamp(min=tiny)).clamp(0, 1)


def interpolate(values: Tensor, events: Tensor, axes: tuple[Axis, ...]) -> Tensor:
    """Multilinear interpolant of node values ``[samples, *nodes]`` at events ``[samples, events, dimensions]``: ``[samples, events]``."""
    rows = torch.zeros_like(events[..., :1], dtype=torch.int64)
    weights = torch.ones_like(events[..., :1])
    for d, axis in enumerate(axes):
        rows, weights = _refine(rows, weights, *find_cells(axis, events[..., d]), axis.num_nodes)
    return _dot(weights, _gather(values.flatten(1), rows))


def _dot(weights: Tensor, at_corners: Tensor) -> Tensor:
    return at_corners[..., 0] if weights.shape[-1] == 1 else (weights * at_corners).sum(-1)


def _gather(table: Tensor, positions: Tensor) -> Tensor:
    """Entries of ``[samples, entries]`` at ``[samples, events, c]``."""
    return table.gather(1, positions.flatten(1)).view(positions.shape)


def _invert(table: Tensor, integrals: Tensor, uniforms: Tensor, rows: Tensor, weights: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Cells and fractions at which the conditional distribution reaches ``uniforms``."""
    starts = rows * num_nodes
    total = _dot(weights, _gather(integrals, starts + (num_nodes - 1)))
    # Strictly below the total, so that a cell without mass at the end of the axis is never entered.
    target = torch.minimum(uniforms * total, total * (1 - torch.finfo(total.dtype).eps))
    if rows.shape[-1] == 1:
        cells = (torch.searchsorted(integrals, target, right=True) - 1).clamp(0, num_nodes - 2)
    else:
        cells = _bisect(integrals, starts, weights, target, num_nodes)
    left = starts + cells[..., None]
    below, above = (_dot(weights, _gather(integrals, left + end)) for end in (0, 1))
    low, high = (_dot(weights, _gather(table, left + end)) for end in (0, 1))
    return cells, invert_cell(low, high, target - below, above - target)


def _bisect(integrals: Tensor, starts: Tensor, weights: Tensor, target: Tensor, num_nodes: int) -> Tensor:
    """Last cell that begins at or below ``target``; cells without mass are stepped over."""
    cells = torch.zeros_like(target, dtype=torch.int64)
    step = 1 << max(num_nodes - 2, 1).bit_length() - 1
    while step:
        probe = (cells + step).clamp(max=num_nodes - 2)
        begins = _dot(weights, _gather(integrals, starts + probe[..., None]))
        cells = torch.where(begins <= target, probe, cells)
        step >>= 1
    return cells


def _position(axis: Axis, cells: Tensor, fraction: Tensor) -> Tensor:
    return torch.lerp(axis.nodes[cells], axis.nodes[cells + 1], fraction).clamp(axis.low, axis.high)


def _refine(rows: Tensor, weights: Tensor, cells: Tensor, fraction: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Corners one dimension further: every corner becomes its lower and its upper neighbour along the axis just done."""
    below = rows * num_nodes + cells[..., None]
    at = fraction[..., None]
    return torch.cat([below, below + 1], -1), torch.cat([weights * (1 - at), weights * at], -1)


def _conditional(table: Tensor, axis: Axis, rows: Tensor, weights: Tensor, cells: Tensor, fraction: Tensor) -> Conditional:
    starts = rows * axis.num_nodes
    left = starts + cells[..., None]
    values, integrals = table.flatten(1), cumulative(table, axis).flatten(1)
    return Conditional(
        left, rows, weights, fraction, axis.widths[cells],
        low=_gather(values, left), high=_gather(values, left + 1),
        before=_gather(integrals, left), total=_gather(integrals, starts + (axis.num_nodes - 1)),
    )  # fmt: skip


def _at(here: Conditional, table: Tensor, axis: Axis) -> Conditional:
    """The same place in another table."""
    values, integrals = table.flatten(1), cumulative(table, axis).flatten(1)
    ends = (here.rows + 1) * axis.num_nodes - 1
    return Conditional(
        here.left, here.rows, here.corner_weights, here.fraction, here.width,
        low=_gather(values, here.left), high=_gather(values, here.left + 1),
        before=_gather(integrals, here.left), total=_gather(integrals, ends),
    )  # fmt: skip


def _on_support(conditionals: list[Conditional]) -> list[Tensor]:
    """Where f is above rounding: elsewhere 1 / f is noise, and the event has less than rounding's probability of being there."""
    eps = torch.finfo(conditionals[0].low.dtype).eps
    visible = [here.density > eps * here.normalisation for here in conditionals]
    for earlier, later in pairwise(range(len(visible))):
        visible[later] = visible[later] & visible[earlier]
    return visible


def _weight_slopes(earlier: list[Conditional], mismatch: Tensor) -> list[Tensor]:
    """Derivative of G - u T with respect to each earlier coordinate, through the corner weights."""
    slopes = []
    for j in range(len(earlier)):
        part = mismatch
        # The latest axis is the outermost bit of the corner number, see _refine.
        for i in reversed(range(len(earlier))):
            lower, upper = part.chunk(2, -1)
            at = earlier[i].fraction[..., None]
            part = (upper - lower) / earlier[i].width[..., None] if i == j else torch.lerp(lower, upper, at)
        slopes.append(part[..., 0])
    return slopes


def _scatter(here: Conditional, push: Tensor, table: Tensor, axis: Axis) -> Tensor:
    """Add up, over events, the derivative of ``push * (G - u T)`` with respect to the node values of this axis' table."""
    pushed = push[..., None] * here.corner_weights
    lower, upper = here.shapes
    left, ends = here.left.flatten(1), ((here.rows + 1) * axis.num_nodes - 1).flatten(1)
    nodes = torch.zeros_like(table).flatten(1)
    direct = nodes.scatter_add(1, left, (pushed * lower[..., None]).flatten(1))
    direct = direct.scatter_add(1, left + 1, (pushed * upper[..., None]).flatten(1))
    summed = nodes.scatter_add(1, left, pushed.flatten(1)).scatter_add(1, ends, (-pushed * here.reached[..., None]).flatten(1))
    return direct.view(table.shape) + cumulative_adjoint(summed.view(table.shape), axis)
