"""One process at a time may write in a run directory."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from unscatter.errors import RunError
from unscatter.files import write_failure


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at ``path``.

    The operating system drops the lock when the process ends, however it ends; what the file says only tells others who holds it.

    Raises:
        RunError: another process holds the lock.
    """
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise RunError(write_failure(path, error)) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(_held_message(path, file)) from error
        _sign(file)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _sign(file: IO[str]) -> None:
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    file.seek(0)
    file.truncate()
    file.write(json.dumps(holder))
    file.flush()


def _held_message(path: Path, file: IO[str]) -> str:
    file.seek(0)
    try:
        holder = json.loads(file.read())
        who = f"process {holder['pid']} on {holder['host']} (since {holder['since']})"
        stop = f"kill {holder['pid']}"
    except (ValueError, KeyError):
        who, stop = "another process", f"fuser -k '{path}'"
    return f"{who} is writing in the run directory '{path.parent}'.\nWait until it is done, or stop it: {stop}"
