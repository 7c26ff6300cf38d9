"""Steps without exchange, and every so often the mean of the weights."""

from __future__ import annotations

from torch import Tensor

from unscatter.errors import SettingsError
from unscatter.exchange.collectives.allreduce import all_reduce_bytes
from unscatter.exchange.collectives.contribution import combined, contribution
from unscatter.exchange.collectives.peers import Peers
from unscatter.exchange.collectives.synchronous import Synchronous
from unscatter.exchange.rendezvous import Rendezvous


class LocalSteps(Synchronous):
    r"""Every rank follows its own gradient; after every ``every``-th step all take the mean of the weights.

    .. math:: w_i(t) \leftarrow \frac{1}{N} \sum_{j=1}^{N} w_j(t) \qquad \text{for } t \bmod H = 0

    Weights that are not finite are left out of the mean, counted, and replaced by it.  A request to stop travels with the weights, so
    that all ranks stop after a step at which they meet.

    Args:
        rendezvous: where the ranks meet.
        every: steps between two meetings, :math:`H \ge 1`.
        timeout_s: how long any call waits for other ranks; more than :math:`H` steps take.

    Raises:
        SettingsError: ``every`` is less than one.
        PeerLostError: not all ranks came; names those that did not.

    References:
        Stich, Local SGD converges fast and communicates little, ICLR 2019, arXiv:1805.09767.

    Example:
        >>> import torch
        >>> from unscatter.exchange.world import World
        >>> exchange = LocalSteps(Rendezvous.join(World()), every=2)
        >>> exchange.after_step(exchange.before_step(torch.ones(1, 2)))
        tensor([[1., 1.]])
        >>> exchange.close()
    """

    def __init__(self, rendezvous: Rendezvous, *, every: int = 16, timeout_s: float = 60.0) -> None:
        if every < 1:
            raise SettingsError(f"weights cannot be averaged every {every} steps: set exchange.every to 1 or more.")
        self._peers = Peers(rendezvous, timeout_s=timeout_s)
        self._every = every

    def after_step(self, weights: Tensor) -> Tensor:
        """The mean of the weights at every ``every``-th step, otherwise those of this rank.

        Raises:
            PeerLostError: a rank is missing; names it.
        """
        if self._peers.tally.steps % self._every:
            return weights
        buffer = contribution(weights, stop=self._peers.stop_requested)
        self._peers.call(lambda: self._peers.links.sum_(buffer))
        self._peers.tally.bytes_sent += all_reduce_bytes(buffer, self.num_ranks)
        return self._note(combined(buffer, weights.shape, self.num_ranks))
