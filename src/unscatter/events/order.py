"""The order in which steps use events: one permutation per epoch, walked through batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from unscatter.arrays import RandomStream


class Stretch(NamedTuple):
    """Part of a batch that lies in one epoch."""

    epoch: int
    #: First position in the permutation of the epoch.
    first: int
    num_events: int
    #: Where the part starts in the batch.
    at: int


def stretches(step: int, num_events: int, length: int) -> Iterator[Stretch]:
    """Cut the batch of one step at the ends of the epochs of a data set with ``length`` events.

    Example:
        >>> list(stretches(step=2, num_events=4, length=10))
        [Stretch(epoch=0, first=8, num_events=2, at=0), Stretch(epoch=1, first=0, num_events=2, at=2)]
    """
    done = 0
    while done < num_events:
        epoch, first = divmod(step * num_events + done, length)
        count = min(num_events - done, length - first)
        yield Stretch(epoch, first, count, done)
        done += count


def permutation(stream: RandomStream, key: tuple[str | int, ...], epoch: int, length: int) -> np.ndarray:
    """The order of one epoch: a pure function of the stream, the data set's key and the epoch."""
    generator = stream.generator("epoch", epoch, *key)
    return torch.randperm(length, generator=generator).numpy()


@dataclass(frozen=True)
class DataSet:
    """Rows of a table that are one data set of one channel, shared by one or more replicas.

    Replicas that share a data set also share its permutations, but each starts at another place of the circle: in an epoch each of them
    uses every event once, and no two see the same batch at the same step.
    """

    channel: int
    replicas: tuple[int, ...]
    first_row: int
    num_rows: int
    key: tuple[str | int, ...]

    @property
    def shifts(self) -> list[int]:
        """Where each replica starts in a permutation."""
        return [j * self.num_rows // len(self.replicas) for j in range(len(self.replicas))]


@dataclass
class EpochOrder:
    """Rows of the table for every step.

    Remembers the last permutation of each data set, which a run without memory would compute again: the result does not depend on it.
    """

    data_sets: Sequence[DataSet]
    num_replicas: int
    num_channels: int
    _latest: dict[DataSet, tuple[tuple[RandomStream, int], np.ndarray]] = field(default_factory=dict, repr=False)

    def rows(self, step: int, num_events: int, stream: RandomStream) -> np.ndarray:
        """Rows of the batch of one step, ``[replica, channel, num_events]`` of int64."""
        rows = np.empty((self.num_replicas, self.num_channels, num_events), np.int64)
        for data_set in self.data_sets:
            for stretch in stretches(step, num_events, data_set.num_rows):
                order = self._order(stream, data_set, stretch.epoch)
                batch = rows[:, data_set.channel, stretch.at : stretch.at + stretch.num_events]
                for replica, shift in zip(data_set.replicas, data_set.shifts, strict=True):
                    _copy_from_circle(order, (stretch.first + shift) % data_set.num_rows, batch[replica])
        return rows

    def _order(self, stream: RandomStream, data_set: DataSet, epoch: int) -> np.ndarray:
        known = self._latest.get(data_set)
        if known is not None and known[0] == (stream, epoch):
            return known[1]
        order = data_set.first_row + permutation(stream, data_set.key, epoch, data_set.num_rows)
        self._latest[data_set] = ((stream, epoch), order)
        return order


def _copy_from_circle(order: np.ndarray, start: int, out: np.ndarray) -> None:
    """Copy ``order[start:]`` to ``out``, going on at the beginning where it ends."""
    before_end = min(len(out), len(order) - start)
    out[:before_end] = order[start : start + before_end]
    out[before_end:] = order[: len(out) - before_end]
