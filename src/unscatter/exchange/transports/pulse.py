"""A small thread that does something at regular intervals until it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Pulse:
    """Calls a function every ``period_s`` seconds on a thread of its own.

    Args:
        beat: what to call; short, since it takes the interpreter from the training thread.
        period_s: seconds between two calls.
        name: of the thread.

    Example:
        >>> calls = []
        >>> pulse = Pulse(lambda: calls.append(1), period_s=0.001, name="example")
        >>> while not calls:
        ...     pass
        >>> pulse.stop()
    """

    def __init__(self, beat: Callable[[], object], *, period_s: float, name: str) -> None:
        self._beat = beat
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop calling and wait for the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            self._beat()
