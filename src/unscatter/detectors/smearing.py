"""Smearing: measured values scatter about the true ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field

import torch
from torch import Tensor

from unscatter.arrays import Events
from unscatter.detectors.columns import NamedColumns, one_per_event, require_columns
from unscatter.errors import ColumnError, ParameterError, SettingsError

#: Function of the named columns, ``[..., num_events]`` each, that returns one number per event.
EventFunction = Callable[[Mapping[str, Tensor]], Tensor]


def standard_normals(uniforms: Tensor) -> Tensor:
    r"""Map uniforms in [0, 1) to standard normal numbers, :math:`z = \Phi^{-1}(u)`.

    Uniforms are multiples of :math:`\epsilon/2` of their precision, so 0 is moved to :math:`\epsilon/2`, the mirror image of the
    largest one: the result is finite and its range symmetric (5.3 in float32, 8.2 in float64).

    Example:
        >>> standard_normals(torch.tensor([0.5, 0.0])).isfinite().tolist()
        [True, True]
    """
    half_step = torch.finfo(uniforms.dtype).eps / 2
    return torch.special.ndtri(uniforms.clamp(half_step, 1 - half_step))


@dataclass(frozen=True, eq=False)
class Smearing:
    r"""Gaussian smearing of one column.

    .. math:: v' = v + \sigma(v) z, \qquad \sigma^2 = \sigma_\text{abs}^2 + (r v)^2 + \sigma_\text{f}(\text{event})^2,
        \qquad z \sim \mathcal{N}(0, 1)

    Gradients reach the value and, through :math:`\sigma`, everything that the width depends on; widths are those at the true values.
    Values that leave a physical range stay where they fell: cut them away with :class:`~unscatter.detectors.Cuts`.

    Args:
        column: which column is smeared.
        absolute: :math:`\sigma_\text{abs} \ge 0`, in the unit of the column.
        relative: :math:`r \ge 0`, without unit.
        function: :math:`\sigma_\text{f}`, a function of the columns ``{name: [..., num_events]}``, in the unit of the column.

    Raises:
        SettingsError: no width is given.
        ParameterError: a constant width is negative.
        ColumnError: the events lack the column.

    Example:
        >>> smear = Smearing("x", absolute=0.01, function=lambda event: 0.002 * event["Q2"].sqrt())
        >>> events = Events(torch.tensor([[[0.1, 4.0]]]), ("x", "Q2"))
        >>> smear(events, torch.full((1, 1, 1), 0.5), {}).values
        tensor([[[0.1000, 4.0000]]])
    """

    column: str
    _: KW_ONLY
    absolute: float | None = None
    relative: float | None = None
    function: EventFunction | None = None
    noise_columns: int = field(default=1, init=False, repr=False)
    nuisances: tuple[str, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        if self.absolute is None and self.relative is None and self.function is None:
            raise SettingsError(f"{self} has no width. Give 'absolute', 'relative' or 'function'.")
        for name, width in (("absolute", self.absolute), ("relative", self.relative)):
            if width is not None and not width >= 0:
                raise ParameterError(f"'{name}' of {self} must not be negative, got {width:g}.")

    def __str__(self) -> str:
        return f"Smearing('{self.column}')"

    def columns_out(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """The columns themselves, once it is clear that the smeared one is among them."""
        require_columns(str(self), [self.column], columns)
        return columns

    def __call__(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> Events:
        """Smear the events, ``[..., num_events, columns]``, with one uniform number each."""
        columns = NamedColumns(events, str(self))
        shift = _in_quadrature(self._widths(columns, events)) * standard_normals(noise[..., 0])
        return events.with_columns({self.column: columns[self.column] + shift})

    def validate(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> None:
        """Raise ParameterError when ``function`` gives a negative width or one that is not finite."""
        if self.function is None:
            return
        sigma = one_per_event(str(self), self.function(NamedColumns(events, str(self))), events)
        bad = ~(torch.isfinite(sigma) & (sigma >= 0))
        if bool(bad.any()):
            raise ParameterError(
                f"'function' of {self} gave {int(bad.sum())} widths of {bad.numel()} that are negative or not finite, "
                f"the first is {float(sigma[bad][0]):g}.\nReturn a width, for example torch.sqrt(variance.clamp(min=0))."
            )

    def _widths(self, columns: NamedColumns, events: Events) -> list[Tensor]:
        value, widths = columns[self.column], []
        if self.absolute is not None:
            widths.append(torch.full_like(value, self.absolute))
        if self.relative is not None:
            widths.append(self.relative * value)
        if self.function is not None:
            widths.append(one_per_event(str(self), self.function(columns), events))
        return widths


@dataclass(frozen=True, eq=False)
class UserSmearing:
    r"""Any smearing, of several columns together if need be: a function of columns and independent standard normal numbers.

    Args:
        function: maps the columns ``{name: [..., num_events]}`` and the normals ``[..., num_events, noise_columns]`` to the changed
            columns ``{name: [..., num_events]}``.  Only differentiable torch operations, no branch on values.
        noise_columns: how many normal numbers per event the function gets.
        adds: names of new columns that the function returns, for instance a reconstructed Q2 beside the true one.

    Raises:
        ColumnError: the function asks for, or returns, a column that is neither in the events nor in ``adds``, or leaves one of
            ``adds`` out.

    Example:
        Energy and angle with correlated errors, the covariance being :math:`L L^\top`:

        >>> L = torch.tensor([[0.10, 0.00], [0.03, 0.04]])
        >>> def correlated(event, normals):
        ...     shift = normals @ L.T
        ...     return {"E": event["E"] + shift[..., 0], "theta": event["theta"] + shift[..., 1]}
        >>> smear = UserSmearing(correlated, noise_columns=2)
        >>> events = Events(torch.tensor([[[5.0, 0.2]]]), ("E", "theta"))
        >>> smear(events, torch.full((1, 1, 2), 0.5), {}).values
        tensor([[[5.0000, 0.2000]]])
    """

    function: Callable[[Mapping[str, Tensor], Tensor], Mapping[str, Tensor]]
    _: KW_ONLY
    noise_columns: int
    adds: tuple[str, ...] = ()
    nuisances: tuple[str, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        if self.noise_columns < 0:
            raise SettingsError(f"'noise_columns' of {self} must not be negative, got {self.noise_columns}.")

    def __str__(self) -> str:
        return f"UserSmearing({getattr(self.function, '__name__', type(self.function).__name__)})"

    def columns_out(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """The columns followed by the new ones of ``adds``."""
        return columns + tuple(name for name in self.adds if name not in columns)

    def __call__(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> Events:
        """Smear the events, ``[..., num_events, columns]``."""
        changed = self.function(NamedColumns(events, str(self)), standard_normals(noise))
        columns = self.columns_out(events.columns)
        unknown, missing = set(changed) - set(columns), set(columns) - set(events.columns) - set(changed)
        if unknown or missing:
            raise ColumnError(
                f"{self} returned the columns {list(changed)}, unexpected are {sorted(unknown)}, missing are {sorted(missing)}.\n"
                f"The events that reach it have {list(events.columns)}. Name new columns in adds=(...)."
            )
        new = {name: one_per_event(str(self), changed[name], events) for name in columns if name in changed}
        return events.with_columns(new)


def _in_quadrature(widths: list[Tensor]) -> Tensor:
    if len(widths) == 1:
        return widths[0]
    variance = torch.stack([width.square() for width in widths]).sum(0)
    positive = variance > 0
    # The square root has no slope at zero: the inner 'where' keeps its backward pass finite there.
    return torch.where(positive, torch.where(positive, variance, 1).sqrt(), 0)
