"""Wait for the first ranks only; what comes late goes into a later step."""

from __future__ import annotations

import torch
from torch import Tensor

from unscatter.exchange.collectives.contribution import combined, contribution
from unscatter.exchange.collectives.coordinator import Coordinator, Line, Reply
from unscatter.exchange.collectives.peers import Peers
from unscatter.exchange.collectives.synchronous import Synchronous
from unscatter.exchange.rendezvous import Rendezvous


class Quorum(Synchronous):
    r"""The sum of what has come when ``quorum`` ranks have made a step, over the number of all ranks.

    .. math:: \bar g(k) = \frac{1}{N} \sum_{(i,j) \in R_k} g_i(j)

    where :math:`R_k` holds the contributions :math:`g_i(j)` (rank :math:`i`, its step :math:`j \le k`) that came between the ends of
    rounds :math:`k-1` and :math:`k`.  A late contribution is added to the round that is open when it comes.  Each is in exactly one round,
    with equal weight, so that nothing is lost: :math:`\sum_k \bar g(k)` is the sum of all contributions over :math:`N`.

    All ranks apply all rounds in order: the weights after step :math:`k` have the same bits on all ranks, and so have the moments of an
    optimiser.  A rank that is behind finds the results of the rounds that it missed waiting for it, and so makes its steps without waiting
    until it has caught up.  It does not adopt the weights of others: its optimiser's moments would then be others than theirs, and weights
    would drift apart.  The price is ``max_lag``: a round also waits until no rank is further behind than that, so that the age of a
    contribution and the memory for results are bounded.  A rank that is always slower than the others sets their pace in the long run; what
    a quorum absorbs is steps that are slow now and then.

    Assumptions: all ranks make the same number of steps, and a rank that is ``max_lag`` steps behind catches up within the time-out.
    Contributions that come after the last round of a fit are in no step; they are counted (``contributions_left_over``, on rank 0).  Sums
    depend on the order of arrival: two runs differ in the last bits, two ranks do not.  Rows (replicas) that are not finite are left out,
    counted, and replaced by the mean of those in the same round.

    Args:
        rendezvous: where the ranks meet; rank 0 adds up, on threads.
        quorum: ranks that a round waits for; nine of ten, at least one, where it is None.
        max_lag: steps that a rank may be behind, at least 0.
        timeout_s: how long any call waits for other ranks.

    Raises:
        SettingsError: ``quorum`` or ``max_lag`` is out of range.
        PeerLostError: not all ranks came; names those that did not.

    References:
        Chen et al., Revisiting distributed synchronous SGD, arXiv:1604.00981 (which drops what is late); Ho et al., More effective
        distributed ML via a stale synchronous parallel parameter server, NeurIPS 2013 (the bound on how far ranks are apart).

    Example:
        >>> from unscatter.exchange.world import World
        >>> exchange = Quorum(Rendezvous.join(World()))
        >>> exchange.before_step(torch.tensor([[1.0, 2.0]]))
        tensor([[1., 2.]])
        >>> exchange.close()
    """

    def __init__(self, rendezvous: Rendezvous, *, quorum: int | None = None, max_lag: int = 16, timeout_s: float = 60.0) -> None:
        num_ranks = rendezvous.world.size
        wanted = max(1, 9 * num_ranks // 10) if quorum is None else quorum
        self._coordinator = Coordinator(num_ranks, quorum=wanted, max_lag=max_lag)
        self._peers = Peers(rendezvous, timeout_s=timeout_s)
        self._line = self._connect()
        self._steps = self._lag = self._late = self._left_over = 0

    def before_step(self, gradient: Tensor) -> Tensor:
        """The combined gradient of this rank's next round.

        Raises:
            PeerLostError: a rank is missing; names it.
        """
        self._peers.count_step()
        buffer = contribution(gradient, stop=self._peers.stop_requested).float().cpu()
        reply = self._peers.call(lambda: self._line.contribute(self.rank, buffer))
        self._tally(reply, buffer)
        mean = self._note(combined(reply.total, gradient.shape, reply.parts))
        return (mean * (reply.parts / self.num_ranks)).to(gradient.device, gradient.dtype)

    def statistics(self) -> dict[str, float]:
        """As of all synchronous exchanges, and how late this rank is.

        ``lag`` (rounds closed beyond the last step of this rank), ``late_contributions`` (of this rank, that went into a later round) and
        ``contributions_left_over`` (of all ranks, known on rank 0, in no round when the last one ended).
        """
        left_over = self._left_over + (self._line.left_over if isinstance(self._line, Coordinator) else 0)
        return self._peers.statistics() | {
            "lag": float(self._lag),
            "late_contributions": float(self._late),
            "contributions_left_over": float(left_over),
        }

    def close(self) -> None:
        """Leave; rank 0 stays until the others have fetched the results that they still need, or the time-out has passed."""
        if isinstance(self._line, Coordinator):
            self._line.close(0.0 if self._peers.failed else self._peers.timeout_s)
            self._peers.close()
        else:
            self._line.hang_up()
            self._peers.close()
            self._line.close()

    def _connect(self) -> Coordinator | Line:
        peers, coordinator = self._peers, self._coordinator
        if peers.rank:
            return peers.call(lambda: Line(peers.board))
        if peers.num_ranks > 1:
            coordinator.listen(peers.board)
            peers.call(lambda: coordinator.wait_for_all(peers.timeout_s))
        return coordinator

    def _restart(self) -> None:
        """Everybody has to be here before steps are counted anew; the broadcast that follows is the sign to go on."""
        arrived = torch.ones(1)
        self._peers.call(lambda: self._peers.links.sum_(arrived))
        self._steps = 0
        if isinstance(self._line, Coordinator):
            self._left_over += self._line.left_over
            self._line.restart()

    def _tally(self, reply: Reply, buffer: Tensor) -> None:
        tally = self._peers.tally
        tally.bytes_sent += buffer.nbytes * (1 if self.rank else self.num_ranks - 1)
        self._steps += 1
        self._lag = reply.closed - self._steps
        self._late += int(reply.came_at >= self._steps)
