"""Rings inside groups, a ring of their leaders every so often, and then the leaders' result reaches their groups."""

from __future__ import annotations

from torch import Tensor

from unscatter.errors import SettingsError
from unscatter.exchange.collectives.contribution import combined, contribution
from unscatter.exchange.collectives.links import Links
from unscatter.exchange.collectives.peers import Peers
from unscatter.exchange.collectives.ring_sum import ring_sum_
from unscatter.exchange.collectives.synchronous import Synchronous
from unscatter.exchange.groups import Groups, Ring
from unscatter.exchange.rendezvous import Rendezvous


class Grouped(Synchronous):
    r"""Ranks share gradients inside their group at every step, and over all groups at every ``outer_every``-th, the outer step.

    At an outer step the leaders of the groups pass the **sums** of their groups round a ring of their own, together with the numbers of
    ranks in them, and hand the result on to their group.  The mean over all ranks is therefore exact where the last group is smaller.
    After an outer step the weights of all ranks are averaged in the same way: averaging gradients alone never undoes what the groups have
    done apart, and leaves a random walk along the directions in which the loss is flat.

    A request to stop is agreed on at an outer step.  Rows (replicas) that are not finite are left out of the means; those left out within
    this rank's group are counted at inner steps, those of all ranks at outer ones.

    Args:
        rendezvous: where the ranks meet.
        group_size: ranks per group; where it does not divide the number of ranks the last group is smaller.  More than there are ranks
            is one group of all.
        outer_every: steps from one outer step to the next.
        timeout_s: how long any call waits for other ranks.

    Raises:
        SettingsError: ``group_size`` or ``outer_every`` is less than one.
        PeerLostError: not all ranks came; names those that did not.

    Example:
        >>> import torch
        >>> from unscatter.exchange.world import World
        >>> exchange = Grouped(Rendezvous.join(World()), group_size=4, outer_every=8)
        >>> exchange.before_step(torch.tensor([[1.0, 2.0]]))
        tensor([[1., 2.]])
        >>> exchange.close()
    """

    def __init__(self, rendezvous: Rendezvous, *, group_size: int = 4, outer_every: int = 16, timeout_s: float = 60.0) -> None:
        if outer_every < 1:
            raise SettingsError(f"groups cannot meet every {outer_every} steps: set exchange.outer_every to 1 or more.")
        self._groups = Groups(rendezvous.world.size, min(group_size, rendezvous.world.size))
        self._outer_every = outer_every
        self._peers = Peers(rendezvous, timeout_s=timeout_s)

    def before_step(self, gradient: Tensor) -> Tensor:
        """The mean gradient of the group, at outer steps that of all ranks.

        Raises:
            PeerLostError: a rank is missing; names it.
        """
        self._peers.count_step()
        return self._mean(gradient, outer=self._is_outer)

    def after_step(self, weights: Tensor) -> Tensor:
        """The mean weights of all ranks after outer steps, otherwise those of this rank.

        Raises:
            PeerLostError: a rank is missing; names it.
        """
        return self._mean(weights, outer=True) if self._is_outer else weights

    @property
    def _is_outer(self) -> bool:
        return self._peers.tally.steps % self._outer_every == 0

    def _mean(self, rows: Tensor, *, outer: bool) -> Tensor:
        # At inner steps a request must not travel: the other groups would not hear of it.
        buffer = contribution(rows, stop=outer and self._peers.stop_requested).cpu()
        tag = self._peers.tally.steps
        self._peers.tally.bytes_sent += self._peers.call(
            lambda: grouped_sum_(self._peers.links, self._groups, buffer, self.rank, outer, tag)
        )
        members = self.num_ranks if outer else len(self._groups.inner_group(self.rank))
        return self._note(combined(buffer.to(rows.device), rows.shape, members))


def grouped_sum_(links: Links, groups: Groups, buffer: Tensor, rank: int, outer: bool, tag: int) -> int:
    """Replace a buffer by its sum over the group of a rank, or over all ranks where ``outer``; returns the bytes sent."""
    inner, leader = groups.inner_group(rank), groups.leader(rank)
    sent = ring_sum_(links, Ring(inner), rank, buffer, tag=tag)
    if not outer:
        return sent
    if rank != leader:
        links.receive_(buffer, leader, tag)
        return sent
    sent += ring_sum_(links, Ring(groups.outer_group), rank, buffer, tag=tag)
    for member in inner[1:]:
        links.send(buffer, member, tag)
    return sent + buffer.nbytes * (len(inner) - 1)
