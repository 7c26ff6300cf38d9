"""Ranks in one process under a clock that only the test moves: asynchronous runs that can be repeated bit for bit."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from unscatter.exchange.transports.buffers import payload_sum
from unscatter.exchange.transports.checks import is_whole
from unscatter.exchange.transports.protocol import Header, Health, Message


@dataclass
class _Rank:
    step: int = -1
    done: bool = False
    alive: bool = True


@dataclass(eq=False)
class VirtualNetwork:
    """Mailboxes of all ranks.

    Args:
        num_ranks: ranks.
        num_lanes: lanes of each.
        latency_s: virtual time from a publication to when it can be read; called once per message.

    Example:
        >>> network = VirtualNetwork(2, latency_s=lambda: 0.5)
        >>> left, right = network.transport(0), network.transport(1)
        >>> left.publish(1, 0, Header(1, 1, 0, 0.5, 3.0), torch.tensor([1.0, 2.0]))
        >>> right.poll(0, 0) is None
        True
        >>> network.now_s = 0.5
        >>> right.poll(0, 0).payload
        tensor([1., 2.])
    """

    num_ranks: int
    num_lanes: int = 16
    latency_s: Callable[[], float] = lambda: 0.0
    now_s: float = 0.0
    ranks: list[_Rank] = field(init=False)
    _on_the_way: dict[tuple[int, int, int], list[tuple[float, Header, Tensor]]] = field(default_factory=dict, init=False)
    _confirmations: dict[tuple[int, int, int], int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.ranks = [_Rank() for _ in range(self.num_ranks)]

    def transport(self, rank: int) -> VirtualTransport:
        """The mailboxes of one rank."""
        return VirtualTransport(self, rank)

    def kill(self, rank: int) -> None:
        """Let a rank die: what it has sent can still be read."""
        self.ranks[rank].alive = False

    def send(self, key: tuple[int, int, int], header: Header, payload: Tensor) -> None:
        """Put a message on its way."""
        self._on_the_way.setdefault(key, []).append((self.now_s + self.latency_s(), header, payload))

    def receive(self, key: tuple[int, int, int]) -> Message | None:
        """The newest message that has arrived and was not read before; older ones are replaced by it."""
        messages = self._on_the_way.get(key, [])
        arrived = [message for message in messages if message[0] <= self.now_s]
        if not arrived:
            return None
        _, header, payload = max(arrived, key=lambda message: message[1].version)
        self._on_the_way[key] = [message for message in messages if message[0] > self.now_s and message[1].version > header.version]
        return Message(header, payload)

    def under_way(self) -> list[tuple[tuple[int, int, int], Header, Tensor]]:
        """All messages that nobody has read, with their sender, target and lane."""
        return [(key, header, payload) for key, messages in self._on_the_way.items() for _, header, payload in messages]


@dataclass(eq=False)
class VirtualTransport:
    """Mailboxes of one rank of a :class:`VirtualNetwork`."""

    network: VirtualNetwork
    rank: int
    bytes_sent: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    messages_refused: int = 0

    @property
    def num_ranks(self) -> int:
        """Number of ranks."""
        return self.network.num_ranks

    @property
    def num_lanes(self) -> int:
        """Number of lanes."""
        return self.network.num_lanes

    def publish(self, target: int, lane: int, header: Header, payload: Tensor) -> None:
        """See :class:`Transport`."""
        self.network.send((self.rank, target, lane), header, payload.clone())
        self.bytes_sent += payload.numel() * payload.element_size()
        self.messages_sent += 1

    def poll(self, source: int, lane: int) -> Message | None:
        """See :class:`Transport`."""
        message = self.network.receive((source, self.rank, lane))
        if message is not None and not is_whole(message.payload, payload_sum(message.payload), message.header.check):
            self.messages_refused += 1
            return None
        self.messages_received += message is not None
        return message

    def confirm(self, source: int, lane: int, transfer: int) -> None:
        """See :class:`Transport`; confirmations arrive at once."""
        self.network._confirmations[source, self.rank, lane] = transfer

    def confirmed(self, target: int, lane: int) -> int:
        """See :class:`Transport`."""
        return self.network._confirmations.get((self.rank, target, lane), 0)

    def beat(self, step: int, *, done: bool = False) -> None:
        """See :class:`Transport`."""
        own = self.network.ranks[self.rank]
        own.step, own.done = step, done

    def health(self, rank: int) -> Health:
        """See :class:`Transport`."""
        known = self.network.ranks[rank]
        return Health(alive=known.alive, step=known.step, silent_s=0.0 if known.alive else math.inf, done=known.done)

    def statistics(self) -> dict[str, float]:
        """See :class:`Transport`."""
        return {"bytes_sent": self.bytes_sent, "messages_sent": self.messages_sent, "messages_received": self.messages_received,
                "messages_refused": self.messages_refused}  # fmt: skip

    def close(self) -> None:
        """Leave in good order."""
        self.network.ranks[self.rank].done = True


def run_ranks(network: VirtualNetwork, ranks: Sequence[Generator[float, None, None]]) -> None:
    """Run ranks until all have ended, the one whose turn comes first in virtual time before the others.

    Args:
        network: whose clock is moved.
        ranks: generators that yield how long they compute, in virtual seconds, before they go on.
    """
    turns = [(0.0, rank) for rank in range(len(ranks))]
    while turns:
        network.now_s, rank = heapq.heappop(turns)
        try:
            duration = next(ranks[rank])
        except StopIteration:
            continue
        heapq.heappush(turns, (network.now_s + duration, rank))
