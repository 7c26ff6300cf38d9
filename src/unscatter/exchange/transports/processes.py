"""Processes of this machine, told from later ones that happen to have the same number."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")


class Process(NamedTuple):
    """A process by its number and the time at which it started."""

    pid: int
    """Number of the process."""
    started: int
    """When it started, in clock ticks since the machine did; 0 where the system does not tell."""

    @classmethod
    def current(cls) -> Process:
        """This process.

        Example:
            >>> Process.current().exists()
            True
        """
        return cls(os.getpid(), _stat(os.getpid())[1])

    def exists(self) -> bool:
        """Whether it is still there; one that has ended and was not yet collected by its parent is not."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # somebody else's, so it is there
        state, started = _stat(self.pid)
        return state not in ("Z", "X") and (self.started == 0 or started in (0, self.started))


def _stat(pid: int) -> tuple[str, int]:
    """State and start of a process; an empty state and 0 where the system does not tell."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return "", 0
    # The name of the program, in brackets, may hold spaces and brackets itself.
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])
