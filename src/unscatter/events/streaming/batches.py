"""Putting a batch together from pieces of windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from unscatter.arrays import Events
from unscatter.events.hashing import BootstrapKey
from unscatter.events.streaming.reading_ahead import Window
from unscatter.events.streaming.records import RecordLayout
from unscatter.events.streaming.windows import Piece


class Batch:
    """The records of one step, copied out of windows.

    Args:
        layout: of the records.
        shape: ``(replicas, channels, num_events)``.
        device: where batches are made.
        placed: whether windows were copied to the device; the rows' numbers are then taken from main memory by themselves.
    """

    def __init__(self, layout: RecordLayout, shape: tuple[int, int, int], device: torch.device, *, placed: bool | None = None) -> None:
        self._layout = layout
        placed = device.type != "cpu" if placed is None else placed
        dtype = torch.float64 if layout.dtype == np.float64 else torch.float32
        self._records = torch.empty(*shape, layout.width, dtype=dtype, device=device)
        self._host = None if placed else self._records.numpy()
        self._numbers = np.empty(shape, np.int64) if layout.numbered and placed else None

    def take(self, channel: int, piece: Piece, window: Window) -> None:
        """Copy a piece of a window, for each replica from another place of its circle.

        Args:
            channel: index of the channel.
            piece: which rows of the window, and where they go.
            window: where they come from.
        """
        replicas, length = len(self._records), len(window.order)
        into = slice(piece.at, piece.at + piece.num_events)
        for replica in range(replicas):
            start = (piece.first + window.turn + replica * length // replicas) % length
            for here, there in _around(start, piece.num_events, length):
                self._copy(window, here, (replica, channel, slice(into.start + there.start, into.start + there.stop)))

    def _copy(self, window: Window, rows: slice, place: tuple[int, int, slice]) -> None:
        """Copy consecutive rows of a window's order."""
        if self._host is not None:
            # The merge of the blocks; every block is read from front to back.
            window.records.take(window.order[rows], axis=0, out=self._host[place], mode="clip")
            return
        assert window.placed is not None
        self._records[place] = window.placed.records[rows]
        if self._numbers is not None:
            self._numbers[place] = self._layout.numbers(window.records[window.order[rows]])

    def events(self, columns: tuple[str, ...], keys: Sequence[Sequence[BootstrapKey]] | None) -> Events:
        """The batch with its weights.

        Args:
            columns: names of the events' columns.
            keys: of the bootstrap weights, ``[channel][replica]``, or None without a bootstrap.
        """
        size = self._layout.num_columns
        weights = self._records[..., size].contiguous() if self._layout.weighted else None
        if keys is not None:
            seen = self._seen(keys)
            weights = seen if weights is None else seen * weights
        return Events(self._records[..., :size].contiguous(), columns, weights)

    def _seen(self, keys: Sequence[Sequence[BootstrapKey]]) -> Tensor:
        """How often each replica sees each event, ``[replica, channel, num_events]``."""
        numbers = self._layout.numbers(self._records.numpy()) if self._numbers is None else self._numbers
        seen = np.empty(numbers.shape, np.uint8)
        for channel, of_channel in enumerate(keys):
            for replica, key in enumerate(of_channel):
                seen[replica, channel] = key.weights(numbers[replica, channel])
        return torch.from_numpy(seen).to(self._records.device).to(self._records.dtype)


def _around(start: int, count: int, length: int) -> Iterator[tuple[slice, slice]]:
    """Stretches of a circle of ``length`` from ``start`` on, and where they stand among the ``count`` that are wanted.

    Example:
        >>> list(_around(8, 4, 10))
        [(slice(8, 10, None), slice(0, 2, None)), (slice(0, 2, None), slice(2, 4, None))]
    """
    before_end = min(count, length - start)
    yield slice(start, start + before_end), slice(0, before_end)
    if before_end < count:
        yield slice(0, count - before_end), slice(before_end, count)
