"""Putting a batch together from pieces of windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
        device: where the windows are.
        apart: whether the rows' numbers are copied from main memory by themselves, as they must be where windows are on another device.
    """

    def __init__(self, layout: RecordLayout, shape: tuple[int, int, int], device: torch.device, *, apart: bool | None = None) -> None:
        self._layout = layout
        apart = device.type != "cpu" if apart is None else apart
        dtype = torch.float64 if layout.dtype == np.float64 else torch.float32
        self._records = torch.empty(*shape, layout.width, dtype=dtype, device=device)
        self._numbers = np.empty(shape, np.int64) if layout.numbered and apart else None

    def take(self, channel: int, piece: Piece, window: Window) -> None:
        """Copy a piece of a window, for each replica from another place of its circle.

        Args:
            channel: index of the channel.
            piece: which rows of the window, and where they go.
            window: where they come from.
        """
        replicas, length = len(self._records), len(window.records)
        for replica in range(replicas):
            start = (piece.first + window.turn + replica * length // replicas) % length
            into = slice(piece.at, piece.at + piece.num_events)
            _copy_from_circle(window.placed.records, start, self._records[replica, channel, into])
            if self._numbers is not None:
                _copy_from_circle(self._layout.numbers(window.records), start, self._numbers[replica, channel, into])

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


def _copy_from_circle(circle: Tensor | np.ndarray, start: int, out: Any) -> None:
    """Copy ``circle[start:]`` to ``out``, going on at the beginning where it ends."""
    before_end = min(len(out), len(circle) - start)
    out[:before_end] = circle[start : start + before_end]
    if before_end < len(out):
        out[before_end:] = circle[: len(out) - before_end]
