"""Background: events from elsewhere among the signal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from unscatter.arrays import Density, Events
from unscatter.errors import ColumnError, EventsError, ParameterError, SettingsError, ShapeError

#: Background events per signal event where the fraction is fitted, so not known beforehand.
DEFAULT_EVENTS_PER_SIGNAL = 0.5


@runtime_checkable
class BackgroundSource(Protocol):
    """Makes background events out of uniform numbers."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the events."""
        ...

    @property
    def dimensions(self) -> int:
        """How many uniform numbers one event takes."""
        ...

    def __call__(self, uniforms: Tensor) -> Tensor:
        """Map ``uniforms`` ``[..., channel, num_events, dimensions]`` to values ``[..., channel, num_events, columns]``."""
        ...

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> BackgroundSource:
        """The same source on another device or in another precision."""
        ...


@dataclass(frozen=True, eq=False)
class Background:
    r"""Add background events, weighted so that they make up a fraction of all.

    With the signal's sum of weights :math:`S` and :math:`m` background events behind the signal on the event axis, each of these has

    .. math:: w = \frac{f}{1 - f} \frac{S}{m},

    so the background holds the fraction :math:`f` of the weights of each channel, the sum of weights is :math:`S / (1 - f)`, and
    gradients reach :math:`f` and the signal.  For other fractions in other channels give the nuisance a channel axis
    ``[..., channel, 1]`` or use :class:`~unscatter.detectors.PerChannel`.

    Args:
        fraction: a number in [0, 1), or the name of a nuisance parameter that is fitted.
        events: the background: ``Events`` ``[num_events, columns]`` for all channels or ``[channel, num_events, columns]``, from which
            events are picked with replacement in proportion to their weights; or any :class:`BackgroundSource`.  Columns that the
            signal does not have are left out.
        events_per_signal: background events per signal event, :math:`m / n`; m is rounded and at least one.  None takes f / (1 - f),
            equal weights for all, where f is fixed, and 0.5 where it is fitted.

    Raises:
        ParameterError: the fraction lies outside [0, 1), or the nuisance parameter is not given.
        SettingsError: ``events_per_signal`` is not positive.
        EventsError: there are no background events, or some are not finite.
        ColumnError: a column of the signal is missing in the background.
        ShapeError: the background has another number of channels, or the fraction depends on the event.

    Example:
        >>> cosmics = Events(torch.tensor([[0.9], [0.8]]), ("x",))
        >>> signal = Events(torch.tensor([[[0.1], [0.2], [0.3], [0.4]]]), ("x",))
        >>> mixed = Background(0.2, events=cosmics)(signal, torch.zeros(1, 4, 1), {})
        >>> mixed.column("x"), mixed.weights
        (tensor([[0.1000, 0.2000, 0.3000, 0.4000, 0.9000]]), tensor([[1., 1., 1., 1., 1.]]))
    """

    fraction: float | str
    _: KW_ONLY
    events: Events | BackgroundSource
    events_per_signal: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.fraction, str) and not 0 <= self.fraction < 1:
            raise ParameterError(f"'fraction' of Background must lie in [0, 1), got {self.fraction:g}.")
        if self.events_per_signal is not None and not 0 < self.events_per_signal < math.inf:
            raise SettingsError(f"'events_per_signal' of Background must be positive, got {self.events_per_signal:g}.")
        _ = self.source  # unusable events are an error here, not in the first step

    @classmethod
    def from_density(
        cls,
        fraction: float | str,
        density: Density,
        sampler: Callable[[Density, Tensor], Events],
        *,
        events_per_signal: float | None = None,
    ) -> Background:
        """Background drawn from a tabulated density of one channel, or of as many as the signal has, by any sampler."""
        return cls(fraction, events=DensitySource(density, sampler), events_per_signal=events_per_signal)

    @cached_property
    def source(self) -> BackgroundSource:
        """Where the background events come from."""
        return EventPool(self.events) if isinstance(self.events, Events) else self.events

    @cached_property
    def ratio(self) -> float:
        """Background events per signal event."""
        if self.events_per_signal is not None:
            return self.events_per_signal
        return DEFAULT_EVENTS_PER_SIGNAL if isinstance(self.fraction, str) else self.fraction / (1 - self.fraction)

    @property
    def noise_columns(self) -> int:
        """Uniform numbers per signal event; those left over by the rounding of the number of background events are not used."""
        return (self.max_growth - 1) * self.source.dimensions

    @property
    def nuisances(self) -> tuple[str, ...]:
        """The name of the fraction, where it is fitted."""
        return (self.fraction,) if isinstance(self.fraction, str) else ()

    @property
    def max_growth(self) -> int:
        """Signal and background together, at most, per signal event."""
        return 1 + max(1, math.ceil(self.ratio))

    def num_background(self, num_events: int) -> int:
        """How many background events are added to ``num_events`` signal events."""
        return max(1, round(self.ratio * num_events))

    def columns_out(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """The columns themselves, once it is clear that the background has them all."""
        missing = [name for name in columns if name not in self.source.columns]
        if missing:
            raise ColumnError(
                f"Background has the columns {list(self.source.columns)}, but the signal has {list(columns)}: missing are {missing}.\n"
                "Give the background these columns, or put it before the stage that adds them."
            )
        return columns

    def __call__(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> Events:
        """Append the background to the events, ``[..., num_events, columns]``."""
        self.columns_out(events.columns)
        num_background = self.num_background(events.num_events)
        uniforms = spread_rows(noise, self.max_growth - 1, num_background)
        added = Events(self.source(uniforms).to(events.values), self.source.columns).select(events.columns)
        weights = events.weights_or_ones()
        per_event = self._odds(nuisances) * weights.sum(-1, keepdim=True) / num_background
        background_weights = per_event.expand(*weights.shape[:-1], num_background)
        return Events(torch.cat([events.values, added.values], -2), events.columns, torch.cat([weights, background_weights], -1))

    def validate(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> None:
        """Raise ParameterError when a fitted fraction lies outside [0, 1)."""
        if isinstance(self.fraction, str):
            value = self._nuisance(self.fraction, nuisances)
            if not bool(((value >= 0) & (value < 1)).all()):
                raise ParameterError(
                    f"the background fraction '{self.fraction}' must lie in [0, 1), got values from {float(value.min()):g} "
                    f"to {float(value.max()):g}.\nGive it a range inside, for example (0.0, 0.5)."
                )

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Background:
        """The same background with its events on another device or in another precision."""
        return replace(self, events=self.events.to(device, dtype))

    def _odds(self, nuisances: Mapping[str, Tensor]) -> Tensor | float:
        fraction = self._nuisance(self.fraction, nuisances) if isinstance(self.fraction, str) else self.fraction
        return fraction / (1 - fraction)

    def _nuisance(self, name: str, nuisances: Mapping[str, Tensor]) -> Tensor:
        if name not in nuisances:
            raise ParameterError(f"Background needs the nuisance parameter '{name}', but only {list(nuisances)} are given.")
        if nuisances[name].ndim and nuisances[name].shape[-1] != 1:
            raise ShapeError(
                f"the background fraction '{name}' must be the same for all events of a channel, [..., channel, 1], "
                f"got the shape {tuple(nuisances[name].shape)}."
            )
        return nuisances[name]


@dataclass(frozen=True, eq=False)
class EventPool:
    """Recorded events, picked with replacement in proportion to their weights.

    One uniform number picks one event, so float32 (24 bits) reaches 16.7 million different events.

    Args:
        events: ``[num_events, columns]`` for all channels or ``[channel, num_events, columns]``.

    Raises:
        EventsError: no events, values that are not finite, or weights that are negative or all zero.
        ShapeError: more axes than channel, event and column.
    """

    events: Events
    dimensions: int = field(default=1, init=False, repr=False)

    def __post_init__(self) -> None:
        values, weights = self.events.values, self.events.weights_or_ones()
        if values.ndim > 3:
            raise ShapeError(
                f"background events must be [num_events, columns] or [channel, num_events, columns], got {tuple(values.shape)}."
            )
        if self.events.num_events == 0:
            raise EventsError("the background has no events.")
        bad_rows = ~torch.isfinite(values).all(-1) | ~torch.isfinite(weights) | (weights < 0)
        if bool(bad_rows.any()):
            raise EventsError(
                f"{int(bad_rows.sum())} of {bad_rows.numel()} background events are not finite or weighted negatively, "
                f"the first in row {int(bad_rows.reshape(-1, self.events.num_events).any(0).nonzero()[0])}."
            )
        if not bool((weights.sum(-1) > 0).all()):
            raise EventsError("the weights of the background events are all zero.")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.events.columns

    def __call__(self, uniforms: Tensor) -> Tensor:
        """Pick one event per uniform number, ``[..., channel, num_events, 1]``."""
        num_channels = self.events.values.shape[0] if self.events.values.ndim == 3 else 1
        if num_channels > 1 and uniforms.shape[-3] != num_channels:
            raise ShapeError(f"the background has {num_channels} channels but the signal has {uniforms.shape[-3]}.")
        channel = torch.arange(num_channels, device=uniforms.device)[:, None]
        rows = self._rows(uniforms[..., 0], channel)
        return self.events.values.flatten(0, -2).to(uniforms.device)[rows]

    def _rows(self, uniforms: Tensor, channel: Tensor) -> Tensor:
        num_events = self.events.num_events
        if self._cumulative is None:
            row_in_channel = (uniforms * num_events).long().clamp(max=num_events - 1)
            return row_in_channel + num_events * channel
        # Channel c owns the interval [c, c + 1) of one cumulative distribution; float64 keeps the digits behind the point.
        rows = torch.searchsorted(self._cumulative.to(uniforms.device), (uniforms.double() + channel).contiguous(), right=True)
        return torch.minimum(rows, (channel + 1) * num_events - 1)

    @cached_property
    def _cumulative(self) -> Tensor | None:
        if self.events.weights is None:
            return None
        total = self.events.weights.double().cumsum(-1)
        fractions = (total / total[..., -1:]).reshape(-1, self.events.num_events)
        return (fractions + torch.arange(len(fractions), device=total.device)[:, None]).flatten()

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> EventPool:
        """The same events on another device or in another precision."""
        return EventPool(self.events.to(device, dtype))


@dataclass(frozen=True, eq=False)
class DensitySource:
    """Events drawn afresh from a tabulated density.

    Args:
        density: values ``[channel, *nodes]``, of one channel or of as many as the signal has; the columns are the names of its grid.
        sampler: maps a density ``[channel, *nodes]`` and uniforms ``[channel, num_events, dimensions]`` to events, as samplers do.

    Raises:
        ShapeError: the density has further axes, or another number of channels than the signal.
    """

    density: Density
    sampler: Callable[[Density, Tensor], Events]

    def __post_init__(self) -> None:
        if self.density.batch_shape:
            raise ShapeError(f"a background density needs the shape [channel, *nodes], got {tuple(self.density.values.shape)}.")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the axes of the grid."""
        return self.density.grid.names

    @property
    def dimensions(self) -> int:
        """One uniform number per axis."""
        return self.density.grid.num_dimensions

    def __call__(self, uniforms: Tensor) -> Tensor:
        """Draw one event per row of ``uniforms``, ``[..., channel, num_events, dimensions]``."""
        num_channels = len(self.density.channels)
        if num_channels > 1 and uniforms.shape[-3] != num_channels:
            raise ShapeError(f"the background density has {num_channels} channels but the signal has {uniforms.shape[-3]}.")
        # All sets of events share the density, so leading axes join the event axis and the density is prepared only once.
        by_channel = uniforms.movedim(-3, 0) if num_channels > 1 else uniforms
        values = self.sampler(self.density, by_channel.reshape(num_channels, -1, self.dimensions)).values
        values = values.reshape(*by_channel.shape[:-1], len(self.columns))
        return values.movedim(0, -3) if num_channels > 1 else values

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> DensitySource:
        """The same density on another device or in another precision."""
        density = Density(self.density.values.to(device=device, dtype=dtype), self.density.grid.to(device, dtype), self.density.channels)
        return DensitySource(density, self.sampler)


def spread_rows(noise: Tensor, growth: int, num_rows: int) -> Tensor:
    """Turn ``growth`` blocks of columns into rows: ``[..., n, growth * k]`` to the first ``num_rows`` of ``[..., growth * n, k]``.

    Every number is used at most once, and row i of the first block stays row i, so the signal keeps its own noise.

    Example:
        >>> spread_rows(torch.arange(8.0).reshape(2, 4), 2, 3)
        tensor([[0., 1.],
                [4., 5.],
                [2., 3.]])
    """
    if growth == 1:
        return noise[..., :num_rows, :]
    blocks = noise.reshape(*noise.shape[:-1], growth, noise.shape[-1] // growth)
    return blocks.movedim(-2, -3).flatten(-3, -2)[..., :num_rows, :]
