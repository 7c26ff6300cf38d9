"""The published ring: point-to-point calls that do not block, and every hop waits."""

from __future__ import annotations

from torch import Tensor

from unscatter.exchange.collectives.contribution import combined, contribution
from unscatter.exchange.collectives.peers import Peers
from unscatter.exchange.collectives.ring_sum import ring_sum_
from unscatter.exchange.collectives.synchronous import Synchronous
from unscatter.exchange.groups import Ring
from unscatter.exchange.rendezvous import Rendezvous


class RingAllReduce(Synchronous):
    r"""The mean gradient of all ranks, passed round one ring.

    The published solver sends one message per tensor, whole, in :math:`N-1` hops, and every rank adds in another order.  Here the tensors
    travel in one flat buffer, in chunks, and all ranks hold the same bits.  What remains of it: a hop ends only when both neighbours are
    there, so that one slow rank holds up all.  Tensors on a GPU travel through main memory, as they do there.

    Rows (replicas) that are not finite are left out of the mean and counted.

    Args:
        rendezvous: where the ranks meet.
        timeout_s: how long any call waits for other ranks.

    Raises:
        PeerLostError: not all ranks came; names those that did not.

    Example:
        >>> import torch
        >>> from unscatter.exchange.world import World
        >>> exchange = RingAllReduce(Rendezvous.join(World()))
        >>> exchange.before_step(torch.tensor([[1.0, 2.0]]))
        tensor([[1., 2.]])
        >>> exchange.close()
    """

    def __init__(self, rendezvous: Rendezvous, *, timeout_s: float = 60.0) -> None:
        self._peers = Peers(rendezvous, timeout_s=timeout_s)
        self._ring = Ring(tuple(range(rendezvous.world.size)))

    def before_step(self, gradient: Tensor) -> Tensor:
        """The mean gradient of this step.

        Raises:
            PeerLostError: a rank is missing; names it.
        """
        self._peers.count_step()
        buffer = contribution(gradient, stop=self._peers.stop_requested).cpu()
        step = self._peers.tally.steps
        self._peers.tally.bytes_sent += self._peers.call(lambda: ring_sum_(self._peers.links, self._ring, self.rank, buffer, tag=step))
        return self._note(combined(buffer.to(gradient.device), gradient.shape, self.num_ranks))
