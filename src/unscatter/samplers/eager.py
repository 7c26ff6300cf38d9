r"""The Rosenblatt map, its adjoint and its tangent in plain PyTorch operations: any device, any number of dimensions.

Notation, for one sample and one event.  Along axis d the event lies in cell j at the fraction s of the cell's width h (all lengths are
fractions of the axis).  The earlier coordinates lie in cells as well; the :math:`2^{d-1}` corners c of that cell have the multilinear
weights :math:`w_c`.  With the marginals M and their cumulative integrals C (:mod:`~unscatter.samplers.tables`) the conditional density and
its integral up to the event are

.. math:: f = \sum_c w_c\,[a_c + (b_c - a_c) s], \qquad G = \sum_c w_c\,[C_c(j) + h (a_c s + (b_c - a_c) s^2 / 2)],

where a and b are the values of M at the two ends of cell j, and the event solves :math:`G = u\,T` with
:math:`T = \sum_c w_c C_c(\text{end})`, which is f of the coordinate before.

Layout: samples and events are one axis, tables are flat.  An event knows the position of its lower corner in a table; the other corners
lie at fixed distances from it, so that one index serves all corners, each with its own view of the table.  The events are worked through
in pieces that fit into the processor's cache; on other devices all at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from unscatter.samplers.tables import Axis, Table, cumulative_adjoint, distances, tabulate

#: Events per piece and thread; PyTorch itself does not divide less than this between threads.
_PIECE = 2**15


@dataclass(frozen=True, eq=False)
class Place:
    """Where one coordinate of a piece of events lies.

    Args:
        left: position of node j in the lower corner's row of the flat table, ``[events]``.
        fraction: s, ``[events]``.
        width: h, ``[events]``.
        earlier: s of the earlier coordinates, each ``[events]``.
    """

    left: Tensor
    fraction: Tensor
    width: Tensor
    earlier: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Conditional:
    """Everything about one coordinate of a piece of events, see the module's notation; ``c`` stands for the corners.

    Args:
        place: cell and fraction of every event.
        low: :math:`a_c`, ``[c, events]``.
        high: :math:`b_c`, ``[c, events]``.
        before: :math:`C_c(j)`, ``[c, events]``.
        total: :math:`C_c` at the end of the axis, ``[c, events]``.
    """

    place: Place
    low: Tensor
    high: Tensor
    before: Tensor
    total: Tensor

    @cached_property
    def density(self) -> Tensor:
        """f, ``[events]``."""
        return torch.lerp(_blend(self.low, self.place.earlier), _blend(self.high, self.place.earlier), self.place.fraction)

    @cached_property
    def normalisation(self) -> Tensor:
        """T, ``[events]``."""
        return _blend(self.total, self.place.earlier)

    @cached_property
    def shapes(self) -> tuple[Tensor, Tensor]:
        """What the end points a and b of a cell contribute to G per unit of density: h (s - s^2 / 2) and h s^2 / 2."""
        reach = self.place.width * self.place.fraction
        upper = reach * self.place.fraction / 2
        return reach - upper, upper

    @cached_property
    def corner_integrals(self) -> Tensor:
        """The bracket in G for every corner, ``[c, events]``."""
        lower, upper = self.shapes
        return torch.addcmul(torch.addcmul(self.before, self.low, lower), self.high, upper)

    @cached_property
    def reached(self) -> Tensor:
        """u = G / T, ``[events]``."""
        tiny = torch.finfo(self.low.dtype).tiny
        return _blend(self.corner_integrals, self.place.earlier) / self.normalisation.clamp(min=tiny)

    @cached_property
    def corner_weights(self) -> Tensor:
        """:math:`w_c`, ``[c, events]``."""
        weights = torch.ones_like(self.place.fraction)[None]
        for fraction in self.place.earlier:
            upper = weights * fraction
            weights = torch.cat([weights - upper, upper])
        return weights

    def mismatch(self, reached: Tensor) -> Tensor:
        """G - u T of every corner, ``[c, events]``: also the derivative of G - u T with respect to the corner weights."""
        return torch.addcmul(self.corner_integrals, self.total, reached, value=-1)


def forward(values: Tensor, uniforms: Tensor, axes: tuple[Axis, ...]) -> Tensor:
    """Map uniform numbers to events.

    Args:
        values: node values scaled to a maximum of one, ``[samples, *nodes]``.
        uniforms: ``[samples, events, dimensions]``.
        axes: the axes of the grid.

    Returns:
        Events, ``[samples, events, dimensions]``.
    """
    tables = tabulate(values, axes)
    numbers = uniforms.reshape(-1, len(axes))
    events = torch.empty_like(numbers)
    for piece, samples in _pieces(values, uniforms):
        _draw(tables, samples, numbers[piece], out=events[piece])
    return events.view(uniforms.shape)


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
    tables = tabulate(values, axes)
    positions, slopes = events.reshape(-1, len(axes)), gradient.reshape(-1, len(axes))
    # In double precision: thousands of events share a node, and a sum of a million float32 numbers would lose four digits.
    to_totals = torch.zeros_like(tables[0].ends, dtype=torch.float64)
    to_values, to_integrals = ([torch.zeros_like(table.values, dtype=torch.float64) for table in tables] for _ in range(2))
    for piece, samples in _pieces(values, events):
        conditionals = read(tables, samples, locate(axes, samples, positions[piece]))
        pushes = _pushes(conditionals, [slopes[piece, d] * axis.length for d, axis in enumerate(axes)])
        # A total is the marginal one dimension down, where its gradient is added up.
        to_totals.index_add_(0, samples, (-pushes[0] * conditionals[0].reached).double())
        for d, (here, push) in enumerate(zip(conditionals, pushes, strict=True)):
            passed_on = pushes[d + 1] * conditionals[d + 1].reached if d + 1 < len(axes) else None
            _scatter(here, push, passed_on, tables[d].corners, to_values[d], to_integrals[d])
    inherited = to_totals
    for table, direct, summed in zip(tables, to_values, to_integrals, strict=True):
        through_integrals = cumulative_adjoint(summed.view(table.shape), table.axis)
        inherited = direct.view(table.shape) + through_integrals + inherited[..., None] * table.axis.weights
    return inherited.to(values.dtype)


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
    tables, moved_tables = tabulate(values, axes), tabulate(direction, axes)
    positions = events.reshape(-1, len(axes))
    changes = torch.empty_like(positions)
    for piece, samples in _pieces(values, events):
        located = locate(axes, samples, positions[piece])
        moved = _changes(read(tables, samples, located), read(moved_tables, samples, located))
        for d, (axis, change) in enumerate(zip(axes, moved, strict=True)):
            torch.mul(change, axis.length, out=changes[piece, d])
    return changes.view(events.shape)


def locate(axes: tuple[Axis, ...], samples: Tensor, events: Tensor) -> list[Place]:
    """Cells and fractions of given events, one :class:`Place` per coordinate.

    Args:
        axes: the axes of the grid.
        samples: number of the sample of each event, ``[events]``.
        events: ``[events, dimensions]``.
    """
    left, found = samples, []
    for d, axis in enumerate(axes):
        cells, fraction = find_cells(axis, events[:, d])
        left = left * axis.num_nodes + cells
        found.append(Place(left, fraction, axis.widths.index_select(0, cells), tuple(place.fraction for place in found)))
    return found


def read(tables: list[Table], samples: Tensor, places: list[Place]) -> list[Conditional]:
    """Conditional densities at given places, one :class:`Conditional` per coordinate."""
    total, found = tables[0].ends.index_select(0, samples)[None], []
    for table, place in zip(tables, places, strict=True):
        low, high, before = (
            torch.stack([flat[corner:].index_select(0, place.left) for corner in table.corners])
            for flat in (table.values, table.values[1:], table.integrals)
        )
        found.append(Conditional(place, low, high, before, total))
        total = torch.cat([low, high])
    return found


def find_cells(axis: Axis, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cell number and fraction of the cell's width for positions on one axis, both in the shape of ``positions``."""
    last = axis.num_nodes - 2
    if axis.step > 0:  # nodes at equal distances: nothing to look up
        along = (positions - axis.low) * (1 / axis.step)
        cells = along.to(torch.int32).clamp(0, last)
        return cells, (along - cells).clamp(0, 1)
    flat = positions.flatten()
    cells = _bisect(axis.nodes, torch.zeros_like(flat, dtype=torch.int32), flat, last + 1)
    left = axis.nodes.index_select(0, cells)
    fraction = ((flat - left) / (axis.nodes[1:].index_select(0, cells) - left)).clamp(0, 1)
    return cells.view(positions.shape), fraction.view(positions.shape)


def invert_cell(low: Tensor, high: Tensor, below: Tensor, above: Tensor) -> Tensor:
    r"""Fraction of a cell's width at which a linear density has let ``below`` of its mass pass and has ``above`` left.

    With :math:`\alpha = a / (a + b)`, :math:`\beta = 1 - \alpha` and :math:`q` the share of the mass,
    :math:`2 \alpha s + (\beta - \alpha) s^2 = q` is solved by

    .. math:: s = \frac{q}{\alpha + \sqrt{D}}, \qquad D = \alpha^2 (1 - q) + \beta^2 q,

    where only positive terms are added, so that nothing cancels; :math:`1 - q` is taken from ``above``.

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
    passed, left = (below / mass).clamp(0, 1), (above / mass).clamp(0, 1)
    root = (alpha.square() * left).addcmul(beta.square(), passed).sqrt()
    return (passed / (alpha + root).clamp(min=tiny)).clamp(0, 1)


def interpolate(values: Tensor, events: Tensor, axes: tuple[Axis, ...]) -> Tensor:
    """Multilinear interpolant of node values ``[samples, *nodes]`` at events ``[samples, events, dimensions]``: ``[samples, events]``."""
    places = locate(axes, _sample_numbers(values, events), events.flatten(0, 1))
    fractions = tuple(place.fraction for place in places)
    return _interpolated(values.flatten(), places[-1].left, distances(values.shape[1:]), fractions).view(events.shape[:2])


def _pieces(values: Tensor, events: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Pieces of the events and the numbers of their samples."""
    numbers = _sample_numbers(values, events)
    size = _PIECE * torch.get_num_threads() if events.device.type == "cpu" else max(len(numbers), 1)
    for start in range(0, len(numbers), size):
        piece = slice(start, start + size)
        yield piece, numbers[piece]


def _sample_numbers(values: Tensor, events: Tensor) -> Tensor:
    """Number of the sample of every event, ``[samples * events]``, in integers that can count all node values."""
    dtype = torch.int32 if values.numel() < 2**31 else torch.int64
    return torch.arange(len(values), dtype=dtype, device=values.device)[:, None].expand(events.shape[:2]).flatten()


def _draw(tables: list[Table], samples: Tensor, uniforms: Tensor, out: Tensor) -> None:
    """Events of one piece, ``[events, dimensions]``."""
    left, fractions = samples, ()
    total = tables[0].ends.index_select(0, samples)
    # Strictly below the total, so that a cell without mass at the end of the axis is never entered.
    uniforms = uniforms.clamp(max=1 - torch.finfo(uniforms.dtype).eps)
    for d, table in enumerate(tables):
        starts, target = left * table.axis.num_nodes, uniforms[:, d] * total
        left = _bisect(table.integrals, starts, target, table.axis.num_nodes - 1, table.distances, fractions)
        low, high, below, above = (
            _interpolated(flat[end:], left, table.distances, fractions) for flat in (table.values, table.integrals) for end in (0, 1)
        )
        fraction = invert_cell(low, high, target - below, above - target)
        _position(table.axis, left - starts, fraction, out=out[:, d])
        fractions, total = (*fractions, fraction), torch.lerp(low, high, fraction)


def _bisect(
    flat: Tensor, starts: Tensor, target: Tensor, count: int, distances: tuple[int, ...] = (), fractions: tuple[Tensor, ...] = ()
) -> Tensor:
    """Position of the last of ``count`` increasing entries from ``starts`` on that is at or below ``target``, the first if none is."""
    position = starts
    while count > 1:
        half = count // 2
        entries = _interpolated(flat[half:], position, distances, fractions)
        # Arithmetic, because torch.where takes four times as long on the CPU when its condition is as good as random.
        position = torch.add(position, (entries <= target).to(position.dtype), alpha=half)
        count -= half
    return position


def _interpolated(flat: Tensor, left: Tensor, distances: tuple[int, ...], fractions: tuple[Tensor, ...]) -> Tensor:
    """Entries of a flat table at ``left``, interpolated between the corners that lie ``distances`` away from it, one per coordinate."""
    if not fractions:
        return flat.index_select(0, left)
    lower = _interpolated(flat, left, distances[:-1], fractions[:-1])
    upper = _interpolated(flat[distances[-1] :], left, distances[:-1], fractions[:-1])
    return torch.lerp(lower, upper, fractions[-1])


def _blend(at_corners: Tensor, fractions: tuple[Tensor, ...]) -> Tensor:
    """Sum over the corners with their multilinear weights, ``[c, events]`` to ``[events]``; the latest axis is the outermost bit of c."""
    for fraction in reversed(fractions):
        lower, upper = at_corners.chunk(2)
        at_corners = torch.lerp(lower, upper, fraction)
    return at_corners[0]


def _position(axis: Axis, cells: Tensor, fraction: Tensor, out: Tensor) -> None:
    left, right = axis.nodes.index_select(0, cells), axis.nodes[1:].index_select(0, cells)
    torch.clamp(torch.lerp(left, right, fraction), axis.low, axis.high, out=out)


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
        for i in reversed(range(len(earlier))):
            lower, upper = part.chunk(2)
            place = earlier[i].place
            part = (upper - lower) / place.width if i == j else torch.lerp(lower, upper, place.fraction)
        slopes.append(part[0])
    return slopes


def _pushes(conditionals: list[Conditional], wanted: list[Tensor]) -> list[Tensor]:
    """Factor of d(G - u T) of each coordinate in the gradient at the node values, from the gradient at the events."""
    visible, pushes = _on_support(conditionals), []
    for d in reversed(range(len(conditionals))):
        here = conditionals[d]
        pushes.insert(0, torch.where(visible[d], -wanted[d] / here.density, 0))
        for earlier, slope in enumerate(_weight_slopes(conditionals[:d], here.mismatch(here.reached))):
            wanted[earlier] = torch.addcmul(wanted[earlier], pushes[0], slope)
    return pushes


def _changes(conditionals: list[Conditional], moved: list[Conditional]) -> list[Tensor]:
    """Change of each coordinate, in lengths of its axis, when the tables change by those of ``moved``."""
    changes: list[Tensor] = []
    for here, change, visible in zip(conditionals, moved, _on_support(conditionals), strict=True):
        excess = _blend(change.mismatch(here.reached), here.place.earlier)
        slopes = _weight_slopes(conditionals[: len(changes)], here.mismatch(here.reached))
        for earlier, slope in zip(changes, slopes, strict=True):
            excess = torch.addcmul(excess, earlier, slope)
        changes.append(torch.where(visible, -excess / here.density, 0))
    return changes


def _scatter(here: Conditional, push: Tensor, passed_on: Tensor | None, corners: tuple[int, ...], nodes: Tensor, integrals: Tensor) -> None:
    """Add up, over events, the derivative of ``push * (G - u T)`` with respect to the entries M and C of this axis' table.

    ``passed_on`` is ``push * u`` of the next coordinate, whose T is interpolated from this table's M.
    """
    lower, upper = (push * shape for shape in here.shapes)
    left, fraction = here.place.left, here.place.fraction
    if passed_on is not None:
        to_upper = passed_on * fraction
        lower, upper = lower - (passed_on - to_upper), upper - to_upper
    for corner, weight in zip(corners, here.corner_weights, strict=True):
        for sums, share in ((nodes[corner:], lower), (nodes[corner + 1 :], upper), (integrals[corner:], push)):
            sums.index_add_(0, left, (weight * share).double())
