"""What a rank says about itself in shared memory."""

from __future__ import annotations

import time
from mmap import mmap

from unscatter.exchange.transports.layout import SegmentLayout
from unscatter.exchange.transports.processes import Process

_PID, _STARTED, _STEP, _BEAT, _DONE = range(5)


class Row:
    """The row of one rank: its process, its step, when it was last heard of and whether it has left.

    Args:
        memory: the mapped segment.
        layout: what stands where in it.
        row: place of the rank among those of the segment.
    """

    def __init__(self, memory: mmap, layout: SegmentLayout, row: int) -> None:
        place = layout.row(row)
        self._words = memoryview(memory)[place : place + 64].cast("q")

    def release(self) -> None:
        """Let go of the memory, so that it can be unmapped."""
        self._words.release()

    @property
    def process(self) -> Process | None:
        """Who the rank is; None before it came."""
        pid = self._words[_PID]
        return Process(pid, self._words[_STARTED]) if pid else None

    @property
    def step(self) -> int:
        """How far it is."""
        return self._words[_STEP]

    @property
    def done(self) -> bool:
        """Whether it has left in good order."""
        return bool(self._words[_DONE])

    @property
    def silent_s(self) -> float:
        """Seconds since it was last heard of; the monotonic clock is the same for all processes of a machine."""
        return max(time.monotonic_ns() - self._words[_BEAT], 0) / 1e9

    def enter(self, process: Process) -> None:
        """Take the row, after whoever had it before."""
        self._words[_STEP] = -1
        self._words[_DONE] = 0
        self._words[_STARTED] = process.started
        self.beat()
        self._words[_PID] = process.pid

    def beat(self) -> None:
        """Say that the rank is there."""
        self._words[_BEAT] = time.monotonic_ns()

    def tell(self, step: int, done: bool) -> None:
        """Say how far the rank is, and whether it leaves."""
        self._words[_STEP] = step
        self._words[_DONE] = done
        self.beat()
