"""A worker in a thread: it starts at once, and runs beside others as far as what it calls lets go of Python's lock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from unscatter.events.store.serving import LineClosed, serve
from unscatter.events.store.work import Workshop

_STOP = object()


class ThreadWorker:
    """Does tasks in a thread of this process.

    Args:
        workshop: what it works on.
        deliver: takes what it reports, from its thread.
    """

    def __init__(self, workshop: Workshop, deliver: Callable[[Any], None]) -> None:
        self._messages: SimpleQueue[Any] = SimpleQueue()
        self._deliver, self._stopped = deliver, False
        self._thread = threading.Thread(target=self._serve, args=(workshop,), name="ingest worker", daemon=True)
        self._thread.start()

    def give(self, message: Any) -> None:
        """Send a task, or the start of a piece."""
        self._messages.put(message)

    def stop(self) -> None:
        """End the thread at its next report, and wait for it: nothing is written afterwards."""
        self._stopped = True
        self._messages.put(_STOP)
        self._thread.join()

    def receive(self) -> Any:
        """See :class:`~unscatter.events.store.serving.Line`."""
        message = self._messages.get()
        if message is _STOP:
            raise LineClosed
        return message

    def ready(self) -> bool:
        """See :class:`~unscatter.events.store.serving.Line`."""
        return not self._messages.empty()

    def send(self, message: Any) -> None:
        """See :class:`~unscatter.events.store.serving.Line`."""
        if self._stopped:
            raise LineClosed
        self._deliver(message)

    def _serve(self, workshop: Workshop) -> None:
        with suppress(LineClosed):
            serve(workshop, self)
