"""A thread that waits for sockets, and for nothing longer than a short while."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

OnReady = Callable[[int], None]


class SelectorThread:
    """Calls back when sockets are ready, and ``tick`` after every look at them.

    Args:
        name: of the thread.
        tick: called with the monotonic time; the thread ends when it returns False.
        period_s: longest time between two ticks.

    Example:
        >>> ticks = []
        >>> thread = SelectorThread("example", lambda now: bool(ticks.append(now)), 0.1)
        >>> thread.start()
        >>> thread.join(1.0), len(ticks)
        (True, 1)
    """

    def __init__(self, name: str, tick: Callable[[float], bool], period_s: float) -> None:
        self._tick = tick
        self._period_s = period_s
        self._selector = selectors.DefaultSelector()
        self._ear, self._bell = socket.socketpair()
        self._ear.setblocking(False)
        self._bell.setblocking(False)
        self._rung = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._selector.register(self._ear, selectors.EVENT_READ, self._hear)
        self._thread.start()

    def wake(self) -> None:
        """Let the next tick come at once; for other threads."""
        if not self._rung:
            self._rung = True
            with suppress(OSError):  # full, so it is awake; or closed, so there is nobody to wake
                self._bell.send(b"!")

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the thread; whether it has ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def watch(self, sock: socket.socket, on_ready: OnReady, *, writing: bool = False) -> None:
        """Call ``on_ready`` with selector events when the socket can be read, or also written; on this thread only."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0)
        known = self._selector.get_map().get(sock.fileno())
        if known is None:
            self._selector.register(sock, events, on_ready)
        elif known.events != events:
            self._selector.modify(sock, events, on_ready)

    def forget(self, sock: socket.socket) -> None:
        """Watch a socket no longer, and close it."""
        with suppress(KeyError, ValueError):
            self._selector.unregister(sock)
        sock.close()

    def _hear(self, _: int) -> None:
        with suppress(BlockingIOError):
            self._ear.recv(64)
        # Before the tick that follows: what is told after this line rings anew.
        self._rung = False

    def _run(self) -> None:
        try:
            while self._tick(time.monotonic()):
                for key, mask in self._selector.select(self._period_s):
                    key.data(mask)
        finally:
            for key in list(self._selector.get_map().values()):
                if isinstance(key.fileobj, socket.socket):
                    key.fileobj.close()
            self._selector.close()
            self._ear.close()
            self._bell.close()
