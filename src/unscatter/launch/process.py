"""One rank of a local job, as a sub-process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from unscatter.launch import guard

#: Descriptor under which a rank whose output is also shown finds its log alone.
LOG_DESCRIPTOR = "UNSCATTER_LOG_FD"


def guarded(command: Sequence[str]) -> list[str]:
    """A command that ends with this process, however this one ends."""
    # Without site packages: this small step would take longer than what it is for.
    return [sys.executable, "-I", "-S", str(Path(guard.__file__)), str(os.getpid()), *command]


@dataclass(eq=False)
class RankProcess:
    """A rank that was started, in a process group of its own.

    Args:
        rank: which.
        process: its process, the first of its group.
        copiers: threads that copy what it prints.
    """

    rank: int
    process: subprocess.Popen[bytes]
    copiers: Sequence[threading.Thread] = ()
    code: int | None = field(default=None, init=False)
    """How it ended, once it has: its exit code, or minus the number of the signal."""

    @classmethod
    def start(cls, rank: int, command: Sequence[str], environ: Mapping[str, str], log: Path, *, shown: bool) -> RankProcess:
        """Start a rank that writes into its log.

        Args:
            rank: which.
            command: program and arguments.
            environ: its environment, whole.
            log: appended to.
            shown: whether what it prints is shown here, too.
        """
        with log.open("ab", buffering=0) as file:
            if not shown:
                return cls(rank, _popen(command, environ, stdout=file, stderr=file))
            environ = {**environ, LOG_DESCRIPTOR: str(file.fileno())}
            process = _popen(command, environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=(file.fileno(),))
            assert process.stdout is not None
            assert process.stderr is not None
            copiers = (_copier(process.stdout, log, "stdout"), _copier(process.stderr, log, "stderr"))
            return cls(rank, process, copiers)

    @property
    def group(self) -> int:
        """Number of the process group."""
        return self.process.pid

    def poll(self) -> int | None:
        """How the rank ended; None while it runs.  What it has started ends with it."""
        if self.code is None and self._has_ended():
            # While the rank is not reaped nobody else can have the number of its group.
            self.kill()
            self.code = self.process.wait()
            for copier in self.copiers:
                copier.join(timeout=5.0)
        return self.code

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the rank alone, which knows what to do with what it has started."""
        if self.code is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End the rank and what it has started, at once."""
        if self.code is None:
            try:
                os.killpg(self.group, signal.SIGKILL)
            except ProcessLookupError:
                return

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _popen(
    command: Sequence[str], environ: Mapping[str, str], *, stdout: IO[bytes] | int, stderr: IO[bytes] | int, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        guarded(command), env=dict(environ), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, pass_fds=pass_fds, process_group=0
    )


def _copier(source: IO[bytes], log: Path, stream: str) -> threading.Thread:
    # Opened here: the log may move while it is written.
    thread = threading.Thread(target=_copy, args=(source, log.open("ab", buffering=0), stream), daemon=True)
    thread.start()
    return thread


def _copy(source: IO[bytes], log: IO[bytes], stream: str) -> None:
    """Copy lines into a log and to the stream of this process that is there at that moment: a display may have taken its place."""
    with source, log:
        for line in source:
            log.write(line)
            target = _target(stream)
            target.write(line.decode("utf-8", errors="replace"))
            target.flush()


def _target(stream: str) -> Any:
    """A stream of this process as it is now; past a display that would print on the terminal what belongs into a file."""
    shown = getattr(sys, stream)
    behind = getattr(shown, "rich_proxied_file", shown)
    return shown if behind.isatty() else behind


def how_it_ended(code: int) -> str:
    """An exit code, or the signal that a process was killed by, in words.

    Example:
        >>> how_it_ended(-9), how_it_ended(2)
        ('was killed by SIGKILL', 'ended with exit code 2')
    """
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
