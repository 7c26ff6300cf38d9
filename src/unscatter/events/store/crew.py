"""Workers in processes of their own, and the loop that gives them tasks."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

from unscatter.errors import StoreError, UnscatterError
from unscatter.events.store.books import Books, ReadPiece, Task
from unscatter.events.store.reports import Report
from unscatter.events.store.work import Workshop

#: Workers begin like this, whatever the main program is: unlike multiprocessing, it need not be importable.
_BOOTSTRAP = "import sys; sys.path[:] = {path!r}; from unscatter.events.store.crew import serve; serve({descriptor})"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def work_alone(workshop: Workshop, books: Books, take: Callable[[Report], None]) -> None:
    """Do all tasks in this process, one after the other."""
    while (task := books.next_task()) is not None:
        # In order, the start of a piece is always known.
        for report in workshop.do(task, lambda *, wait: None):
            take(report)


class _Worker:
    """A process with a connection; what it does at the moment, and whether it still has to be told where its piece starts."""

    def __init__(self, workshop: Workshop) -> None:
        ours, theirs = socket.socketpair()
        code = _BOOTSTRAP.format(path=sys.path, descriptor=theirs.fileno())
        # The worker's standard input ends when this process does, however that happens.
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, pass_fds=[theirs.fileno()], env={**os.environ, **_ONE_THREAD}
        )
        theirs.close()
        self.connection = Connection(ours.detach())
        self.task: Task | None = None
        self.wants_start = False
        self.connection.send(workshop)

    def give(self, task: Task) -> None:
        self.task = task
        self.wants_start = isinstance(task, ReadPiece) and task.start is None
        self.connection.send(task)

    def tell_start(self, books: Books) -> None:
        if self.wants_start and isinstance(self.task, ReadPiece) and (start := books.start(self.task.piece)) is not None:
            self.wants_start = False
            self.connection.send(start)

    def receive(self) -> Report | None:
        """The next report; None at the end of the task."""
        try:
            message = self.connection.recv()
        except (EOFError, ConnectionError) as error:
            code = self.process.wait()
            raise StoreError(
                f"a worker of the ingest was killed or has crashed (exit code {code}); often there is not enough memory.\n"
                "The same command goes on where it stopped; with fewer workers it needs less memory: --workers 1"
            ) from error
        if isinstance(message, BaseException):
            raise message
        if message is None:
            self.task = None
        return message

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.connection.close()
        if self.process.stdin is not None:
            self.process.stdin.close()


@contextmanager
def _workers(number: int, workshop: Workshop) -> Iterator[list[_Worker]]:
    workers: list[_Worker] = []
    try:
        for _ in range(number):
            workers.append(_Worker(workshop))
        yield workers
    finally:
        for worker in workers:
            worker.stop()


def work_together(number: int, workshop: Workshop, books: Books, take: Callable[[Report], None]) -> None:
    """Do all tasks in ``number`` processes.

    Raises:
        UnscatterError: what a worker raised, or a worker has died.
    """
    with _workers(number, workshop) as workers:
        while True:
            for worker in workers:
                if worker.task is None and (task := books.next_task()) is not None:
                    worker.give(task)
            busy = {worker.connection: worker for worker in workers if worker.task is not None}
            if not busy:
                return
            for connection in wait(list(busy)):
                report = busy[connection].receive()  # pyright: ignore[reportArgumentType]
                if report is not None:
                    take(report)
            for worker in workers:
                worker.tell_start(books)


def serve(descriptor: int) -> None:
    """Be a worker: do tasks from the connection until it is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _be_single_threaded()
    connection = Connection(descriptor)
    workshop: Workshop = connection.recv()

    def starts(*, wait: bool) -> int | None:
        return connection.recv() if wait or connection.poll() else None

    while True:
        try:
            task: Task = connection.recv()
        except EOFError:
            return
        try:
            for report in workshop.do(task, starts):
                connection.send(report)
        except (EOFError, BrokenPipeError):
            return
        except Exception as error:  # noqa: BLE001 - goes to the process that shows it
            connection.send(_sendable(error))
            return
        connection.send(None)


def _end_with_parent() -> None:
    """A worker without a parent must not go on writing: another ingest may have taken over."""
    sys.stdin.buffer.read()
    os._exit(1)


def _be_single_threaded() -> None:
    import signal

    import pyarrow as pa

    # Ctrl-C reaches all processes of a terminal; the parent stops the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pa.set_cpu_count(1)


def _sendable(error: Exception) -> Any:
    if not isinstance(error, UnscatterError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever it is that cannot be pickled
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
