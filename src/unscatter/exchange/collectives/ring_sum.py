"""A sum round a ring in point-to-point calls."""

from __future__ import annotations

from torch import Tensor

from unscatter.exchange.collectives.links import Links
from unscatter.exchange.groups import Ring, split_evenly


def ring_sum_(links: Links, ring: Ring, rank: int, buffer: Tensor, *, tag: int) -> int:
    r"""Replace a buffer in main memory by its sum over the members of a ring, the same bits on all of them.

    The buffer is cut into as many chunks as the ring has members.  In :math:`n-1` hops each chunk travels once round the ring and collects
    the parts of all members (reduce-scatter); in another :math:`n-1` hops the finished chunks travel round (all-gather).  Each chunk is
    added up in one order and then copied, hence the same bits everywhere; passing whole buffers on and adding them as they come, each
    member in another order, does not give that.  Every hop waits for both neighbours.

    Args:
        links: connections between the ranks.
        ring: the members.
        rank: this rank, one of them.
        buffer: flat; this rank's part before, the sum after.
        tag: tells messages of different sums apart.

    Returns:
        Bytes sent: :math:`2 G (n-1)/n` for a buffer of :math:`G` bytes.

    References:
        Patarasuk and Yuan, J. Parallel Distrib. Comput. 69 (2009) 117.
    """
    num_members, place = len(ring.members), ring.members.index(rank)
    parts = split_evenly(len(buffer), num_members)
    chunks = [buffer[part.start : part.stop] for part in parts]
    arrived = buffer.new_empty(len(chunks[0]))
    sent = 0
    for hop in range(2 * (num_members - 1)):
        outgoing, number = chunks[(place - hop) % num_members], (place - hop - 1) % num_members
        incoming = arrived[: len(parts[number])]
        links.swap_(outgoing, ring.right(rank), incoming, ring.left(rank), tag)
        if hop < num_members - 1:
            chunks[number] += incoming
        else:
            chunks[number].copy_(incoming)
        sent += outgoing.nbytes
    return sent
