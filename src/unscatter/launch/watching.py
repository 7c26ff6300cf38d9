"""The process that cleans up after a launcher that was killed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from unscatter.launch import watcher


class Watcher:
    """Knows which process groups to kill when this process ends before it has said that they are gone."""

    def __enter__(self) -> Watcher:
        """Start it, in a session of its own that signals from the terminal do not reach."""
        command = [sys.executable, "-I", "-S", str(Path(watcher.__file__))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, bufsize=1, start_new_session=True)
        return self

    def watch(self, group: int) -> None:
        """Kill this group if need be."""
        self._tell(group)

    def forget(self, group: int) -> None:
        """The group is gone."""
        self._tell(-group)

    def _tell(self, number: int) -> None:
        assert self._process.stdin is not None
        # Without the watcher, should somebody have killed it, the kernel still ends the ranks.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{number}\n")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Have it kill what is left, and end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
