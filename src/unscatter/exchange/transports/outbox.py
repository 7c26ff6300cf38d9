"""The newest message for a target, while the one before is being sent."""

from __future__ import annotations

import threading
from typing import NamedTuple

import torch
from torch import Tensor

from unscatter.exchange.transports.protocol import Header


class Outgoing(NamedTuple):
    """A message that is to be sent; its bytes stay as they are until the next one is taken."""

    header: Header
    content: memoryview


class Outbox:
    """Newest wins at the sender: what was not sent yet is replaced.

    The training thread writes one buffer while the network thread sends the other.

    Example:
        >>> box = Outbox(2, torch.float32)
        >>> for version in (1, 2):
        ...     box.put(Header(1, version, 0, 1.0, 2.0), torch.ones(2))
        >>> box.take().header.version, box.take()
        (2, None)
        >>> box.repeat()  # the connection broke
        >>> box.take().header.version
        2
        >>> box.confirmed = 1
        >>> box.repeat()
        >>> box.take() is None
        True
    """

    def __init__(self, num_parameters: int, dtype: torch.dtype) -> None:
        self._lock = threading.Lock()
        self._back, self._front = (torch.zeros(num_parameters, dtype=dtype) for _ in range(2))
        self._back_header: Header | None = None
        self._front_header: Header | None = None
        self._again = False
        self.confirmed = 0
        """The last transfer that the target has taken."""

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return self._back_header is not None or self._again

    def put(self, header: Header, payload: Tensor) -> None:
        """Replace the message."""
        with self._lock:
            self._back.copy_(payload)
            self._back_header = header

    def take(self) -> Outgoing | None:
        """What is to be sent next; None for nothing."""
        with self._lock:
            if self._back_header is not None:
                self._back, self._front = self._front, self._back
                self._front_header, self._back_header = self._back_header, None
            elif not self._again:
                return None
            self._again = False
            assert self._front_header is not None
            return Outgoing(self._front_header, self._front.numpy().data.cast("B"))

    def repeat(self) -> None:
        """Send the last message again unless the target has taken it: the connection broke."""
        self._again = self._front_header is not None and self._front_header.transfer > self.confirmed
