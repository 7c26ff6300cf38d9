"""Cuts: hard edges with the gradient that the edges deserve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field

import torch
from torch import Tensor

from unscatter.arrays import Events
from unscatter.detectors.columns import NamedColumns, require_columns
from unscatter.detectors.efficiency import check_range
from unscatter.errors import ParameterError, SettingsError


@dataclass(frozen=True, eq=False)
class Cuts:
    r"""Give events outside of ranges the weight zero, and the events that cross an edge their gradient.

    A cut counts :math:`N(p) = E[1(v > c)]`.  Along a path :math:`v(u; p)` the indicator is constant almost everywhere, so its pathwise
    gradient is zero, while the truth is the flux of events through the edge,

    .. math:: \frac{dN}{dp} = f(c) \, E\!\left[\frac{dv}{dp} \,\middle|\, v = c\right],

    with the density :math:`f` of :math:`v`.  Forward the weight here is the exact indicator; backward it has the slope of a compact
    kernel of half-width :math:`h` at each edge, :math:`K_h(t) = \frac{3}{4h}(1 - t^2/h^2)` for :math:`|t| < h` (Epanechnikov):

    .. math:: w = 1(v > c) + \big(s - \text{detach}(s)\big), \qquad s = \int_{-h}^{v - c} K_h, \qquad
        E\!\left[\frac{dw}{dp}\right] = E\!\left[K_h(v - c) \frac{dv}{dp}\right] = \frac{dN}{dp} + \frac{h^2}{10} g''(c) + O(h^4),

    where :math:`g(t) = f(t) E[dv/dp | v = t]`.  The bias is :math:`O(h^2)` where :math:`g` is smooth within :math:`h` of the edge and
    :math:`O(h)` where it has a kink or a jump there; the relative noise of the flux over :math:`n` events is
    :math:`\sqrt{3 / (5 n h f(c))}`.  Several edges and columns add their fluxes, each among the events that pass all other cuts.

    Args:
        ranges: ``{column: (low, high)}``, kept is ``low <= v <= high``; None for an open end.
        width: ``{column: h}``, in the unit of the column, for the columns where ``relative_width`` does not suit.
        relative_width: :math:`h` over the standard deviation of the column in each set of events.  At 0.1 the bias for a Gaussian
            is about 0.1 % of the flux, well below what one training step can see.

    Raises:
        SettingsError: no range is given, a range has no end, or ``width`` names a column without a range.
        ParameterError: a range is upside down or a width is not positive.
        ColumnError: the events lack a column.

    References:
        Wand and Jones, Kernel Smoothing (1995), chapter 2, for bias and variance of the kernel estimate.

    Example:
        >>> cuts = Cuts({"x": (0.1, None), "Q2": (1.0, 100.0)}, width={"x": 0.02})
        >>> cuts(Events(torch.tensor([[[0.2, 5.0], [0.05, 5.0]]]), ("x", "Q2")), torch.empty(1, 2, 0), {}).weights
        tensor([[1., 0.]])
    """

    ranges: Mapping[str, tuple[float | None, float | None]]
    _: KW_ONLY
    width: Mapping[str, float] = field(default_factory=dict)
    relative_width: float = 0.1
    noise_columns: int = field(default=0, init=False, repr=False)
    nuisances: tuple[str, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.ranges:
            raise SettingsError("Cuts has no ranges. Give some, for example Cuts({'x': (0.1, 0.9)}).")
        if unused := set(self.width) - set(self.ranges):
            raise SettingsError(f"'width' names {sorted(unused)}, but there are cuts on {list(self.ranges)} only.")
        for name, (low, high) in self.ranges.items():
            check_range(f"Cuts on '{name}'", low, high)
        for name, width in {"relative_width": self.relative_width, **self.width}.items():
            if not width > 0:
                raise ParameterError(f"the width '{name}' of {self} must be positive, got {width:g}.")

    def __str__(self) -> str:
        return f"Cuts({list(self.ranges)})"

    def columns_out(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """The columns themselves, once it is clear that those with a cut are among them."""
        require_columns(str(self), self.ranges, columns)
        return columns

    def __call__(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> Events:
        """Weight the events, ``[..., num_events, columns]``, with 0 and 1."""
        columns = NamedColumns(events, str(self))
        for name, (low, high) in self.ranges.items():
            value = columns[name]
            events = events.reweighted(_indicator(value, low, high, self._half_width(name, value)))
        return events

    def _half_width(self, name: str, value: Tensor) -> Tensor | float:
        if name in self.width:
            return self.width[name]
        value = value.detach()
        spread = value.std(-1, correction=0, keepdim=True)
        rounding = 16 * torch.finfo(value.dtype).eps * value.abs().amax(-1, keepdim=True)
        # Events without spread tell nothing about the flux: an infinite width turns their gradient into zero, not into infinity.
        return self.relative_width * torch.where(spread > rounding, spread, torch.inf)


def _indicator(value: Tensor, low: float | None, high: float | None, half_width: Tensor | float) -> Tensor:
    inside, flux = torch.ones_like(value, dtype=torch.bool), torch.zeros_like(value)
    if low is not None:
        inside, flux = inside & (value >= low), flux + _smooth_step((value - low) / half_width)
    if high is not None:
        inside, flux = inside & (value <= high), flux - _smooth_step((value - high) / half_width)
    return inside.to(value.dtype) + (flux - flux.detach())


def _smooth_step(distance: Tensor) -> Tensor:
    # Integral of the Epanechnikov kernel from -1 to the distance, in units of the half-width.
    t = distance.clamp(-1, 1)
    return 0.5 + 0.75 * t - 0.25 * t**3
