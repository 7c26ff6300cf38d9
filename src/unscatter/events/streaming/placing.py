"""Where windows are kept: in main memory, or on a device that they are copied to beside the fit."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unscatter.events.streaming.records import RecordLayout

_DTYPES = {4: torch.float32, 8: torch.float64}


@dataclass(frozen=True, eq=False)
class Placed:
    """A window's records on a device.

    Args:
        records: in their random order, ``[rows, width]``.
        copied: tells when the copy is complete, or None where it is.
    """

    records: Tensor
    copied: torch.cuda.Event | None = None


class Placement:
    """Puts windows on a device.

    For a GPU they are merged into pinned memory and copied on a stream of their own, so that the copy runs beside the steps.

    Args:
        device: where batches are made.
        copies: whether windows are copied at all; not to main memory, where they are.
    """

    def __init__(self, device: torch.device | str, *, copies: bool | None = None) -> None:
        self.device = torch.device(device)
        self.copies = self.device.type != "cpu" if copies is None else copies
        self._side = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self._buffers: deque[Tensor] = deque()

    def put(self, records: np.ndarray, order: np.ndarray, layout: RecordLayout) -> Placed | None:
        """The records on the device in a given order; None where they stay where they are.

        Args:
            records: ``[slots * capacity, width]``.
            order: which of them, ``[rows]``.
            layout: of the records.
        """
        if not self.copies:
            return None
        buffer = self._take_buffer(len(records), layout)
        records.take(order, axis=0, out=buffer.numpy()[: len(order)], mode="clip")
        placed = self._copied(buffer[: len(order)])
        self._buffers.append(buffer)
        return placed

    def wait(self, placed: Placed | None) -> None:
        """Let the current stream of the device wait for a copy, and tell the allocator that it uses it."""
        if placed is not None and placed.copied is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(placed.copied)
            placed.records.record_stream(current)

    def _take_buffer(self, num_rows: int, layout: RecordLayout) -> Tensor:
        try:
            return self._buffers.pop()
        except IndexError:
            return torch.empty(num_rows, layout.width, dtype=_DTYPES[layout.dtype.itemsize], pin_memory=self._side is not None)

    def _copied(self, records: Tensor) -> Placed:
        if self._side is None:
            return Placed(records.to(self.device, copy=True))
        with torch.cuda.stream(self._side):
            copy = records.to(self.device, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record(self._side)
        # The buffer is filled again only after the thread has seen the copy's end.
        copied.synchronize()
        return Placed(copy, copied)
