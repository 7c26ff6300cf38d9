"""Efficiency and acceptance: events are seen with a probability, carried as a differentiable weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field

import numpy as np
import torch
from torch import Tensor

from unscatter.arrays import Events, Grid
from unscatter.detectors.columns import NamedColumns, one_per_event, require_columns
from unscatter.detectors.smearing import EventFunction
from unscatter.errors import ParameterError, SettingsError, ShapeError

#: A one-dimensional tensor, list or NumPy array.
FloatArray = Tensor | Sequence[float] | np.ndarray


@dataclass(frozen=True, eq=False)
class Efficiency:
    r"""Multiply the weights by the probability that an event is seen.

    .. math:: w_i' = \varepsilon(\text{event}_i) \, w_i, \qquad 0 \le \varepsilon \le 1

    A weight is differentiable where dropping events is not.  To drop them when simulating see :func:`~unscatter.detectors.unweight`.

    Args:
        function: maps the columns ``{name: [..., num_events]}`` to :math:`\varepsilon`, one number per event.

    Raises:
        ColumnError: the function asks for a column that the events do not have.
        ParameterError: from :meth:`validate`, when the function gives values outside [0, 1].

    Example:
        >>> trigger = Efficiency(lambda event: torch.sigmoid(event["energy"] - 2.0))
        >>> trigger(Events(torch.tensor([[[2.0]]]), ("energy",)), torch.empty(1, 1, 0), {}).weights
        tensor([[0.5000]])
    """

    function: EventFunction
    noise_columns: int = field(default=0, init=False, repr=False)
    nuisances: tuple[str, ...] = field(default=(), init=False, repr=False)

    @classmethod
    def tabulated(cls, column: str, nodes: FloatArray, values: FloatArray) -> Efficiency:
        """Efficiency of one column, linear between ``nodes`` and constant beyond the first and the last.

        Args:
            column: the column.
            nodes: strictly increasing, in the unit of the column, ``[nodes]``.
            values: efficiencies in [0, 1] at the nodes, ``[nodes]``.

        Raises:
            GridError: the nodes do not increase strictly.
            ShapeError: there are not as many values as nodes.
            ParameterError: a value lies outside [0, 1].

        Example:
            >>> efficiency = Efficiency.tabulated("x", nodes=[0.0, 1.0], values=[0.0, 0.8])
            >>> efficiency(Events(torch.tensor([[[0.25], [3.0]]]), ("x",)), torch.empty(1, 2, 0), {}).weights
            tensor([[0.2000, 0.8000]])
        """
        grid = Grid.from_axes({column: nodes})
        values = values if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values, dtype=np.float64))
        return cls(LinearTable(grid, values))

    def __str__(self) -> str:
        return f"Efficiency({getattr(self.function, '__name__', self.function)})"

    def columns_out(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """The columns themselves, once it is clear that a tabulated one is among them."""
        if isinstance(self.function, LinearTable):
            require_columns(str(self), self.function.grid.names, columns)
        return columns

    def __call__(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> Events:
        """Weight the events, ``[..., num_events, columns]``."""
        return events.reweighted(self._evaluate(events))

    def validate(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> None:
        """Raise ParameterError when the function gives values outside [0, 1] or not finite."""
        check_probabilities(str(self), self._evaluate(events))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Efficiency:
        """The same efficiency with a table on another device or in another precision."""
        return Efficiency(self.function.to(device, dtype)) if isinstance(self.function, LinearTable) else self

    def _evaluate(self, events: Events) -> Tensor:
        return one_per_event(str(self), self.function(NamedColumns(events, str(self))), events)


@dataclass(frozen=True, eq=False)
class LinearTable:
    """Linear interpolation in one column, constant beyond the ends: the function of :meth:`Efficiency.tabulated`.

    Args:
        grid: one axis, named like the column.
        values: probabilities at the nodes, ``[nodes]``.
    """

    grid: Grid
    values: Tensor

    def __post_init__(self) -> None:
        if tuple(self.values.shape) != self.grid.shape:
            raise ShapeError(f"'values' of {self} must have one entry per node, {self.grid.shape}, got {tuple(self.values.shape)}.")
        check_probabilities(str(self), self.values)

    def __str__(self) -> str:
        return f"table of '{self.grid.names[0]}'"

    def __call__(self, columns: Mapping[str, Tensor]) -> Tensor:
        """Interpolate, ``[..., num_events]``."""
        value = columns[self.grid.names[0]]
        nodes, table = self.grid.axes[0].to(value), self.values.to(value)
        cell = torch.bucketize(value.detach().contiguous(), nodes[1:-1], right=True)
        position = ((value - nodes[cell]) / (nodes[cell + 1] - nodes[cell])).clamp(0, 1)
        return torch.lerp(table[cell], table[cell + 1], position)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> LinearTable:
        """The same table on another device or in another precision."""
        return LinearTable(self.grid.to(device, dtype), self.values.to(device=device, dtype=dtype))


@dataclass(frozen=True, eq=False)
class Acceptance:
    r"""Smooth turn-on and turn-off in one column: a range seen with a Gaussian resolution.

    .. math:: \varepsilon(v) = \Phi\big((v - \text{low}) / \text{width}\big) \, \Phi\big((\text{high} - v) / \text{width}\big)

    Args:
        column: the column.
        low: where half of the events are seen on the way up, None for no lower end, in the unit of the column.
        high: the same on the way down.
        width: how wide the turn-on is, one standard deviation, in the unit of the column.

    Raises:
        SettingsError: neither ``low`` nor ``high`` is given.
        ParameterError: the range is upside down or ``width`` is not positive.
        ColumnError: the events lack the column.

    Example:
        >>> acceptance = Acceptance("theta", low=0.1, high=2.9, width=0.02)
        >>> acceptance(Events(torch.tensor([[[0.1], [1.5]]]), ("theta",)), torch.empty(1, 2, 0), {}).weights
        tensor([[0.5000, 1.0000]])
    """

    column: str
    _: KW_ONLY
    low: float | None = None
    high: float | None = None
    width: float
    noise_columns: int = field(default=0, init=False, repr=False)
    nuisances: tuple[str, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        check_range(str(self), self.low, self.high)
        if not self.width > 0:
            raise ParameterError(f"'width' of {self} must be positive, got {self.width:g}. For a sharp edge use Cuts.")

    def __str__(self) -> str:
        return f"Acceptance('{self.column}')"

    def columns_out(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """The columns themselves, once it is clear that the one needed is among them."""
        require_columns(str(self), [self.column], columns)
        return columns

    def __call__(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> Events:
        """Weight the events, ``[..., num_events, columns]``."""
        value = NamedColumns(events, str(self))[self.column]
        if self.low is not None:
            events = events.reweighted(torch.special.ndtr((value - self.low) / self.width))
        if self.high is not None:
            events = events.reweighted(torch.special.ndtr((self.high - value) / self.width))
        return events


def check_probabilities(owner: str, values: Tensor) -> None:
    """Raise ParameterError unless all ``values`` lie in [0, 1]."""
    bad = ~((values >= 0) & (values <= 1))
    if bool(bad.any()):
        raise ParameterError(
            f"{owner} gave {int(bad.sum())} values of {bad.numel()} outside [0, 1], the first is {float(values[bad][0]):g}.\n"
            "An efficiency is a probability: divide it by its largest value, and put that factor into the luminosity."
        )


def check_range(owner: str, low: float | None, high: float | None) -> None:
    """Raise unless at least one end is given and ``low < high``."""
    if low is None and high is None:
        raise SettingsError(f"{owner} has neither a lower nor an upper end. Give at least one of the two.")
    if low is not None and high is not None and not low < high:
        raise ParameterError(f"the range of {owner} is upside down: low = {low:g}, high = {high:g}.")
