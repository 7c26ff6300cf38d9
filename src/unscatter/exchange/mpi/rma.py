"""The published one-sided ring: put into the neighbour's window."""

from __future__ import annotations

from torch import Tensor

from unscatter.exchange.collectives.contribution import combined, contribution
from unscatter.exchange.collectives.peers import Peers
from unscatter.exchange.collectives.synchronous import Synchronous
from unscatter.exchange.mpi.ring_window import RingWindow
from unscatter.exchange.mpi.world import communicator, import_mpi, leave_without_finalize
from unscatter.exchange.rendezvous import Rendezvous


class Rma(Synchronous):
    r"""The mean gradient of all ranks, passed round one ring by one-sided puts.

    The published mode writes all layers at offset 0 of one window, so that they overwrite one another, reads without knowing whether what
    it reads is complete, and goes on with the local gradient when anything fails.  Here the layers travel in one flat buffer whose chunks
    have offsets of their own, numbers tell what is complete, and a failure is an error.  Rows (replicas) that are not finite are left out
    of the mean and counted.  Everything outside the steps goes the way of the other synchronous exchanges.

    The ranks have to be started by MPI: ``mpiexec -n N unscatter solve RUNCARD``.  After a failure a process ends without
    ``MPI_Finalize``, which would wait for the lost rank; most launchers end the whole job when one rank dies.

    Args:
        rendezvous: where the ranks meet.
        timeout_s: how long any call waits for other ranks.

    Raises:
        MissingExtraError: mpi4py is not installed.
        ExchangeError: the ranks are not those of one MPI job.
        PeerLostError: not all ranks came; names those that did not.
    """

    def __init__(self, rendezvous: Rendezvous, *, timeout_s: float = 60.0) -> None:
        self._mpi = import_mpi()
        self._peers = Peers(rendezvous, timeout_s=timeout_s)
        self._comm = self._peers.call(lambda: communicator(self._mpi, self._peers.board))
        self._window: RingWindow | None = None

    def before_step(self, gradient: Tensor) -> Tensor:
        """The mean gradient of this step.

        Raises:
            PeerLostError: a rank is missing; names it.
        """
        self._peers.count_step()
        buffer = contribution(gradient, stop=self._peers.stop_requested).float().cpu()
        if self.num_ranks > 1:
            self._peers.tally.bytes_sent += self._peers.call(lambda: self._window_for(buffer).sum_(buffer))
        return self._note(combined(buffer.to(gradient.device, gradient.dtype), gradient.shape, self.num_ranks))

    def close(self) -> None:
        """Leave and free the window; after a failure only leave."""
        if self._peers.failed:
            leave_without_finalize()
        elif self._window is not None:
            self._peers.call(self._window.close)
        self._peers.close()

    def _window_for(self, buffer: Tensor) -> RingWindow:
        """The window, made anew when buffers have another length; on the courier's thread, as all ranks have to take part."""
        if self._window is None or self._window.num_values != len(buffer):
            if self._window is not None:
                self._window.close()
            self._window = RingWindow(self._mpi, self._comm, len(buffer), timeout_s=self._peers.timeout_s)
        return self._window
