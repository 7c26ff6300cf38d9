"""What the pipeline expects of a detector stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from unscatter.arrays import Events


@runtime_checkable
class DetectorStage(Protocol):
    r"""One step of the detector: a deterministic, differentiable function of events and of uniform random numbers.

    A stage changes the values, the weights or the number of events, and the sum of the weights says what it does to the rate:
    the expected count behind it is the one before it times :math:`\sum_i w_i^\text{out} / \sum_i w_i^\text{in}`.

    These three members are all that a stage needs.  A stage that adds events, changes columns, holds tables or can check its own
    values says so with :class:`GrowingStage`, :class:`ColumnStage`, :class:`MovableStage` or :class:`CheckedStage`.
    """

    @property
    def noise_columns(self) -> int:
        """How many uniform numbers per event the stage consumes."""
        ...

    @property
    def nuisances(self) -> tuple[str, ...]:
        """Names of the parameters that the stage wants fitted, for instance a background fraction."""
        ...

    def __call__(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> Events:
        """Fold the events.

        Args:
            events: ``[..., channel, num_events, columns]``.
            noise: uniform numbers in [0, 1), ``[..., channel, num_events, noise_columns]``.
            nuisances: one tensor per name, broadcastable to the weights ``[..., channel, num_events]``.
        """
        ...


@runtime_checkable
class GrowingStage(Protocol):
    """A stage that returns more events than it is given."""

    @property
    def max_growth(self) -> int:
        """The stage returns at most this many times the events that it is given, whatever their number."""
        ...


@runtime_checkable
class ColumnStage(Protocol):
    """A stage that needs, adds or drops columns by name."""

    def columns_out(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Columns behind the stage for given ``columns`` before it; ColumnError when one that it needs is missing."""
        ...


@runtime_checkable
class MovableStage(Protocol):
    """A stage that holds tensors."""

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> DetectorStage:
        """The same stage with its tensors on another device or in another precision."""
        ...


@runtime_checkable
class CheckedStage(Protocol):
    """A stage that can look at values, which costs a round trip to the device and so stays out of the hot path."""

    def validate(self, events: Events, noise: Tensor, nuisances: Mapping[str, Tensor]) -> None:
        """Raise when these events give a value that makes no sense, for instance an efficiency above one."""
        ...
