"""Signals that the launcher receives for its ranks."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

#: What a rank is sent for what the launcher has received: ranks leave a checkpoint after the first two of them.
_FORWARDED = {
    signal.SIGINT: signal.SIGINT,
    signal.SIGTERM: signal.SIGTERM,
    # The terminal has gone.
    signal.SIGHUP: signal.SIGTERM,
}


class LauncherSignals:
    """Counts the signals that ask the launcher to stop, instead of stopping it.

    Does nothing outside of the main thread, where Python allows no handlers; what was there before comes back at the end.

    Example:
        >>> with LauncherSignals() as signals:
        ...     signal.raise_signal(signal.SIGHUP)
        ...     signals.count, signals.first
        (1, <Signals.SIGTERM: 15>)
    """

    def __init__(self) -> None:
        self.count = 0
        self.first: signal.Signals | None = None
        """What the ranks are to be sent for the first one."""
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> LauncherSignals:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._receive) for number in _FORWARDED}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Bring back the handlers that were there before."""
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.first is None:
            self.first = _FORWARDED[signal.Signals(number)]
