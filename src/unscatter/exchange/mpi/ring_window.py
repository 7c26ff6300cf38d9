"""A sum round a ring through MPI windows: every rank puts into the window of its right neighbour."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unscatter.exchange.groups import Ring, split_evenly

#: Bytes of a sequence number.
_NUMBER = 8
#: Looks at a region without a pause, and the pause after that: more ranks than cores would starve one another.
_EAGER_LOOKS = 50
_PAUSE_S = 50e-6


class RingWindow:
    r"""One window per rank, into which its left neighbour alone puts.

    A sum takes :math:`2(n-1)` hops of one chunk each, as in :func:`~unscatter.exchange.collectives.ring_sum.ring_sum_`.  Each hop has a
    region of its own in the window, at an offset of its own, twice: two slots that alternate between sums.  A region is written as::

        number of the sum | chunk | number of the sum

    in the order first number, chunk, flush, second number, flush; it is read when both numbers are those of the sum, copied, and looked at
    again.  No acknowledgement is needed: whoever begins sum :math:`c+2` has ended sum :math:`c+1`, for which its neighbour had to end sum
    :math:`c`, and so to read the slot that is written now.

    Args:
        mpi: the module ``mpi4py.MPI``.
        comm: communicator whose ranks form the ring.
        num_values: length of the buffers, in float32.
        timeout_s: how long a hop waits.
    """

    def __init__(self, mpi: Any, comm: Any, num_values: int, *, timeout_s: float) -> None:
        self.num_values = num_values
        self._rank, self._size, self._timeout_s = comm.Get_rank(), comm.Get_size(), timeout_s
        self._parts = split_evenly(num_values, self._size)
        chunk = 4 * len(self._parts[0])
        self._room = 2 * _NUMBER + chunk + -chunk % _NUMBER
        self._hops = 2 * (self._size - 1)
        # Win.Allocate, not Win.Create: only then can a put proceed while its target computes.
        self._window = mpi.Win.Allocate(2 * self._hops * self._room, disp_unit=1, comm=comm)
        self._window.Set_errhandler(mpi.ERRORS_RETURN)
        self._memory = np.frombuffer(self._window.tomemory(), dtype=np.uint8)
        self._memory[:] = 0
        self._number = np.zeros(1, dtype=np.int64)
        self._window.Lock_all()
        comm.Barrier()

    def sum_(self, buffer: Tensor) -> int:
        """Replace a buffer in main memory by its sum over the ring, the same bits on all ranks; returns the bytes sent.

        Raises:
            TimeoutError: the left neighbour has put nothing for too long.
        """
        self._number += 1
        ring = Ring(tuple(range(self._size)))
        chunks = [buffer[part.start : part.stop] for part in self._parts]
        for hop in range(self._hops):
            outgoing, incoming = (self._rank - hop) % self._size, (self._rank - hop - 1) % self._size
            self._put(chunks[outgoing].numpy(), ring.right(self._rank), hop)
            arrived = torch.from_numpy(self._take(4 * len(self._parts[incoming]), hop))
            if hop < self._size - 1:
                chunks[incoming] += arrived
            else:
                chunks[incoming].copy_(arrived)
        return self._hops * buffer.nbytes // self._size

    def close(self) -> None:
        """Free the window; all ranks have to call this."""
        self._memory = np.empty(0, dtype=np.uint8)
        self._window.Unlock_all()
        self._window.Free()

    def _offset(self, hop: int) -> int:
        return (int(self._number[0]) % 2 * self._hops + hop) * self._room

    def _put(self, chunk: np.ndarray, target: int, hop: int) -> None:
        start = self._offset(hop)
        self._window.Put(self._number, target, start)
        self._window.Put(chunk, target, start + _NUMBER)
        self._window.Flush(target)
        self._window.Put(self._number, target, start + self._room - _NUMBER)
        self._window.Flush(target)

    def _take(self, num_bytes: int, hop: int) -> np.ndarray:
        region = self._memory[self._offset(hop) :][: self._room]
        first, last = region[:_NUMBER].view(np.int64), region[-_NUMBER:].view(np.int64)
        end, looks = time.monotonic() + self._timeout_s, 0
        while True:
            self._window.Sync()
            if first[0] == last[0] == self._number[0]:
                chunk = region[_NUMBER:][:num_bytes].copy()
                self._window.Sync()
                assert first[0] == last[0] == self._number[0], "a region was overwritten while it was read"
                return chunk.view(np.float32)
            if time.monotonic() > end:
                raise TimeoutError(f"nothing has arrived in hop {hop} of sum {self._number[0]} for {self._timeout_s:g} s")
            looks += 1
            time.sleep(0.0 if looks < _EAGER_LOOKS else _PAUSE_S)
