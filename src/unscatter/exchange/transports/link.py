"""A connection that never makes anybody wait."""

from __future__ import annotations

import socket
import time
from collections import deque

from unscatter.exchange.transports.frames import Script

#: Reads in a row before others get their turn.
_ROUNDS = 16


class Link:
    """A non-blocking connection whose incoming bytes go where a script says, and whose outgoing bytes queue.

    Args:
        sock: connected, or being connected.

    Example:
        >>> from unscatter.exchange.transports.frames import read
        >>> left, right = (Link(sock) for sock in socket.socketpair())
        >>> def script(words):
        ...     while True:
        ...         words.append(bytes((yield from read(2))))
        >>> words = []
        >>> right.follow(script(words))
        >>> left.send(b"abcde")
        >>> left.write(), right.read(), words
        (5, 5, [b'ab', b'cd'])
        >>> left.close(), right.close()
        (None, None)
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.heard = time.monotonic()
        """When the last bytes came, in seconds of the monotonic clock."""
        self._out: deque[memoryview] = deque()

    @property
    def num_waiting(self) -> int:
        """Pieces that have not been sent yet."""
        return len(self._out)

    def follow(self, script: Script) -> None:
        """Let a script, which never ends, read what comes."""
        self._script = script
        self._wanted = next(script)

    def send(self, data: bytes | memoryview) -> None:
        """Queue bytes; memory that is queued must not change until it was sent."""
        self._out.append(memoryview(data))

    def write(self) -> int:
        """Send what the system takes now; the number of bytes."""
        total = 0
        while self._out:
            try:
                sent = self.sock.send(self._out[0])
            except BlockingIOError:
                break
            total += sent
            self._out[0] = self._out[0][sent:]
            if not self._out[0]:
                self._out.popleft()
        return total

    def read(self) -> int:
        """Read what has come; the number of bytes.

        Raises:
            ConnectionError: the other side has closed the connection, or it broke.
        """
        total = 0
        for _ in range(_ROUNDS):
            try:
                received = self.sock.recv_into(self._wanted)
            except BlockingIOError:
                break
            if received == 0:
                raise ConnectionResetError("the other side has closed the connection")
            self.heard = time.monotonic()
            total += received
            self._wanted = self._wanted[received:]
            if not self._wanted:
                self._wanted = next(self._script)
        return total

    def close(self) -> None:
        """Close the connection."""
        self._out.clear()
        self.sock.close()
