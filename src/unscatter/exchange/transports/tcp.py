"""Mailboxes over TCP, between ranks of different nodes."""

from __future__ import annotations

import atexit
import os
import socket
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from unscatter.errors import ExchangeError
from unscatter.exchange.transports.checks import require_payload
from unscatter.exchange.transports.handshake import Identity
from unscatter.exchange.transports.hearsay import Hearsay
from unscatter.exchange.transports.node import NetworkNode
from unscatter.exchange.transports.protocol import Header, Health, Message
from unscatter.exchange.transports.receiving import Receiving
from unscatter.exchange.transports.sending import Lookup, Sending

_COUNTED = (
    "bytes_sent",
    "bytes_received",
    "messages_sent",
    "messages_received",
    "messages_refused",
    "connections_made",
    "connections_lost",
    "connections_refused",
)


class TcpTransport:
    """A :class:`~unscatter.exchange.transports.Transport` over TCP.

    Publishing costs the training thread one copy, polling an exchange of buffers; checksums, connections and heartbeats are the business of
    two small threads.  Connections are made when there is first something to send, in one direction each, and made anew when they break.
    Both sides prove that they know the secret; what they send afterwards is checked for damage but not encrypted.

    ``statistics`` counts besides the usual figures ``connections_made``, ``connections_lost`` and ``connections_refused``; ``bytes_*`` are
    bytes on the network, ``messages_sent`` those that were really sent.  Nothing is known of ranks that this one does not talk to.

    Args:
        rank: number of this rank.
        num_ranks: number of ranks.
        num_lanes: mailboxes that each rank can send through at the same time.
        num_parameters: numbers in a payload.
        secret: known to the ranks of this job only.
        addresses: host and port of each rank, or a function that looks them up; asked again for each connection, on the sending thread.
        host: address of this machine to listen at; others are not served.
        port: to listen at; 0 for any free one, see :attr:`address`.
        job: name of the job.
        dtype: type of the payload.
        silence_s: seconds without a word after which a rank counts as lost.
        linger_s: how long :meth:`close` tries to send what is left.

    Raises:
        ExchangeError: no secret, or the address cannot be listened at.

    Example:
        >>> from unscatter.exchange.transports import payload_sum
        >>> addresses = {}
        >>> ends = [
        ...     TcpTransport(rank=rank, num_ranks=2, num_lanes=1, num_parameters=3, secret="s3cret", addresses=addresses) for rank in (0, 1)
        ... ]
        >>> addresses.update({end.rank: end.address for end in ends})
        >>> weights = torch.tensor([1.0, 2.0, 4.0])
        >>> ends[0].publish(1, 0, Header(transfer=1, version=1, clock=10, share=0.5, check=payload_sum(weights)), weights)
        >>> while (message := ends[1].poll(0, 0)) is None:
        ...     pass
        >>> message.payload
        tensor([1., 2., 4.])
        >>> for end in ends:
        ...     end.close()
    """

    def __init__(
        self,
        *,
        rank: int,
        num_ranks: int,
        num_lanes: int,
        num_parameters: int,
        secret: str,
        addresses: Mapping[int, tuple[str, int]] | Lookup,
        host: str = "127.0.0.1",
        port: int = 0,
        job: str = "",
        dtype: torch.dtype = torch.float32,
        silence_s: float = 5.0,
        linger_s: float = 1.0,
    ) -> None:
        if not secret:
            raise ExchangeError(f"rank {rank} has no secret, so that anybody could connect.\nGive all ranks of the job the same long text.")
        identity = Identity(
            rank=rank,
            num_ranks=num_ranks,
            num_lanes=num_lanes,
            num_parameters=num_parameters,
            itemsize=dtype.itemsize,
            job=job,
            secret=secret,
            incarnation=int.from_bytes(os.urandom(8), "little"),
        )
        self._linger_s = linger_s
        self._node = NetworkNode(identity, dtype, Hearsay(silence_s), silence_s)
        self._received = 0
        self._process = os.getpid()
        self._open = True
        listener = _listen(rank, host, port)
        self._address: tuple[str, int] = listener.getsockname()[:2]
        self._receiving = Receiving(self._node, listener)
        self._sending = Sending(self._node, addresses if callable(addresses) else addresses.get)
        atexit.register(self.close)

    @property
    def rank(self) -> int:
        """Number of this rank."""
        return self._node.identity.rank

    @property
    def num_ranks(self) -> int:
        """Number of ranks."""
        return self._node.identity.num_ranks

    @property
    def num_lanes(self) -> int:
        """Mailboxes per rank."""
        return self._node.identity.num_lanes

    @property
    def address(self) -> tuple[str, int]:
        """Host and port at which this rank listens, for the others."""
        return self._address

    def publish(self, target: int, lane: int, header: Header, payload: Tensor) -> None:
        """Replace the message of a lane."""
        self._require_rank(target)
        require_payload(payload, self._node.identity.num_parameters, self._node.dtype)
        self._sending.put(target, lane, header, payload)

    def poll(self, source: int, lane: int) -> Message | None:
        """The newest message of ``source`` that was not returned before."""
        self._require_rank(source)
        message = self._receiving.poll(source, lane)
        self._received += message is not None
        return message

    def confirm(self, source: int, lane: int, transfer: int) -> None:
        """Tell ``source`` that a transfer has been taken."""
        self._require_rank(source)
        self._receiving.confirm(source, lane, transfer)

    def confirmed(self, target: int, lane: int) -> int:
        """The last transfer of this rank that ``target`` has taken."""
        self._require_rank(target)
        return self._sending.confirmed(target, lane)

    def beat(self, step: int, *, done: bool = False) -> None:
        """Let the others know how far this rank is, with the next heartbeat or message, and at once that it is done or goes on.

        Raises:
            ExchangeError: a network thread has ended by an error, which stands in the log.
        """
        # At once: ranks that take one another for done send nothing.
        news = done != self._node.done
        self._node.step, self._node.done = step, done
        if not (self._sending.thread.is_alive and self._receiving.thread.is_alive):
            raise ExchangeError(f"a network thread of rank {self.rank} has ended by an error: see the traceback in the log of this rank.")
        if news:
            self._sending.thread.wake()
            self._receiving.thread.wake()

    def health(self, rank: int) -> Health:
        """What is known of another rank."""
        self._require_rank(rank)
        return self._node.hearsay.health(rank)

    def disconnect(self, target: int) -> None:
        """Break the connection to a target, as a network would; it is made anew."""
        self._sending.disconnect(target)

    def statistics(self) -> dict[str, float]:
        """Counts since the start."""
        counts = (Counter(messages_received=self._received), self._sending.counts, self._receiving.counts)
        return {name: float(sum(count[name] for count in counts)) for name in _COUNTED}

    def close(self) -> None:
        """Send what is left for a short while, say goodbye, and end both threads."""
        if not self._open or os.getpid() != self._process:
            return
        self._open = False
        atexit.unregister(self.close)
        self._node.done = True
        self._sending.close(self._linger_s)
        self._receiving.close(self._linger_s)

    def _require_rank(self, rank: int) -> None:
        if not (0 <= rank < self.num_ranks and rank != self.rank):
            raise ExchangeError(f"rank {self.rank} of {self.num_ranks} cannot exchange messages with rank {rank}.")


def _listen(rank: int, host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
    except OSError as error:
        raise ExchangeError(f"rank {rank} does not find its own address '{host}': {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ExchangeError(
            f"rank {rank} cannot listen at {host} port {port}: {error.strerror}.\n"
            "Choose an address of this machine and a free port; port 0 takes any free one."
        ) from error
    return listener
