"""What a method draws its measured events from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from unscatter.arrays import Events, RandomStream


@runtime_checkable
class EventSource(Protocol):
    """Measured events of all channels and replicas, wherever they are kept."""

    @property
    def channels(self) -> tuple[str, ...]:
        """One name per channel."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """One name per column, the same for all channels."""
        ...

    @property
    def num_replicas(self) -> int:
        """Length of the replica axis."""
        ...

    @property
    def counts(self) -> Float[Tensor, "replica channel"]:
        """Observed sum of weights, float64; the number of events where there are no weights."""
        ...

    @property
    def effective_counts(self) -> Float[Tensor, " channel"]:
        r"""How many unweighted events the data are worth, :math:`(\sum w)^2 / \sum w^2`, float64, mean over several data sets."""
        ...

    @property
    def exposure(self) -> float:
        """Share of the full data that is here: expected counts are to be multiplied by it before they meet :attr:`counts`."""
        ...

    def batch(self, step: int, num_events: int, stream: RandomStream, device: torch.device | str = "cpu") -> Events:
        """The events of one step, ``[replica, channel, num_events, columns]``: a pure function of the arguments.

        Steps walk through permutations of the events, one per epoch, so that every event is used once per epoch; a batch that reaches the
        end of an epoch goes on in the next permutation.

        Args:
            step: number of the step; the steps before it are taken to have had as many events.
            num_events: events per replica and channel.
            stream: what the permutations depend on.  Give the same stream at all steps, not one that depends on the step.
            device: where the events are wanted.
        """
        ...

    def sample(self, num_events: int) -> Events:
        """A fixed random sample without repetition, ``[replica, channel, n, columns]``, on the CPU; n is at most the smallest data set."""
        ...

    def of_channel(self, channel: str, replica: int | None = None, max_events: int | None = None) -> Events:
        """Events of one channel, ``[n, columns]``, on the CPU: all in the order of the data, or a fixed random sample of ``max_events``.

        With a ``replica`` they carry its bootstrap weights; without one they are as measured (of the first data set, if there are several).
        """
        ...


@runtime_checkable
class ShardedSource(Protocol):
    """A source that can be cut into parts for the ranks of a job."""

    def shard(self, rank: int, num_ranks: int) -> EventSource:
        """The part of rank ``rank``; those of all ranks are all events, each once."""
        ...


@runtime_checkable
class MovableSource(Protocol):
    """A source that can keep its events on a device, so that batches are gathered there instead of being copied at every step."""

    def move_to(self, device: torch.device | str) -> None:
        """Keep the events on another device from now on."""
        ...


@runtime_checkable
class SplittableSource(Protocol):
    """A source that can be split at random, so that some events are kept for the test at the end."""

    def split(self, fractions: Sequence[float], seed: int) -> tuple[EventSource, ...]:
        """One part per fraction, see :func:`unscatter.events.split`."""
        ...


@runtime_checkable
class SharedSource(Protocol):
    """A source whose replicas share one data set, so that a single fit to it can go before an ensemble."""

    def as_measured(self) -> EventSource:
        """The same events for a single replica, without bootstrap."""
        ...


@runtime_checkable
class WaitingSource(Protocol):
    """A source that reads while the fit runs, and says how long batches had to wait for data."""

    @property
    def waited_s(self) -> float:
        """Seconds so far."""
        ...

    def close(self) -> None:
        """Stop reading, until the next batch is asked for."""
        ...
