"""Detectors: stages one after another, and one chain per channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unscatter.arrays import Events
from unscatter.detectors.background import spread_rows
from unscatter.detectors.protocol import CheckedStage, ColumnStage, DetectorStage, GrowingStage, MovableStage
from unscatter.errors import ColumnError, SettingsError, ShapeError


@dataclass(frozen=True, eq=False)
class Detector:
    r"""Stages one after another; itself a stage.  ``Detector(())`` is the ideal detector, which changes nothing.

    Noise has one row per event that enters the detector.  A stage behind a background sees up to :math:`g` times as many events; it
    gets :math:`g` times its columns, which are turned into rows, so all random numbers stay independent and none is used twice.

    Args:
        stages: what happens to the events, in this order.

    Raises:
        ShapeError: the noise does not fit the events, or a stage returned more events than it states.
        ColumnError: a stage needs a column that is not there.

    Example:
        >>> from unscatter.detectors import Cuts, Smearing
        >>> detector = Detector((Smearing("x", relative=0.05), Cuts({"x": (0.1, 0.9)})))
        >>> detector.noise_columns, detector.columns_out(("x", "Q2"))
        (1, ('x', 'Q2'))
    """

    stages: tuple[DetectorStage, ...] = ()

    @property
    def noise_columns(self) -> int:
        """Uniform numbers per event that enters the detector."""
        return sum(growth * stage.noise_columns for stage, growth in self._stages_with_growth())

    @property
    def nuisances(self) -> tuple[str, ...]:
        """Names of all fitted parameters; stages that use the same name share the parameter."""
        return tuple(dict.fromkeys(name for stage in self.stages for name in stage.nuisances))

    @property
    def max_growth(self) -> int:
        """The detector returns at most this many times the events that enter."""
        growth = 1
        for stage in self.stages:
            growth *= _growth(stage)
        return growth

    def columns_out(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Columns of the measured events; ColumnError when a stage needs one that is missing."""
        for stage in self.stages:
            columns = stage.columns_out(columns) if isinstance(stage, ColumnStage) else columns
        return columns

    def __call__(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> Events:
        """Fold the events, ``[..., channel, num_events, columns]``, with noise ``[..., channel, num_events, noise_columns]``."""
        self._check_noise(events, noise)
        for stage, stage_noise in self._stages_with_noise(noise):
            events = _apply(stage, events, stage_noise, nuisances)
        return events

    def validate(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> None:
        """Let each stage look at the events that reach it; for :meth:`Problem.check`, not for the training loop."""
        self._check_noise(events, noise)
        for stage, stage_noise in self._stages_with_noise(noise):
            if isinstance(stage, CheckedStage):
                stage.validate(events, stage_noise[..., : events.num_events, :], nuisances)
            events = _apply(stage, events, stage_noise, nuisances)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Detector:
        """The same detector with all its tables on another device or in another precision."""
        return Detector(tuple(stage.to(device, dtype) if isinstance(stage, MovableStage) else stage for stage in self.stages))

    def _stages_with_growth(self) -> Iterator[tuple[DetectorStage, int]]:
        growth = 1
        for stage in self.stages:
            yield stage, growth
            growth *= _growth(stage)

    def _stages_with_noise(self, noise: Tensor) -> Iterator[tuple[DetectorStage, Tensor]]:
        start = 0
        for stage, growth in self._stages_with_growth():
            stop = start + growth * stage.noise_columns
            yield stage, spread_rows(noise[..., start:stop], growth, growth * noise.shape[-2])
            start = stop

    def _check_noise(self, events: Events, noise: Tensor) -> None:
        wanted = (*events.values.shape[:-1], self.noise_columns)
        if tuple(noise.shape) != wanted:
            raise ShapeError(
                f"'noise' must have the shape {wanted} for events of the shape {tuple(events.values.shape)}, got {tuple(noise.shape)}.\n"
                "Draw it with torch.rand(*events.values.shape[:-1], detector.noise_columns)."
            )


@dataclass(frozen=True, eq=False)
class PerChannel:
    """A detector for each channel.

    All of them must return the same columns and the same number of events, since channels share one tensor.

    Args:
        detectors: ``{channel: stage}``; a channel measured ideally gets ``Detector(())``.
        channels: names of the channels in the order of the channel axis, the third axis from the end of the values.

    Raises:
        SettingsError: ``detectors`` and ``channels`` do not name the same channels.
        ShapeError: the events have another number of channels, or the detectors return different numbers of events.
        ColumnError: the detectors return different columns.

    Example:
        >>> from unscatter.detectors import Smearing
        >>> ideal, blurred = Detector(()), Detector((Smearing("x", absolute=0.1),))
        >>> PerChannel({"proton": ideal, "neutron": blurred}, channels=("proton", "neutron")).noise_columns
        1
    """

    detectors: Mapping[str, DetectorStage]
    channels: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.channels or sorted(self.detectors) != sorted(self.channels):
            raise SettingsError(f"PerChannel has detectors for {list(self.detectors)} but the channels are {list(self.channels)}.")

    @property
    def noise_columns(self) -> int:
        """The most that any channel needs; the others leave the rest unused."""
        return max(stage.noise_columns for stage in self.detectors.values())

    @property
    def nuisances(self) -> tuple[str, ...]:
        """Names of all fitted parameters; channels that use the same name share it, unless it has a channel axis."""
        return tuple(dict.fromkeys(name for channel in self.channels for name in self.detectors[channel].nuisances))

    @property
    def max_growth(self) -> int:
        """The most that any channel adds."""
        return max(_growth(stage) for stage in self.detectors.values())

    def columns_out(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Columns of the measured events, the same for all channels."""
        return self._common_columns({channel: Detector((stage,)).columns_out(columns) for channel, stage in self.detectors.items()})

    def __call__(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> Events:
        """Fold each channel of the events, ``[..., channel, num_events, columns]``, with its own detector."""
        folded = {channel: stage(*arguments) for channel, stage, arguments in self._split(events, noise, nuisances)}
        columns = self._common_columns({channel: out.columns for channel, out in folded.items()})
        if len({out.num_events for out in folded.values()}) > 1:
            raise ShapeError(
                f"the detectors of the channels return different numbers of events, { {c: out.num_events for c, out in folded.items()} }.\n"
                "Give all backgrounds the same 'events_per_signal'; one without background takes Background(0.0, ...) with it."
            )
        weighted = any(out.weights is not None for out in folded.values())
        weights = torch.cat([out.weights_or_ones() for out in folded.values()], -2) if weighted else None
        return Events(torch.cat([out.values for out in folded.values()], -3), columns, weights)

    def validate(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> None:
        """Let the stages of each channel look at the events that reach them."""
        for _, stage, arguments in self._split(events, noise, nuisances):
            if isinstance(stage, CheckedStage):
                stage.validate(*arguments)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> PerChannel:
        """The same detectors with all their tables on another device or in another precision."""
        moved = {c: stage.to(device, dtype) if isinstance(stage, MovableStage) else stage for c, stage in self.detectors.items()}
        return PerChannel(moved, self.channels)

    def _split(
        self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]
    ) -> Iterator[tuple[str, DetectorStage, tuple[Events, Tensor, dict[str, Tensor]]]]:
        if events.values.ndim < 3 or events.values.shape[-3] != len(self.channels):
            raise ShapeError(
                f"PerChannel needs events [..., {len(self.channels)}, num_events, columns] for the channels {list(self.channels)}, "
                f"got the shape {tuple(events.values.shape)}."
            )
        for i, channel in enumerate(self.channels):
            stage, weights = self.detectors[channel], events.weights
            weights = None if weights is None else weights[..., i : i + 1, :]
            one = Events(events.values[..., i : i + 1, :, :], events.columns, weights)
            own = {name: _channel_of(value, i, len(self.channels)) for name, value in nuisances.items()}
            yield channel, stage, (one, noise[..., i : i + 1, :, : stage.noise_columns], own)

    def _common_columns(self, columns: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
        if len(set(columns.values())) > 1:
            raise ColumnError(f"the detectors of the channels return different columns, { {c: list(n) for c, n in columns.items()} }.")
        return columns[self.channels[0]]


def _apply(stage: DetectorStage, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> Events:
    folded = stage(events, noise[..., : events.num_events, :], nuisances)
    if folded.num_events > _growth(stage) * events.num_events:
        raise ShapeError(
            f"{stage} returned {folded.num_events} events for {events.num_events} but states a growth of at most {_growth(stage)}.\n"
            "Give the stage a property 'max_growth': how many times more events it may return."
        )
    return folded


def _growth(stage: DetectorStage) -> int:
    return stage.max_growth if isinstance(stage, GrowingStage) else 1


def _channel_of(nuisance: Tensor, channel: int, num_channels: int) -> Tensor:
    has_channels = nuisance.ndim >= 2 and nuisance.shape[-2] == num_channels
    return nuisance[..., channel : channel + 1, :] if has_channels else nuisance
