"""One fused all-reduce per step: the strong synchronous baseline."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import torch
from torch import Tensor

from unscatter.exchange.collectives.contribution import combined, contribution
from unscatter.exchange.collectives.peers import Peers
from unscatter.exchange.collectives.synchronous import Synchronous
from unscatter.exchange.rendezvous import Rendezvous


class AllReduce(Synchronous):
    r"""The mean gradient of all ranks, by one all-reduce of one flat buffer (gloo in main memory, NCCL on GPUs).

    .. math:: \bar g(t) = \frac{1}{N} \sum_{i=1}^{N} g_i(t)

    With ``late`` the gradient applied in step :math:`t` is :math:`\bar g(t-1)`: it is reduced in the background while the ranks compute
    the next one.  The first step returns zeros, with which an optimiser without weight decay leaves the weights as they are; the last
    gradient of a round is not applied, on any rank.

    Rows (replicas) that are not finite are left out of the mean and counted.

    Args:
        rendezvous: where the ranks meet.
        late: whether gradients may come one step late.
        timeout_s: how long any call waits for other ranks.

    Raises:
        PeerLostError: not all ranks came; names those that did not.

    References:
        Patarasuk and Yuan, J. Parallel Distrib. Comput. 69 (2009) 117 (the chunked ring inside the engines).

    Example:
        >>> from unscatter.exchange.world import World
        >>> exchange = AllReduce(Rendezvous.join(World()))
        >>> exchange.before_step(torch.tensor([[1.0, 2.0]]))
        tensor([[1., 2.]])
        >>> exchange.close()
    """

    def __init__(self, rendezvous: Rendezvous, *, late: bool = False, timeout_s: float = 60.0) -> None:
        self._peers = Peers(rendezvous, timeout_s=timeout_s)
        self._late = late
        self._underway: Future[Tensor] | None = None

    def before_step(self, gradient: Tensor) -> Tensor:
        """The mean gradient of this step; of the step before with ``late``, zeros at the first one.

        Raises:
            PeerLostError: a rank is missing; names it.
        """
        self._peers.count_step()
        begun = self._peers.begin(self._sum(gradient))
        if not self._late:
            return self._result(begun, gradient)
        before, self._underway = self._underway, begun
        return torch.zeros_like(gradient) if before is None else self._result(before, gradient)

    def _restart(self) -> None:
        if self._underway is not None:
            self._peers.finish(self._underway)
            self._underway = None

    def _sum(self, gradient: Tensor) -> Callable[[], Tensor]:
        buffer = contribution(gradient, stop=self._peers.stop_requested)
        if buffer.is_cuda:
            # The courier's thread has another current stream.
            torch.cuda.current_stream(buffer.device).synchronize()

        def job() -> Tensor:
            self._peers.links.sum_(buffer)
            return buffer

        return job

    def _result(self, begun: Future[Tensor], gradient: Tensor) -> Tensor:
        total = self._peers.finish(begun)
        self._peers.tally.bytes_sent += all_reduce_bytes(total, self.num_ranks)
        return self._note(combined(total, gradient.shape, self.num_ranks))


def all_reduce_bytes(buffer: Tensor, num_ranks: int) -> float:
    r"""Bytes that a rank sends in a chunked all-reduce of :math:`G` bytes: :math:`2 G (N-1)/N`.

    Example:
        >>> all_reduce_bytes(torch.zeros(100), 4)
        600.0
    """
    return 2 * buffer.nbytes * (num_ranks - 1) / num_ranks
