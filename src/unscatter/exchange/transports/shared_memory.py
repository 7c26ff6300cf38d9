"""Mailboxes in memory that the ranks of one node share."""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from unscatter.errors import ExchangeError
from unscatter.exchange.transports.checks import require_payload
from unscatter.exchange.transports.counts import Counts
from unscatter.exchange.transports.layout import SegmentLayout
from unscatter.exchange.transports.mailbox import Mailbox
from unscatter.exchange.transports.processes import Process
from unscatter.exchange.transports.protocol import Header, Health, Message
from unscatter.exchange.transports.pulse import Pulse
from unscatter.exchange.transports.row import Row
from unscatter.exchange.transports.segment import Segment

#: Longest time between two heartbeats, in seconds; shorter where silence is noticed sooner.
_BEAT_S = 0.5


class SharedMemoryTransport:
    """A :class:`~unscatter.exchange.transports.Transport` between ranks of one node.

    A call costs one copy of the payload and no system call.  The segment is made by whichever rank comes first, and removed by the last
    one to leave, however the others ended; :func:`~unscatter.exchange.transports.remove_abandoned` clears up after all were killed at once.

    A rank counts as alive while a small thread of its process writes heartbeats: a long step does not stop them, being
    stopped (``SIGSTOP``) or killed does.  A rank whose training thread hangs is alive, but its ``step`` stands still.  A process that is
    gone is noticed after two missed heartbeats already, without waiting for ``silence_s``.

    A transport belongs to the process that made it; do not use it in forked children.

    Args:
        job: name of the job, different for jobs that run at the same time on this node.
        rank: number of this rank.
        ranks: those that share memory, in an order that is the same for all of them.
        num_lanes: mailboxes that each rank can send through at the same time.
        num_parameters: numbers in a payload.
        dtype: their type.
        silence_s: seconds without a heartbeat after which a rank counts as lost.
        timeout_s: how long to wait for a rank that is just making the segment.
        directory: where the segment lies, instead of the system's shared memory.

    Raises:
        ExchangeError: no room, another layout, or the rank's place is taken by a process that runs.

    Example:
        >>> from unscatter.exchange.transports import payload_sum
        >>> ends = [SharedMemoryTransport("example", rank=rank, ranks=(0, 1), num_lanes=1, num_parameters=3) for rank in (0, 1)]
        >>> weights = torch.tensor([1.0, 2.0, 4.0])
        >>> ends[0].publish(1, 0, Header(transfer=1, version=1, clock=10, share=0.5, check=payload_sum(weights)), weights)
        >>> ends[1].poll(0, 0).payload
        tensor([1., 2., 4.])
        >>> ends[1].confirm(0, 0, 1)
        >>> ends[0].confirmed(1, 0)
        1
        >>> for end in ends:
        ...     end.close()
    """

    def __init__(
        self,
        job: str,
        *,
        rank: int,
        ranks: Sequence[int],
        num_lanes: int,
        num_parameters: int,
        dtype: torch.dtype = torch.float32,
        silence_s: float = 5.0,
        timeout_s: float = 60.0,
        directory: Path | None = None,
    ) -> None:
        self._rank = rank
        self._layout = layout = SegmentLayout.of(job, ranks, num_lanes, num_parameters, dtype)
        self._silence_s = silence_s
        self._places = {member: place for place, member in enumerate(layout.ranks)}
        self._counts = Counts()
        self._process = Process.current()
        self._place_of(rank)
        self._segment = Segment(layout, directory=directory, timeout_s=timeout_s)
        memory = self._segment.map
        self._rows = [Row(memory, layout, place) for place in range(len(layout.ranks))]
        self._boxes = [[Mailbox(memory, layout, place, lane) for lane in range(num_lanes)] for place in range(len(layout.ranks))]
        self._words = memoryview(memory).cast("B").cast("q")
        self._seen = {(source, lane): 0 for source in layout.ranks for lane in range(num_lanes)}
        self._buffers: dict[tuple[int, int], Tensor] = {}
        self._gone: list[Process | None] = [None] * len(layout.ranks)
        self._open = True
        self._enter(job)
        self._beat_s = min(_BEAT_S, silence_s / 5)
        self._pulse = Pulse(self._beat_and_look, period_s=self._beat_s, name=f"shared-memory-{rank}")
        atexit.register(self.close)

    @property
    def rank(self) -> int:
        """Number of this rank."""
        return self._rank

    @property
    def num_ranks(self) -> int:
        """Ranks that share memory."""
        return len(self._layout.ranks)

    @property
    def num_lanes(self) -> int:
        """Mailboxes per rank."""
        return self._layout.num_lanes

    def publish(self, target: int, lane: int, header: Header, payload: Tensor) -> None:
        """Replace the message of a lane."""
        self._place_of(target)
        require_payload(payload, self._layout.num_parameters, self._layout.dtype)
        self._boxes[self._places[self._rank]][lane].put(target, header, payload)
        self._counts.sent(payload.nbytes)

    def poll(self, source: int, lane: int) -> Message | None:
        """The newest message of ``source`` that was not returned before."""
        box = self._boxes[self._place_of(source)][lane]
        buffer = self._buffer(source, lane)
        taken = box.take(self._rank, self._seen[source, lane], buffer)
        self._seen[source, lane] = taken.sequence
        self._counts.messages_refused += taken.refused
        if taken.header is None:
            return None
        self._counts.received(buffer.nbytes)
        return Message(taken.header, buffer)

    def confirm(self, source: int, lane: int, transfer: int) -> None:
        """Tell ``source`` that a transfer has been taken."""
        self._words[self._layout.confirmation(self._place_of(source), lane, self._places[self._rank]) // 8] = transfer

    def confirmed(self, target: int, lane: int) -> int:
        """The last transfer of this rank that ``target`` has taken."""
        return self._words[self._layout.confirmation(self._places[self._rank], lane, self._place_of(target)) // 8]

    def beat(self, step: int, *, done: bool = False) -> None:
        """Let the others know how far this rank is."""
        self._rows[self._places[self._rank]].tell(step, done)

    def health(self, rank: int) -> Health:
        """What is known of another rank; one that has left is not alive once its process is gone or silent, so ask ``done`` first."""
        place = self._place_of(rank)
        row = self._rows[place]
        process = row.process
        if process is None:
            return Health(True, -1, 0.0, False)
        silent_s = row.silent_s
        gone = process == self._gone[place] and silent_s > 2 * self._beat_s
        return Health(not gone and silent_s <= self._silence_s, row.step, silent_s, row.done)

    def statistics(self) -> dict[str, float]:
        """Counts since the start."""
        return self._counts.statistics()

    def close(self) -> None:
        """Leave in good order, and remove the segment if nobody else uses it."""
        if not self._open or os.getpid() != self._process.pid:
            return
        self._open = False
        atexit.unregister(self.close)
        self._pulse.stop()
        own = self._rows[self._places[self._rank]]
        own.tell(own.step, True)
        self._release()

    def _release(self) -> None:
        for view in (*self._rows, *(box for boxes in self._boxes for box in boxes), self._words):
            view.release()
        self._segment.close()

    def _place_of(self, rank: int) -> int:
        place = self._places.get(rank)
        if place is None:
            raise ExchangeError(
                f"rank {rank} does not share memory with rank {self._rank}: the ranks of this segment are {list(self._layout.ranks)}.\n"
                "Reach ranks of other nodes through TcpTransport or HybridTransport."
            )
        return place

    def _buffer(self, source: int, lane: int) -> Tensor:
        if (source, lane) not in self._buffers:
            self._buffers[source, lane] = torch.zeros(self._layout.num_parameters, dtype=self._layout.dtype)
        return self._buffers[source, lane]

    def _enter(self, job: str) -> None:
        """Take the row of this rank; a predecessor that has died leaves its place, together with what was confirmed to it."""
        place = self._places[self._rank]
        holder = self._rows[place].process
        if holder and not self._rows[place].done and holder.exists():
            self._open = False
            self._release()
            raise ExchangeError(
                f"the place of rank {self._rank} in job '{job}' is taken by process {holder.pid} of this machine, which still runs.\n"
                f"Give jobs that run at the same time different names, or stop it: kill {holder.pid}"
            )
        for lane in range(self.num_lanes):
            for other in range(self.num_ranks):
                self._words[self._layout.confirmation(place, lane, other) // 8] = 0
        self._rows[place].enter(self._process)

    def _beat_and_look(self) -> None:
        self._rows[self._places[self._rank]].beat()
        for place, row in enumerate(self._rows):
            process = row.process
            if process and process != self._gone[place] and not process.exists():
                self._gone[place] = process
