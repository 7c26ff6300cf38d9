"""Event sources that keep all events in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unscatter.arrays import Events, RandomStream
from unscatter.errors import ColumnError, EventsError, SettingsError, ShapeError
from unscatter.events.hashing import BootstrapKey
from unscatter.events.order import DataSet, EpochOrder
from unscatter.events.splitting import check_fractions, split
from unscatter.events.validation import check_events


class EventTable:
    """All data sets one under the other, and who owns which rows; what both sources below are made of.

    Args:
        parts: the events of each data set, ``[num_events, columns]``.
        data_sets: who uses them; ``parts`` are stacked in this order.
        channels: one name per channel.
        num_replicas: length of the replica axis.
        bootstrap: how often each replica sees each row, ``[replica, rows]`` of uint8, or None for once.
    """

    def __init__(
        self,
        parts: Sequence[Events],
        data_sets: Sequence[DataSet],
        channels: tuple[str, ...],
        num_replicas: int,
        bootstrap: Tensor | None = None,
    ) -> None:
        weighted = any(part.weights is not None for part in parts)
        self.columns = parts[0].columns
        self.channels = channels
        self.values = torch.cat([part.values for part in parts])
        self.weights = torch.cat([part.weights_or_ones() for part in parts]) if weighted else None
        self.bootstrap = bootstrap
        self.order = EpochOrder(data_sets, num_replicas, len(channels))
        self.counts = self._counts()
        self.effective_counts = self._effective_counts()

    def move_to(self, device: torch.device | str) -> None:
        """Keep the events on another device from now on."""
        self.values = self.values.to(device)
        self.weights = None if self.weights is None else self.weights.to(device)
        self.bootstrap = None if self.bootstrap is None else self.bootstrap.to(device)

    def batch(self, step: int, num_events: int, stream: RandomStream) -> Events:
        """See :meth:`EventSource.batch`."""
        rows = self.order.rows(step, num_events, stream)
        return Events(take(self.values, rows), self.columns, self._weights(rows, slice(None)))

    def one(self, channel: str, replica: int | None, max_events: int | None, stream: RandomStream) -> Events:
        """See :meth:`EventSource.of_channel`."""
        index = 0 if replica is None else replica
        data_set = self._data_set(channel, index)
        if max_events is None or max_events >= data_set.num_rows:
            rows = np.arange(data_set.first_row, data_set.first_row + data_set.num_rows)
        else:
            rows = self.order.rows(0, max_events, stream)[index, data_set.channel]
        weights = self._weights(rows[None], slice(index, index + 1), bootstrapped=replica is not None)
        return Events(take(self.values, rows[None])[0], self.columns, None if weights is None else weights[0])

    def smallest(self) -> int:
        """Number of events of the smallest data set."""
        return min(data_set.num_rows for data_set in self.order.data_sets)

    def _data_set(self, channel: str, replica: int) -> DataSet:
        if channel not in self.channels:
            raise EventsError(f"there is no channel '{channel}'; the events have {list(self.channels)}.")
        if not 0 <= replica < self.order.num_replicas:
            raise EventsError(f"there is no replica {replica}; the events have {self.order.num_replicas}, counted from 0.")
        index = self.channels.index(channel)
        return next(d for d in self.order.data_sets if d.channel == index and replica in d.replicas)

    def _weights(self, rows: np.ndarray, replicas: slice, *, bootstrapped: bool = True) -> Tensor | None:
        """Weights of ``rows`` ``[replica, ...]``, which belong to ``replicas``."""
        weights = None if self.weights is None else take(self.weights, rows)
        if self.bootstrap is None or not bootstrapped:
            return weights
        seen = take_own(self.bootstrap[replicas], rows, self.values.dtype)
        return seen if weights is None else seen * weights

    def _effective_counts(self) -> Tensor:
        found: list[list[float]] = [[] for _ in self.channels]
        for data_set in self.order.data_sets:
            rows = slice(data_set.first_row, data_set.first_row + data_set.num_rows)
            weights = torch.ones(data_set.num_rows) if self.weights is None else self.weights[rows]
            found[data_set.channel].append(float(weights.double().sum() ** 2 / weights.double().square().sum()))
        return torch.tensor([sum(values) / len(values) for values in found], dtype=torch.float64)

    def _counts(self) -> Tensor:
        counts = torch.zeros(self.order.num_replicas, len(self.channels), dtype=torch.float64)
        for data_set in self.order.data_sets:
            rows = slice(data_set.first_row, data_set.first_row + data_set.num_rows)
            weights = torch.ones(data_set.num_rows) if self.weights is None else self.weights[rows].double()
            for replica in data_set.replicas:
                seen = 1 if self.bootstrap is None else self.bootstrap[replica, rows]
                counts[replica, data_set.channel] = (weights * seen).sum(dtype=torch.float64)
        return counts


def take(values: Tensor, rows: np.ndarray) -> Tensor:
    """``values[rows]`` for ``rows`` ``[replica, ...]``, on the device of ``values``."""
    if values.device.type != "cpu":
        return take_by_torch(values, rows)
    # NumPy takes rows of a few columns three times as fast as torch; one replica at a time stays in the cache.
    table = values.numpy()
    out = np.empty(rows.shape + table.shape[1:], table.dtype)
    for replica, wanted in enumerate(rows):
        out[replica] = table.take(wanted, axis=0)
    return torch.from_numpy(out)


def take_own(table: Tensor, rows: np.ndarray, dtype: torch.dtype) -> Tensor:
    """``table[r, rows[r]]`` for every replica r as ``dtype``, on the device of ``table``."""
    if table.device.type != "cpu":
        return take_own_by_torch(table, rows, dtype)
    out = np.empty(rows.shape, np.float64 if dtype == torch.float64 else np.float32)
    for replica, (own, wanted) in enumerate(zip(table.numpy(), rows, strict=True)):
        out[replica] = own.take(wanted)
    return torch.from_numpy(out).to(dtype)


def take_by_torch(values: Tensor, rows: np.ndarray) -> Tensor:
    """:func:`take` in one operation of the device; on a CPU the slow reference."""
    return values[torch.from_numpy(rows).to(values.device)]


def take_own_by_torch(table: Tensor, rows: np.ndarray, dtype: torch.dtype) -> Tensor:
    """:func:`take_own` in one operation of the device; on a CPU the slow reference."""
    flat = torch.from_numpy(rows.reshape(len(rows), -1)).to(table.device)
    return table.gather(1, flat).reshape(rows.shape).to(dtype)


class _TableSource:
    """The part of :class:`~unscatter.events.EventSource` that only needs the table."""

    _table: EventTable
    _exposure: float
    _seed: int

    @property
    def channels(self) -> tuple[str, ...]:
        """One name per channel."""
        return self._table.channels

    @property
    def columns(self) -> tuple[str, ...]:
        """One name per column."""
        return self._table.columns

    @property
    def num_replicas(self) -> int:
        """Length of the replica axis."""
        return self._table.order.num_replicas

    @property
    def counts(self) -> Float[Tensor, "replica channel"]:
        """Observed sum of weights, float64."""
        return self._table.counts

    @property
    def effective_counts(self) -> Float[Tensor, " channel"]:
        r"""How many unweighted events the data are worth, :math:`(\sum w)^2 / \sum w^2`, float64, mean over several data sets."""
        return self._table.effective_counts

    @property
    def exposure(self) -> float:
        """Share of the full data that is here."""
        return self._exposure

    def batch(self, step: int, num_events: int, stream: RandomStream, device: torch.device | str = "cpu") -> Events:
        """The events of one step, ``[replica, channel, num_events, columns]``; see :class:`~unscatter.events.EventSource`."""
        if num_events < 1 or step < 0:
            raise SettingsError(f"a batch needs a step >= 0 and at least one event, got step {step} and num_events {num_events}.")
        return self._table.batch(step, num_events, stream).to(device)

    def sample(self, num_events: int) -> Events:
        """A fixed random sample without repetition, ``[replica, channel, n, columns]``, on the CPU."""
        return self._table.batch(0, min(num_events, self._table.smallest()), self._sample_stream).to("cpu")

    def of_channel(self, channel: str, replica: int | None = None, max_events: int | None = None) -> Events:
        """The events of one channel, ``[n, columns]``, on the CPU: all in their order, or a fixed random sample of ``max_events``."""
        return self._table.one(channel, replica, max_events, self._sample_stream).to("cpu")

    def move_to(self, device: torch.device | str) -> None:
        """Keep the events on another device from now on, so that batches are gathered there."""
        self._table.move_to(device)

    @property
    def _sample_stream(self) -> RandomStream:
        return RandomStream(self._seed).child("sample")


class InMemoryEvents(_TableSource):
    r"""One data set, seen by all replicas as it is or each through its own bootstrap.

    With ``bootstrap`` the events of replica r carry weights :math:`w_{ri} \sim \mathrm{Poisson}(1)` that are a pure function of the seed,
    the replica, the channel's name and the event's index, see :class:`~unscatter.events.hashing.BootstrapKey`; :attr:`counts` are their
    sums, so the spread of the replicas contains the fluctuation of the counts.

    Args:
        channels: the events of each channel, ``[num_events, columns]``, with the same columns.
        replicas: length of the replica axis.
        bootstrap: whether replicas see bootstrapped data; all of them do then, the first too.
        seed: what the bootstrap and :meth:`sample` depend on.
        exposure: share of the full data that is here.
        every: first index and distance of these events among all, for the bootstrap of a shard; see :meth:`shard`.

    Raises:
        EventsError: a channel has no events, or some that are not finite or have negative weights.
        ColumnError: the channels have different columns.
        ShapeError: a channel has more axes than ``[num_events, columns]``.

    Example:
        >>> events = Events(torch.rand(1000, 2), ("x", "y"))
        >>> source = InMemoryEvents({"proton": events}, replicas=3, bootstrap=True, seed=1)
        >>> source.batch(0, 64, RandomStream(1)).values.shape
        torch.Size([3, 1, 64, 2])
    """

    def __init__(
        self, channels: Mapping[str, Events], *, replicas: int = 1, bootstrap: bool = False, seed: int = 0, exposure: float = 1.0,
        every: tuple[int, int] = (0, 1),
    ) -> None:  # fmt: skip
        _check_channels({name: [events] for name, events in channels.items()})
        _check_replicas(replicas)
        self._events = dict(channels)
        self._bootstrap, self._seed, self._exposure, self._every = bootstrap, seed, exposure, every
        parts, data_sets = list(channels.values()), []
        for c, (name, events) in enumerate(channels.items()):
            first_row = data_sets[-1].first_row + data_sets[-1].num_rows if data_sets else 0
            data_sets.append(DataSet(c, tuple(range(replicas)), first_row, events.num_events, (name,)))
        weights = _bootstrap_weights(self._events, replicas, seed, every) if bootstrap else None
        self._table = EventTable(parts, data_sets, tuple(channels), replicas, weights)

    def as_measured(self) -> InMemoryEvents:
        """The same events for a single replica, without bootstrap."""
        return InMemoryEvents(self._events, exposure=self._exposure, every=self._every)

    def split(self, fractions: Sequence[float], seed: int) -> tuple[InMemoryEvents, ...]:
        """Split every channel, for instance into training, held-out and test; see :func:`~unscatter.events.split`."""
        check_fractions(fractions)
        parts = [split(events, fractions, seed, name) for name, events in self._events.items()]
        return tuple(
            InMemoryEvents(
                dict(zip(self._events, part, strict=True)), replicas=self.num_replicas, bootstrap=self._bootstrap,
                seed=RandomStream(self._seed).integer("part", i), exposure=self._exposure * fraction,
            )
            for i, (fraction, part) in enumerate(zip(fractions, zip(*parts, strict=True), strict=True))
        )  # fmt: skip

    def shard(self, rank: int, num_ranks: int) -> InMemoryEvents:
        """Every ``num_ranks``-th event of every channel, beginning with number ``rank``; the shards of all ranks are all events.

        A sorted file gives all ranks the same kind of events, and an event has the same bootstrap weights in whichever shard it is.

        Raises:
            EventsError: a channel has fewer events than there are ranks.

        Example:
            >>> source = InMemoryEvents({"decays": Events(torch.arange(5.0)[:, None], ("time_s",))})
            >>> source.shard(1, 2).of_channel("decays").values[:, 0]
            tensor([1., 3.])
        """
        first, step = self._every
        return InMemoryEvents(
            {name: _every(events, rank, num_ranks, name) for name, events in self._events.items()},
            replicas=self.num_replicas, bootstrap=self._bootstrap, seed=self._seed, exposure=self._exposure / num_ranks,
            every=(first + step * rank, step * num_ranks),
        )  # fmt: skip


class StackedEvents(_TableSource):
    """A data set of its own for every replica, for instance pseudo-data for a study of coverage.

    Args:
        channels: per channel, one set of events ``[num_events, columns]`` per replica, of any sizes (counts fluctuate), or one
            ``Events`` with ``[replica, num_events, columns]``.
        seed: what :meth:`sample` depends on.
        exposure: share of the full data that is here.

    Raises:
        EventsError: a data set has no events, or some that are not finite or have negative weights.
        ColumnError: the data sets have different columns.
        ShapeError: the channels have different numbers of replicas.

    Example:
        >>> sizes = [90, 110, 100]
        >>> source = StackedEvents({"proton": [Events(torch.rand(n, 2), ("x", "y")) for n in sizes]})
        >>> source.counts[:, 0].tolist()
        [90.0, 110.0, 100.0]
    """

    def __init__(self, channels: Mapping[str, Sequence[Events] | Events], *, seed: int = 0, exposure: float = 1.0) -> None:
        self._events = {name: _unstacked(name, events) for name, events in channels.items()}
        _check_channels(self._events)
        self._seed, self._exposure = seed, exposure
        data_sets, first_row = [], 0
        for c, (name, replicas) in enumerate(self._events.items()):
            for r, events in enumerate(replicas):
                data_sets.append(DataSet(c, (r,), first_row, events.num_events, (name, r)))
                first_row += events.num_events
        parts = [events for replicas in self._events.values() for events in replicas]
        self._table = EventTable(parts, data_sets, tuple(channels), len(next(iter(self._events.values()))))

    def split(self, fractions: Sequence[float], seed: int) -> tuple[StackedEvents, ...]:
        """Split every data set, for instance into training, held-out and test; see :func:`~unscatter.events.split`."""
        check_fractions(fractions)
        split_sets = {
            name: [split(events, fractions, seed, name, r) for r, events in enumerate(replicas)] for name, replicas in self._events.items()
        }
        return tuple(
            StackedEvents(
                {name: [parts[i] for parts in replicas] for name, replicas in split_sets.items()},
                seed=RandomStream(self._seed).integer("part", i), exposure=self._exposure * fraction,
            )
            for i, fraction in enumerate(fractions)
        )  # fmt: skip

    def shard(self, rank: int, num_ranks: int) -> StackedEvents:
        """Every ``num_ranks``-th event of every data set, beginning with number ``rank``; see :meth:`InMemoryEvents.shard`.

        Raises:
            EventsError: a data set has fewer events than there are ranks.
        """
        return StackedEvents(
            {name: [_every(events, rank, num_ranks, name) for events in replicas] for name, replicas in self._events.items()},
            seed=self._seed, exposure=self._exposure / num_ranks,
        )  # fmt: skip


def _bootstrap_weights(channels: Mapping[str, Events], replicas: int, seed: int, every: tuple[int, int]) -> Tensor:
    """How often each replica sees each row, ``[replica, rows]`` of uint8."""
    stream, (first, step) = RandomStream(seed).child("bootstrap"), every
    rows = {name: first + step * np.arange(events.num_events) for name, events in channels.items()}
    weights = [
        np.concatenate([BootstrapKey.of(stream, replica, name).weights(index) for name, index in rows.items()])
        for replica in range(replicas)
    ]
    return torch.from_numpy(np.stack(weights))


def _every(events: Events, rank: int, num_ranks: int, channel: str) -> Events:
    if events.num_events < num_ranks:
        raise EventsError(f"channel '{channel}' has {events.num_events} events, too few for {num_ranks} ranks: use fewer ranks.")
    weights = None if events.weights is None else events.weights[rank::num_ranks]
    return Events(events.values[rank::num_ranks], events.columns, weights)


def _unstacked(channel: str, events: Sequence[Events] | Events) -> list[Events]:
    if not isinstance(events, Events):
        return list(events)
    if events.values.ndim != 3:
        raise ShapeError(
            f"channel '{channel}' must have the shape [replica, num_events, columns], got {tuple(events.values.shape)}.\n"
            "For one data set that all replicas share use InMemoryEvents."
        )
    weights = [None] * len(events.values) if events.weights is None else list(events.weights)
    return [Events(v, events.columns, w) for v, w in zip(events.values, weights, strict=True)]


def _check_replicas(replicas: int) -> None:
    if replicas < 1:
        raise SettingsError(f"'replicas' must be at least 1, got {replicas}.")


def _check_channels(channels: Mapping[str, Sequence[Events]]) -> None:
    """Refuse channels that cannot stand in one tensor."""
    sizes = {name: len(events) for name, events in channels.items()}
    if not sizes or min(sizes.values()) == 0:
        raise EventsError(f"at least one channel with one data set is needed, got {sizes or 'no channels'}.")
    if len(set(sizes.values())) > 1:
        raise ShapeError(f"all channels need the same number of replicas, got {sizes}.")
    first_name, first = next((name, events[0]) for name, events in channels.items())
    for name, replicas in channels.items():
        for r, events in enumerate(replicas):
            label = f"channel '{name}'" + (f", replica {r}" if len(replicas) > 1 else "")
            _check_one(events, label, first, f"channel '{first_name}'")


def _check_one(events: Events, label: str, first: Events, first_label: str) -> None:
    if events.values.ndim != 2:
        raise ShapeError(f"{label} must have the shape [num_events, columns], got {tuple(events.values.shape)}.")
    if events.columns != first.columns:
        raise ColumnError(
            f"{label} has the columns {list(events.columns)}, but {first_label} has {list(first.columns)}.\n"
            f"Bring them in the same order: events.select({list(first.columns)})."
        )
    if events.values.dtype != first.values.dtype or events.values.device != first.values.device:
        raise ShapeError(
            f"{label} is {events.values.dtype} on {events.values.device}, but {first_label} is {first.values.dtype} on "
            f"{first.values.device}. Convert one of them: events.to(dtype=...)."
        )
    check_events(events, label)
