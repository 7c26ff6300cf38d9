"""A worker in a process of its own, for formats that hold Python's lock; to start it takes a second or two of a core."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import pyarrow as pa

from unscatter.errors import StoreError, UnscatterError
from unscatter.events.store.serving import LineClosed, serve
from unscatter.events.store.work import Workshop

#: Workers begin like this, whatever the main program is: unlike multiprocessing, it need not be importable.
_BOOTSTRAP = "import sys; sys.path[:] = {path!r}; from unscatter.events.store.process_worker import main; main({descriptor})"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class ProcessWorker:
    """Does tasks in another process, which ends when this one does.

    Args:
        workshop: what it works on.
        deliver: takes what it reports, from a thread; a :class:`StoreError` when the process has ended.
    """

    def __init__(self, workshop: Workshop, deliver: Callable[[Any], None]) -> None:
        ours, theirs = socket.socketpair()
        code = _BOOTSTRAP.format(path=sys.path, descriptor=theirs.fileno())
        # The worker's standard input ends when this process does, however that happens.
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, pass_fds=[theirs.fileno()], env={**os.environ, **_ONE_THREAD}
        )
        theirs.close()
        self._connection, self._deliver = Connection(ours.detach()), deliver
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.give(workshop)

    def give(self, message: Any) -> None:
        """Send a task, or the start of a piece."""
        # Where the process has died, the listener says so.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send(message)

    def stop(self) -> None:
        """Kill the process: what it has not reported counts as not done."""
        self.process.kill()
        self.process.wait()
        self._listener.join()
        self._connection.close()
        if self.process.stdin is not None:
            self.process.stdin.close()

    def _listen(self) -> None:
        try:
            while True:
                self._deliver(self._connection.recv())
        except (EOFError, ConnectionError):
            code = self.process.wait()
            self._deliver(StoreError(
                f"a worker of the ingest was killed or has crashed (exit code {code}); often there is not enough memory.\n"
                "The same command goes on where it stopped; with fewer workers it needs less memory: --workers 1"
            ))  # fmt: skip


class _Pipe:
    """The line of a worker process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def receive(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise LineClosed from error

    def ready(self) -> bool:
        return self._connection.poll()

    def send(self, message: Any) -> None:
        try:
            self._connection.send(_sendable(message) if isinstance(message, Exception) else message)
        except ConnectionError as error:
            raise LineClosed from error


def main(descriptor: int) -> None:
    """Be a worker."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Ctrl-C reaches all processes of a terminal; the parent stops the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pa.set_cpu_count(1)
    pipe = _Pipe(Connection(descriptor))
    with suppress(LineClosed):
        serve(pipe.receive(), pipe)


def _end_with_parent() -> None:
    """A worker without a parent must not go on writing: another ingest may have taken over."""
    sys.stdin.buffer.read()
    os._exit(1)


def _sendable(error: Exception) -> Exception:
    """An error that survives the way to another process, with its traceback where it is none of ours."""
    text = "".join(traceback.format_exception(error))
    if not isinstance(error, UnscatterError):
        error.add_note(text)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever it is that cannot be pickled
        return RuntimeError(text)
    return error
