"""The order in which a stream uses rows: blocks in random order, cut into windows, each in an order of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from unscatter.arrays import RandomStream
from unscatter.events.order import stretches


class WindowKey(NamedTuple):
    """What the content of a window is a pure function of, together with the source."""

    stream: RandomStream
    epoch: int
    window: int


class Piece(NamedTuple):
    """Part of a batch that lies in one window."""

    key: WindowKey
    #: First position in the window, before turns.
    first: int
    num_events: int
    #: Where the part starts in the batch.
    at: int


@dataclass(frozen=True, eq=False)
class EpochWindows:
    """The windows of one epoch.

    Args:
        blocks: their numbers in random order, ``[blocks]``; only those that have rows.
        starts: position of each window's first row in the epoch, and how many there are, ``[windows + 1]``.
        window_blocks: blocks per window; the last window may have fewer.
    """

    blocks: np.ndarray
    starts: np.ndarray
    window_blocks: int

    def blocks_of(self, window: int) -> tuple[int, ...]:
        """Blocks of one window."""
        return tuple(self.blocks[window * self.window_blocks : (window + 1) * self.window_blocks].tolist())

    def num_rows(self, window: int) -> int:
        """Rows of one window."""
        return int(self.starts[window + 1] - self.starts[window])

    @property
    def num_windows(self) -> int:
        """Number of windows."""
        return len(self.starts) - 1


def epoch_windows(counts: np.ndarray, window_blocks: int, generator: torch.Generator) -> EpochWindows:
    """Shuffle the blocks and cut their sequence into windows.

    Args:
        counts: rows of each block, ``[blocks]``.
        window_blocks: blocks per window.
        generator: of the random numbers.

    Example:
        >>> windows = epoch_windows(np.array([4, 4, 0, 1]), 2, torch.Generator().manual_seed(1))
        >>> windows.num_windows, int(windows.starts[-1]), sorted(windows.blocks.tolist())
        (2, 9, [0, 1, 3])
    """
    used = np.flatnonzero(counts)
    blocks = used[torch.randperm(len(used), generator=generator).numpy()]
    ends = np.cumsum(counts[blocks])
    last = np.minimum(np.arange(window_blocks, len(blocks) + window_blocks, window_blocks), len(blocks)) - 1
    return EpochWindows(blocks, np.concatenate([[0], ends[last]]).astype(np.int64), window_blocks)


class WindowOrder:
    """Windows of all epochs of one channel; remembers the latest epochs, which the result does not depend on.

    Args:
        counts: rows of each block, ``[blocks]``.
        window_blocks: blocks per window.
        name: of the channel: channels are shuffled independently.
    """

    def __init__(self, counts: np.ndarray, window_blocks: int, name: str) -> None:
        self.num_rows = int(counts.sum())
        self.slots = min(window_blocks, int(np.count_nonzero(counts)))
        self.capacity = int(counts.max())
        self._counts, self._name = counts, name
        self._latest: dict[tuple[RandomStream, int], EpochWindows] = {}

    def epoch(self, stream: RandomStream, epoch: int) -> EpochWindows:
        """The windows of one epoch: a pure function of the stream, the channel's name and the epoch."""
        key = (stream, epoch)
        if key not in self._latest:
            if len(self._latest) > 3:
                self._latest.pop(next(iter(self._latest)))
            self._latest[key] = epoch_windows(self._counts, self.slots, stream.generator("blocks", epoch, self._name))
        return self._latest[key]

    def pieces(self, step: int, num_events: int, stream: RandomStream) -> Iterator[Piece]:
        """Cut the batch of one step at the ends of windows and epochs."""
        for stretch in stretches(step, num_events, self.num_rows):
            starts = self.epoch(stream, stretch.epoch).starts
            done = 0
            while done < stretch.num_events:
                position = stretch.first + done
                window = int(np.searchsorted(starts, position, side="right")) - 1
                count = min(stretch.num_events - done, int(starts[window + 1]) - position)
                yield Piece(WindowKey(stream, stretch.epoch, window), position - int(starts[window]), count, stretch.at + done)
                done += count

    def after(self, key: WindowKey) -> WindowKey:
        """The window that steps come to next."""
        if key.window + 1 < self.epoch(key.stream, key.epoch).num_windows:
            return key._replace(window=key.window + 1)
        return key._replace(epoch=key.epoch + 1, window=0)

    def turn(self, key: WindowKey) -> int:
        """Where the circle of a window starts: windows of an epoch share a pattern, and so do not begin alike."""
        length = self.epoch(key.stream, key.epoch).num_rows(key.window)
        return key.stream.integer("turn", key.epoch, key.window, self._name) % length
