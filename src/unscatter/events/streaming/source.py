"""Events that are streamed from stores: the source of a fit whose data no memory can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unscatter.arrays import Events, RandomStream
from unscatter.errors import EventsError, SettingsError
from unscatter.events.hashing import BootstrapKey
from unscatter.events.splitting import check_fractions
from unscatter.events.streaming.batches import Batch
from unscatter.events.streaming.channel import Channel
from unscatter.events.streaming.checks import check_channels
from unscatter.events.streaming.placing import Placement
from unscatter.events.streaming.reading_ahead import WindowReader
from unscatter.events.streaming.records import RecordLayout
from unscatter.events.streaming.sampling import Sampled, read_all, read_rows, sampled_rows
from unscatter.events.streaming.stored import WINDOW_BLOCKS, Streamable, as_channel
from unscatter.events.streaming.sums import bootstrap_sums, weight_sums


class StreamedEvents:
    r"""One data set in blocks, seen by all replicas as it is or each through its own bootstrap.

    An epoch goes through all blocks in random order.  Windows of ``window_blocks`` of them are read ahead, and their rows come in a
    uniformly random order.  Every replica goes through a window once, each from another place of its circle.  Rows, their part of a split
    and their bootstrap weights are those of :class:`~unscatter.events.InMemoryEvents` with the same events and the same seed.

    Args:
        channels: the events of each channel: a store or its path, a part of one, or a table of blocks; all with the same columns.
        replicas: length of the replica axis.
        bootstrap: whether replicas see bootstrapped data.
        seed: what the bootstrap and :meth:`sample` depend on.
        exposure: share of the full data that is here.
        window_blocks: blocks whose rows are shuffled together, the same for all channels or per channel; more need more memory.
        dtype: of the events.

    Raises:
        EventsError: there is no channel, or one has no events or only weights that are zero.
        ColumnError: the channels have different columns.

    Example:
        >>> from unscatter.events.streaming.blocks import MemoryTable
        >>> table = MemoryTable(Events(torch.rand(1000, 2), ("x", "y")), rows_per_block=100)
        >>> source = StreamedEvents({"proton": table}, replicas=3, bootstrap=True, seed=1)
        >>> source.batch(0, 64, RandomStream(1)).values.shape
        torch.Size([3, 1, 64, 2])
    """

    def __init__(
        self, channels: Mapping[str, Streamable], *, replicas: int = 1, bootstrap: bool = False, seed: int = 0, exposure: float = 1.0,
        window_blocks: int | Mapping[str, int] = WINDOW_BLOCKS, dtype: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        if replicas < 1:
            raise SettingsError(f"'replicas' must be at least 1, got {replicas}.")
        self._channels = tuple(as_channel(name, value) for name, value in channels.items())
        check_channels(self._channels)
        self._windows = {name: window_blocks[name] if isinstance(window_blocks, Mapping) else window_blocks for name in channels}
        if min(self._windows.values()) < 1:
            raise SettingsError(f"'window_blocks' must be at least 1, got {self._windows}.")
        self._replicas, self._bootstrap, self._seed, self._exposure = replicas, bootstrap, seed, exposure
        self._dtype, self._device = dtype, torch.device("cpu")

    @property
    def channels(self) -> tuple[str, ...]:
        """One name per channel."""
        return tuple(channel.name for channel in self._channels)

    @property
    def columns(self) -> tuple[str, ...]:
        """One name per column."""
        return self._channels[0].table.columns

    @property
    def num_replicas(self) -> int:
        """Length of the replica axis."""
        return self._replicas

    @property
    def exposure(self) -> float:
        """Share of the full data that is here."""
        return self._exposure

    @property
    def waited_s(self) -> float:
        """Seconds that batches have waited for data, since this source was made."""
        return sum(reader.waited_s for reader in self.__dict__.get("_readers", ()))

    @property
    def counts(self) -> Float[Tensor, "replica channel"]:
        """Observed sum of weights, float64; with a bootstrap found by a pass over the numbers of all rows."""
        return self._counts

    @cached_property
    def _counts(self) -> Tensor:
        if self._bootstrap:
            sums = [bootstrap_sums(channel, self._keys(channel.name)) for channel in self._channels]
        else:
            sums = [np.full(self._replicas, weight_sum) for weight_sum, _ in self._weight_sums]
        return torch.from_numpy(np.stack(sums, 1))

    @property
    def effective_counts(self) -> Float[Tensor, " channel"]:
        r"""How many unweighted events the data are worth, :math:`(\sum w)^2 / \sum w^2`, float64."""
        return torch.tensor([total**2 / squares for total, squares in self._weight_sums], dtype=torch.float64)

    def batch(self, step: int, num_events: int, stream: RandomStream, device: torch.device | str = "cpu") -> Events:
        """The events of one step, ``[replica, channel, num_events, columns]``; see :class:`~unscatter.events.EventSource`."""
        if num_events < 1 or step < 0:
            raise SettingsError(f"a batch needs a step >= 0 and at least one event, got step {step} and num_events {num_events}.")
        batch = Batch(self._layout, (self._replicas, len(self._channels), num_events), self._device)
        for index, reader in enumerate(self._readers):
            for piece in reader.order.pieces(step, num_events, stream):
                batch.take(index, piece, reader.get(piece.key))
        keys = [self._keys(channel.name) for channel in self._channels] if self._bootstrap else None
        events = batch.events(self.columns, keys)
        # A call of PyTorch gives the interpreter to the threads that read ahead, and has to wait for it again.
        return events if self._device == torch.device(device) else events.to(device)

    def sample(self, num_events: int) -> Events:
        """A fixed random sample without repetition, ``[replica, channel, n, columns]``, on the CPU: the same rows for all replicas.

        Of large channels only some blocks are read, see :func:`~unscatter.events.streaming.sampling.sampled_rows`.
        """
        size = min(num_events, *(channel.num_rows for channel in self._channels))
        parts = [self._sampled(channel, size) for channel in self._channels]
        values = torch.stack([torch.from_numpy(part.values) for part in parts]).expand(self._replicas, -1, -1, -1)
        if not (self._layout.weighted or self._bootstrap):
            return Events(values, self.columns)
        weights = [
            torch.stack([self._weights(channel, part, replica) for channel, part in zip(self._channels, parts, strict=True)])
            for replica in range(self._replicas)
        ]
        return Events(values, self.columns, torch.stack(weights))

    def of_channel(self, channel: str, replica: int | None = None, max_events: int | None = None) -> Events:
        """The events of one channel, ``[n, columns]``, on the CPU: all in their order, or a fixed random sample of ``max_events``.

        Raises:
            EventsError: there is no such channel or replica.
            SettingsError: all are asked for, but they do not fit into memory.
        """
        found = self._find(channel, replica)
        everything = max_events is None or max_events >= found.num_rows
        rows = read_all(found, self._numpy_dtype) if everything else self._sampled(found, max_events or 0)
        weighted = rows.weights is not None or (self._bootstrap and replica is not None)
        return Events(torch.from_numpy(rows.values), self.columns, self._weights(found, rows, replica) if weighted else None)

    def move_to(self, device: torch.device | str) -> None:
        """Copy windows to a device as they are filled, so that batches are made there."""
        self._device = torch.device(device)
        for reader in self._readers:
            reader.place(Placement(self._device))

    def close(self) -> None:
        """Stop reading ahead and give the memory of the windows back; the next batch begins again."""
        for reader in self.__dict__.get("_readers", ()):
            reader.close()

    def as_measured(self) -> StreamedEvents:
        """The same events for a single replica, without bootstrap."""
        return self._with({channel.name: channel for channel in self._channels}, replicas=1, bootstrap=False, seed=0)

    def split(self, fractions: Sequence[float], seed: int) -> tuple[StreamedEvents, ...]:
        """Split every channel, for instance into training, held-out and test; see :func:`~unscatter.events.split`."""
        check_fractions(fractions)
        keys = {channel.name: RandomStream(seed).integer("split", channel.name) for channel in self._channels}
        return tuple(
            self._with(
                {channel.name: channel.part(keys[channel.name], tuple(fractions), i) for channel in self._channels},
                seed=RandomStream(self._seed).integer("part", i), exposure=self._exposure * fraction,
            )
            for i, fraction in enumerate(fractions)
        )  # fmt: skip

    def shard(self, rank: int, num_ranks: int) -> StreamedEvents:
        """Consecutive rows of every channel; those of all ranks are all, each once, and their numbers differ by one at most.

        An event has the same bootstrap weights in whichever shard it is.

        Raises:
            EventsError: a channel has fewer events than there are ranks.
        """
        shards = {channel.name: channel.shard(rank, num_ranks) for channel in self._channels}
        return self._with(shards, exposure=self._exposure / num_ranks)

    def _with(self, channels: Mapping[str, Channel], **changed: Any) -> StreamedEvents:
        options = {
            "replicas": self._replicas, "bootstrap": self._bootstrap, "seed": self._seed, "exposure": self._exposure,
            "window_blocks": self._windows, "dtype": self._dtype,
        }  # fmt: skip
        return StreamedEvents(channels, **{**options, **changed})

    @property
    def _numpy_dtype(self) -> np.dtype:
        return np.dtype(np.float64 if self._dtype == torch.float64 else np.float32)

    @cached_property
    def _layout(self) -> RecordLayout:
        weighted = any(channel.table.has_weights for channel in self._channels)
        return RecordLayout(len(self.columns), weighted, self._bootstrap, self._numpy_dtype)

    @cached_property
    def _readers(self) -> tuple[WindowReader, ...]:
        return tuple(WindowReader(channel, self._layout, self._windows[channel.name]) for channel in self._channels)

    @cached_property
    def _weight_sums(self) -> list[tuple[float, float]]:
        return [weight_sums(channel) for channel in self._channels]

    def _keys(self, channel: str) -> list[BootstrapKey]:
        """Of the bootstrap weights of each replica."""
        stream = RandomStream(self._seed).child("bootstrap")
        return [BootstrapKey.of(stream, replica, channel) for replica in range(self._replicas)]

    def _find(self, channel: str, replica: int | None) -> Channel:
        if channel not in self.channels:
            raise EventsError(f"there is no channel '{channel}'; the events have {list(self.channels)}.")
        if replica is not None and not 0 <= replica < self._replicas:
            raise EventsError(f"there is no replica {replica}; the events have {self._replicas}, counted from 0.")
        return self._channels[self.channels.index(channel)]

    def _sampled(self, channel: Channel, size: int) -> Sampled:
        seed = RandomStream(self._seed).integer("sample", channel.name)
        return read_rows(channel, sampled_rows(channel.num_rows, size, seed, run=channel.table.table.rows_per_block), self._numpy_dtype)

    def _weights(self, channel: Channel, rows: Sampled, replica: int | None) -> Tensor:
        """Weights of rows as they were measured, or as one replica sees them, ``[rows]``."""
        weights = torch.ones(len(rows.values), dtype=self._dtype) if rows.weights is None else torch.from_numpy(rows.weights)
        if replica is None or not self._bootstrap:
            return weights
        return weights * torch.from_numpy(self._keys(channel.name)[replica].weights(rows.numbers))
