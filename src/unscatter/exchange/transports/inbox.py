"""The newest message of a source, while the next one arrives."""

from __future__ import annotations

import threading
import zlib

import torch

from unscatter.exchange.transports.buffers import payload_sum
from unscatter.exchange.transports.checks import is_whole
from unscatter.exchange.transports.protocol import Header, Message


class Inbox:
    """Newest wins at the receiver: one buffer is being filled, one waits, one belongs to whoever polled last.

    Example:
        >>> box = Inbox(2, torch.float32)
        >>> box.content[:] = torch.ones(2).numpy().tobytes()
        >>> box.accept(Header(1, 1, 0, 1.0, 2.0), zlib.crc32(box.content), incarnation=0)
        True
        >>> box.poll().payload, box.poll()
        (tensor([1., 1.]), None)
    """

    def __init__(self, num_parameters: int, dtype: torch.dtype) -> None:
        self._lock = threading.Lock()
        self._filling, self._ready, self._taken = (torch.zeros(num_parameters, dtype=dtype) for _ in range(3))
        self._header: Header | None = None
        self._last = (0, 0)

    @property
    def content(self) -> memoryview:
        """The memory of the buffer that is being filled."""
        return self._filling.numpy().data.cast("B")

    def accept(self, header: Header, crc: int, *, incarnation: int) -> bool:
        """Let what was filled in replace the message before; False, and nothing done, if it is damaged.

        A message that was sent again after it had arrived is passed over.

        Args:
            header: what stands on it.
            crc: CRC-32 of the payload as it was sent.
            incarnation: of the sender; versions of one that was started again begin anew.
        """
        if zlib.crc32(self.content) != crc or not is_whole(self._filling, payload_sum(self._filling), header.check):
            return False
        if self._last[0] == incarnation and header.version <= self._last[1]:
            return True
        with self._lock:
            self._filling, self._ready = self._ready, self._filling
            self._header = header
        self._last = (incarnation, header.version)
        return True

    def poll(self) -> Message | None:
        """The newest message that was not returned before."""
        if self._header is None:
            return None
        with self._lock:
            self._ready, self._taken = self._taken, self._ready
            header, self._header = self._header, None
        assert header is not None
        return Message(header, self._taken)
