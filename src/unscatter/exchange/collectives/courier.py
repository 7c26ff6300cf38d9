"""One thread per rank that does the talking, so that whoever waits for it can stop waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Courier:
    """Does jobs in the background, one after the other, in the order in which they were given.

    Calls of an engine such as gloo cannot be given up once they wait for a rank that does not answer: here the training thread waits for
    a future instead, and a call that hangs is left behind in a daemon thread.

    Example:
        >>> courier = Courier()
        >>> courier.submit(lambda: 6 * 7).result(timeout=10)
        42
        >>> courier.close()
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="unscatter-exchange", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Queue a job; its result or exception arrives in the future."""
        future: Future[T] = Future()
        self._jobs.put((job, future))
        return future

    def close(self, *, timeout_s: float = 1.0) -> None:
        """Stop after the jobs that were given; one that hangs longer than ``timeout_s`` is left behind."""
        self._jobs.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            _do(*item)


def _do(job: Callable[[], Any], future: Future[Any]) -> None:
    try:
        future.set_result(job())
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the future
        future.set_exception(error)
