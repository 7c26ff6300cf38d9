"""Shared memory inside a node, the network between nodes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from unscatter.exchange.transports.protocol import Header, Health, Message, Transport


class HybridTransport:
    """A :class:`~unscatter.exchange.transports.Transport` that takes one way to ranks of the same node and another to all others.

    Args:
        local: reaches the ranks of this node, for instance through shared memory.
        remote: reaches the others, for instance over TCP.
        nodes: the node of each rank.

    Example:
        >>> from unscatter.exchange.transports import SharedMemoryTransport, TcpTransport
        >>> sizes = dict(num_lanes=1, num_parameters=3)
        >>> local = SharedMemoryTransport("example", rank=0, ranks=(0, 1), **sizes)
        >>> remote = TcpTransport(rank=0, num_ranks=3, secret="s3cret", addresses={}, **sizes)
        >>> transport = HybridTransport(local, remote, nodes=(0, 0, 1))
        >>> transport.num_ranks
        3
        >>> transport.close()
    """

    def __init__(self, local: Transport, remote: Transport, nodes: Sequence[int]) -> None:
        self._local = local
        self._remote = remote
        here = nodes[remote.rank]
        self._ways = [local if node == here else remote for node in nodes]

    @property
    def rank(self) -> int:
        """Number of this rank."""
        return self._remote.rank

    @property
    def num_ranks(self) -> int:
        """Ranks on all nodes."""
        return self._remote.num_ranks

    @property
    def num_lanes(self) -> int:
        """Mailboxes per rank."""
        return self._remote.num_lanes

    def publish(self, target: int, lane: int, header: Header, payload: Tensor) -> None:
        """Replace the message of a lane."""
        self._ways[target].publish(target, lane, header, payload)

    def poll(self, source: int, lane: int) -> Message | None:
        """The newest message of ``source`` that was not returned before."""
        return self._ways[source].poll(source, lane)

    def confirm(self, source: int, lane: int, transfer: int) -> None:
        """Tell ``source`` that a transfer has been taken."""
        self._ways[source].confirm(source, lane, transfer)

    def confirmed(self, target: int, lane: int) -> int:
        """The last transfer of this rank that ``target`` has taken."""
        return self._ways[target].confirmed(target, lane)

    def beat(self, step: int, *, done: bool = False) -> None:
        """Let the others know how far this rank is."""
        self._local.beat(step, done=done)
        self._remote.beat(step, done=done)

    def health(self, rank: int) -> Health:
        """What is known of another rank."""
        return self._ways[rank].health(rank)

    def disconnect(self, target: int) -> None:
        """Break the connection to a target where there is one."""
        disconnect = getattr(self._ways[target], "disconnect", None)
        if disconnect is not None:
            disconnect(target)

    def statistics(self) -> dict[str, float]:
        """Sums over both ways, under the names of the single ones."""
        local, remote = self._local.statistics(), self._remote.statistics()
        return {name: local.get(name, 0.0) + remote.get(name, 0.0) for name in {**local, **remote}}

    def close(self) -> None:
        """Leave both in good order."""
        self._local.close()
        self._remote.close()
