"""A file in memory that the ranks of one node map, and that is gone when the last of them is.

Everybody who uses the segment holds a shared lock (``flock``) on the file, which the system drops with the process, however it ends.
Whoever gets the lock for itself alone therefore knows that nobody else uses the file: on the way in the segment is new or left over from
a dead job and is made anew, on the way out it is removed.  Whoever makes a segment also removes those that jobs have left behind whose
ranks were killed all at once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import mmap
import os
import re
import tempfile
import time
from pathlib import Path

from unscatter.errors import ExchangeError
from unscatter.exchange.transports.layout import SegmentLayout, describe_header

_PREFIX = "unscatter-"

#: Seconds between two attempts to lock or open a segment.
_RETRY_S = 0.002


class Segment:
    """The shared memory of the ranks of one node.

    The first rank to come makes it, the others find it by the name of the job; a segment of the same name that nobody holds any more is
    made anew.

    Args:
        layout: what stands where.
        directory: where the file lies; shared memory of the system by default.
        timeout_s: how long to wait for another rank that is just making it.

    Raises:
        ExchangeError: no room, another layout, somebody else's file, or no answer in time.
    """

    def __init__(self, layout: SegmentLayout, *, directory: Path | None = None, timeout_s: float = 60.0) -> None:
        self.path = segment_path(layout.job, directory)
        self._file = _attach(self.path, layout, timeout_s)
        self.map = mmap.mmap(self._file, layout.num_bytes)

    def close(self) -> None:
        """Leave; the last one to do so removes the file."""
        # A view that somebody still holds keeps the mapping, but not the name.
        with contextlib.suppress(BufferError):
            self.map.close()
        _leave(self._file, self.path)


def segment_path(job: str, directory: Path | None = None) -> Path:
    """Where the segment of a job lies; any text can be the name of a job.

    Example:
        >>> segment_path("my fit", Path("/dev/shm")).name
        'unscatter-my-fit-8503a923997d'
    """
    digest = hashlib.sha256(job.encode()).hexdigest()[:12]
    return (directory or shared_directory()) / f"{_PREFIX}{re.sub(r'[^A-Za-z0-9._]+', '-', job)[:40]}-{digest}"


def shared_directory() -> Path:
    """The file system in memory, or the temporary directory of systems that have none."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


def remove_abandoned(directory: Path | None = None) -> list[Path]:
    """Remove the segments of this user that no process holds any more, as after all ranks of a job were killed at once.

    Returns:
        The files that were removed.

    Example:
        >>> remove_abandoned(Path(tempfile.mkdtemp()))
        []
    """
    removed = []
    for path in (directory or shared_directory()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            if os.fstat(file).st_uid == os.getuid() and _leave(file, path):
                removed.append(path)
    return removed


def _leave(file: int, path: Path) -> bool:
    """Close a segment's file and remove it if nobody else holds it; whether it was removed."""
    try:
        if not (_lock(file, fcntl.LOCK_EX) and _is_at(file, path)):
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(file)


def _attach(path: Path, layout: SegmentLayout, timeout_s: float) -> int:
    """Open the file, made anew where nobody holds it, and hold it."""
    end = time.monotonic() + timeout_s
    while True:
        file = _open(path)
        try:
            if _hold(file, path, layout):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        if time.monotonic() > end:
            raise ExchangeError(
                f"the shared memory '{path}' was not ready within {timeout_s:g} s: another process holds it without filling it.\n"
                f"See who does: fuser -v '{path}'"
            )
        time.sleep(_RETRY_S)


def _open(path: Path) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ExchangeError(
            f"cannot open the shared memory '{path}': {error.strerror}.\nGive the job another name, or use the transport 'tcp'."
        ) from error
    if os.fstat(file).st_uid == os.getuid():
        return file
    os.close(file)
    raise ExchangeError(f"the shared memory '{path}' belongs to another user.\nGive the job another name.")


def _hold(file: int, path: Path, layout: SegmentLayout) -> bool:
    """Lock the file with the others; false where it has to be tried again, as when the one who made it is not ready."""
    if _lock(file, fcntl.LOCK_EX):
        if not _is_at(file, path):
            return False
        remove_abandoned(path.parent)
        _make(file, path, layout)
    # Between the two locks another rank may take the file for abandoned and make it anew, hence what is asked after the second one.
    if not (_lock(file, fcntl.LOCK_SH) and _is_at(file, path)):
        return False
    found = os.pread(file, len(layout.header), 0)
    if not found.strip(b"\0"):
        return False
    if found != layout.header or os.fstat(file).st_size != layout.num_bytes:
        raise ExchangeError(
            f"the shared memory '{path}' of job '{layout.job}' holds {describe_header(found)}, "
            f"but this rank needs {describe_header(layout.header)} for ranks {list(layout.ranks)}.\n"
            "Start all ranks of a job with the same settings, and give jobs that run at the same time different names."
        )
    return True


def _make(file: int, path: Path, layout: SegmentLayout) -> None:
    """Make a file of zeros with the header of the layout; its room is taken at once, since a full memory would kill ranks later."""
    try:
        os.ftruncate(file, 0)
        _allocate(file, layout.num_bytes)
        os.pwrite(file, layout.header, 0)
    except OSError as error:
        os.ftruncate(file, 0)
        path.unlink(missing_ok=True)
        free = os.statvfs(path.parent)
        raise ExchangeError(
            f"the ranks of this node need {layout.num_bytes / 1e6:,.1f} MB of shared memory in '{path.parent}' "
            f"where {free.f_bavail * free.f_frsize / 1e6:,.1f} MB are free ({error.strerror}).\n"
            "In a container start it with more (docker run --shm-size=...), or use the transport 'tcp'."
        ) from error


def _allocate(file: int, num_bytes: int) -> None:
    os.ftruncate(file, num_bytes)
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file, 0, num_bytes)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise


def _lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is the one that stands at a path, rather than one that was removed meanwhile."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(file))
