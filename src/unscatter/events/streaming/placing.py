"""Where windows are kept: in main memory, or on a device that they are copied to beside the fit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unscatter.events.streaming.records import RecordLayout

_DTYPES = {4: torch.float32, 8: torch.float64}


@dataclass(frozen=True, eq=False)
class Placed:
    """Records where batches are made.

    Args:
        records: ``[rows, width]``.
        copied: tells when the copy is complete, or None where there was none to make.
    """

    records: Tensor
    copied: torch.cuda.Event | None = None


class Placement:
    """Puts windows on a device.

    For a GPU they are filled in pinned memory and copied on a stream of their own, so that the copy runs beside the steps.

    Args:
        device: where batches are made.
    """

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self._side = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None

    def buffer(self, num_rows: int, layout: RecordLayout) -> Tensor:
        """Memory for a window, ``[num_rows, width]``, pinned where it is copied from."""
        return torch.empty(num_rows, layout.width, dtype=_DTYPES[layout.dtype.itemsize], pin_memory=self._side is not None)

    def put(self, records: Tensor) -> Placed:
        """The records on the device; the copy may still be under way."""
        if self._side is None:
            return Placed(records.to(self.device))
        with torch.cuda.stream(self._side):
            copy = records.to(self.device, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record(self._side)
        # The buffer is filled again only after the thread has seen the copy's end.
        copied.synchronize()
        return Placed(copy, copied)

    def wait(self, placed: Placed) -> None:
        """Let the current stream of the device wait for a copy, and tell the allocator that it uses it."""
        if placed.copied is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(placed.copied)
            placed.records.record_stream(current)
