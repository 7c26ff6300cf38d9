"""Mailboxes in MPI windows: whoever has a message keeps it, and whoever wants it gets it."""

from __future__ import annotations

import atexit
import struct
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unscatter.exchange.mpi.world import communicator, import_mpi, leave_without_finalize
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.transports.buffers import payload_sum
from unscatter.exchange.transports.checks import is_whole
from unscatter.exchange.transports.counts import Counts
from unscatter.exchange.transports.protocol import Header, Health, Message

_HEADER = struct.Struct("<qqqdd")
_NUMBER = 8
#: Steps begun, pulses and whether it has left: three numbers at the start of a window.
_PULSE = 3 * _NUMBER
#: Newest message of a lane and for whom it is: two numbers.
_INDEX = 2 * _NUMBER


class MpiTransport:
    r"""A :class:`~unscatter.exchange.transports.Transport` over one-sided MPI.

    The window of a rank holds its pulse, the confirmations that others put there, and for each lane an index and two slots::

        number of the message | header | payload | number of the message

    Publishing is a copy into the slot that is not the newest, and then the index.  Polling gets the index, and the slot when the index is
    new and for this rank; the numbers before and after must be those of the index, and the index is looked at again afterwards: a slot that
    may have been written meanwhile is refused and counted.  The sum on the header is compared with the payload.

    Assumption: the network serves windows while their owner computes (shared memory, InfiniBand, Slingshot and the like).  Over plain TCP a
    get waits until its target enters MPI; use :class:`~unscatter.exchange.transports.mpi_messages.MpiMessages` there.  A pulse is a call
    of :meth:`beat`: ``silence_s`` must be longer than the longest step.

    Args:
        rendezvous: where the ranks, started by mpiexec, meet once.
        num_lanes: mailboxes that each rank can send through at the same time.
        num_parameters: numbers in a payload.
        dtype: their type.
        silence_s: seconds without a pulse after which a rank counts as lost.

    Raises:
        MissingExtraError: mpi4py is not installed.
        ExchangeError: the ranks are not those of one MPI job.
        PeerLostError: a rank did not come to the rendezvous.
    """

    def __init__(
        self, rendezvous: Rendezvous, *, num_lanes: int, num_parameters: int, dtype: torch.dtype = torch.float32, silence_s: float = 30.0
    ) -> None:
        mpi = import_mpi()
        world = rendezvous.world
        board = rendezvous.below(f"transport/{rendezvous.count(f'transports of rank {world.rank}')}")
        self.rank, self.num_ranks, self.num_lanes = world.rank, world.size, num_lanes
        self._dtype, self._silence_s = dtype, silence_s
        self._payload_bytes = num_parameters * dtype.itemsize
        self._slot_bytes = _padded(2 * _NUMBER + _HEADER.size + self._payload_bytes)
        self._counts = Counts()
        self._seen: dict[tuple[int, int], int] = {}
        self._heard: dict[int, tuple[int, float]] = {}
        self._open(mpi, communicator(mpi, board))

    def publish(self, target: int, lane: int, header: Header, payload: Tensor) -> None:
        """Replace the message of a lane."""
        index = self._numbers(self._index_at(lane), 2)
        number = int(index[0]) + 1
        slot = self._memory[self._slot_at(lane, number) :][: self._slot_bytes]
        first, last = slot[:_NUMBER].view(np.int64), slot[-_NUMBER:].view(np.int64)
        first[0] = number
        self._window.Sync()
        slot[_NUMBER:][: _HEADER.size] = np.frombuffer(_HEADER.pack(*header), dtype=np.uint8)
        torch.from_numpy(slot[_NUMBER + _HEADER.size :][: self._payload_bytes].view()).view(self._dtype).copy_(payload)
        last[0] = number
        self._window.Sync()
        index[:] = number, target
        self._window.Sync()
        self._counts.sent(self._payload_bytes)

    def poll(self, source: int, lane: int) -> Message | None:
        """The newest message that a rank has for this one on a lane."""
        number, target = self._get(source, self._index_at(lane), _INDEX).view(np.int64).tolist()
        if target != self.rank or number <= self._seen.get((source, lane), 0):
            return None
        slot = self._get(source, self._slot_at(lane, number), self._slot_bytes)
        first, last = int(slot[:_NUMBER].view(np.int64)[0]), int(slot[-_NUMBER:].view(np.int64)[0])
        again = int(self._get(source, self._slot_at(lane, number), _NUMBER).view(np.int64)[0])
        message = self._message(slot)
        if not (first == last == again == number and is_whole(message.payload, payload_sum(message.payload), message.header.check)):
            self._counts.messages_refused += 1
            return None
        self._seen[source, lane] = number
        self._counts.received(self._payload_bytes)
        return message

    def confirm(self, source: int, lane: int, transfer: int) -> None:
        """Put the number of a transfer that was taken into the window of its sender."""
        value = np.array([transfer], dtype=np.int64)
        self._window.Put(value, source, self._confirmed_at(lane, self.rank))
        self._window.Flush(source)

    def confirmed(self, target: int, lane: int) -> int:
        """The last transfer of this rank that another one has taken on a lane."""
        self._window.Sync()
        return int(self._numbers(self._confirmed_at(lane, target), 1)[0])

    def beat(self, step: int, *, done: bool = False) -> None:
        """Write the pulse of this rank."""
        pulse = self._numbers(0, 3)
        pulse[:] = step, pulse[1] + 1, done
        self._window.Sync()

    def health(self, rank: int) -> Health:
        """The pulse of a rank, got from its window."""
        step, pulses, done = self._get(rank, 0, _PULSE).view(np.int64).tolist()
        now = time.monotonic()
        if pulses == 0:
            return Health(alive=True, step=-1, silent_s=0.0, done=False)
        if self._heard.get(rank, (0, 0.0))[0] != pulses:
            self._heard[rank] = pulses, now
        silent_s = now - self._heard[rank][1]
        return Health(alive=silent_s <= self._silence_s, step=step, silent_s=silent_s, done=bool(done))

    def statistics(self) -> dict[str, float]:
        """Counts since the start."""
        return self._counts.statistics()

    def close(self) -> None:
        """Say that this rank has left.

        The window stays open until the process ends, as others may still look into it: unlocking and freeing it would wait for them.  So
        does the end of MPI itself, unless a rank was lost.
        """
        if self._closed:
            return
        self._closed = True
        step = int(self._numbers(0, 3)[0])
        self.beat(step, done=True)
        healths = [self.health(rank) for rank in range(self.num_ranks)]
        if all(health.alive or health.done for health in healths):
            atexit.register(self._free)
        else:
            leave_without_finalize()

    def _open(self, mpi: Any, comm: Any) -> None:
        size = self._index_at(self.num_lanes) + 2 * self.num_lanes * self._slot_bytes
        # Win.Allocate, not Win.Create: only then is a window served while its owner computes.
        self._window = mpi.Win.Allocate(size, disp_unit=1, comm=comm)
        self._window.Set_errhandler(mpi.ERRORS_RETURN)
        self._memory = np.frombuffer(self._window.tomemory(), dtype=np.uint8)
        self._memory[:] = 0
        self._closed = False
        self._window.Lock_all()
        comm.Barrier()

    def _free(self) -> None:
        self._memory = np.empty(0, dtype=np.uint8)
        self._window.Unlock_all()
        self._window.Free()

    def _message(self, slot: np.ndarray) -> Message:
        header = Header(*_HEADER.unpack(slot[_NUMBER:][: _HEADER.size].tobytes()))
        return Message(header, torch.from_numpy(slot[_NUMBER + _HEADER.size :][: self._payload_bytes].copy()).view(self._dtype))

    def _get(self, rank: int, start: int, num_bytes: int) -> np.ndarray:
        buffer = np.empty(num_bytes, dtype=np.uint8)
        self._window.Get(buffer, rank, start)
        self._window.Flush(rank)
        return buffer

    def _numbers(self, start: int, count: int) -> np.ndarray:
        return self._memory[start:][: count * _NUMBER].view(np.int64)

    def _confirmed_at(self, lane: int, rank: int) -> int:
        return _PULSE + (lane * self.num_ranks + rank) * _NUMBER

    def _index_at(self, lane: int) -> int:
        return self._confirmed_at(self.num_lanes, 0) + lane * _INDEX

    def _slot_at(self, lane: int, number: int) -> int:
        return self._index_at(self.num_lanes) + (2 * lane + number % 2) * self._slot_bytes


def _padded(num_bytes: int) -> int:
    return num_bytes + -num_bytes % _NUMBER
