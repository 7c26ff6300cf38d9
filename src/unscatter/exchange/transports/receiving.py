"""The network thread that answers calls of other ranks and receives their messages."""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter, deque
from contextlib import suppress

from unscatter.exchange.transports.frames import BEAT, CONFIRM, DATA, DONE, FRAME_BYTES, Frame, RefusedError, Script, pack, read, unpack
from unscatter.exchange.transports.handshake import admit
from unscatter.exchange.transports.inbox import Inbox
from unscatter.exchange.transports.link import Link
from unscatter.exchange.transports.node import NetworkNode
from unscatter.exchange.transports.protocol import Header, Message
from unscatter.exchange.transports.selecting import SelectorThread

#: Calls that may be in their handshake at the same time, besides those of all ranks.
_STRANGERS = 16

#: Small frames that may queue towards a rank that does not read.
_LONGEST_QUEUE = 1000


class _Visitor:
    """A connection that another rank, or a stranger, has made."""

    def __init__(self, sock: socket.socket, name: str, now: float) -> None:
        self.link = Link(sock)
        self.name = name
        self.since = now
        self.rank: int | None = None
        self.next_beat = 0.0
        self.told_done = False
        self.shut = False


class Receiving:
    """Connections made by other ranks.

    Args:
        node: what is shared with the sending thread.
        listener: a socket that listens.
    """

    def __init__(self, node: NetworkNode, listener: socket.socket) -> None:
        self._node = node
        self._listener: socket.socket | None = listener
        self._visitors: list[_Visitor] = []
        self._inboxes: dict[tuple[int, int], Inbox] = {}
        self._confirmed: dict[tuple[int, int], int] = {}
        self._to_confirm: deque[tuple[int, int]] = deque()
        self._closing: float | None = None
        self.counts: Counter[str] = Counter()
        self.thread = SelectorThread(f"tcp-receiver-{node.identity.rank}", self._tick, min(0.05, node.beat_s))
        listener.setblocking(False)
        self.thread.watch(listener, self._on_call)
        self.thread.start()

    def poll(self, source: int, lane: int) -> Message | None:
        """The newest message of a source that was not returned before."""
        inbox = self._inboxes.get((source, lane))
        return inbox.poll() if inbox else None

    def confirm(self, source: int, lane: int, transfer: int) -> None:
        """Tell a source that a transfer has been taken; told again whenever it calls anew."""
        self._confirmed[source, lane] = transfer
        self._to_confirm.append((source, lane))
        self.thread.wake()

    def close(self, linger_s: float) -> None:
        """Say goodbye, and end the thread."""
        self._closing = time.monotonic() + linger_s
        self.thread.wake()
        self.thread.join(linger_s + self._node.patience_s)

    def _tick(self, now: float) -> bool:
        self._send_confirmations()
        for visitor in list(self._visitors):
            try:
                self._tend(visitor, now)
            except (OSError, RefusedError) as error:
                self._lost(visitor, error)
        if self._closing is None:
            return True
        self._stop_listening()
        return now < self._closing and any(visitor.rank is not None for visitor in self._visitors)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self.thread.forget(self._listener)
            self._listener = None

    def _send_confirmations(self) -> None:
        while self._to_confirm:
            source, lane = self._to_confirm.popleft()
            for visitor in self._visitors:
                if visitor.rank == source:
                    self._send_confirmation(visitor.link, source, lane)

    def _send_confirmation(self, link: Link, source: int, lane: int) -> None:
        header = Header(self._confirmed[source, lane], 0, 0, 0.0, 0.0)
        link.send(pack(Frame(CONFIRM, self._node.identity.rank, source, self._node.step, lane, header=header)))

    def _tend(self, visitor: _Visitor, now: float) -> None:
        link = visitor.link
        if now - (visitor.since if visitor.rank is None else link.heard) > self._node.patience_s:
            raise RefusedError("does not go on with what it began") if visitor.rank is None else TimeoutError("no word for too long")
        if link.num_waiting > _LONGEST_QUEUE:
            raise TimeoutError("does not read what is sent to it")
        if visitor.rank is not None:
            self._greet(visitor, visitor.rank, now)
        self.thread.watch(link.sock, lambda mask: self._on_ready(visitor, mask), writing=link.num_waiting > 0)

    def _greet(self, visitor: _Visitor, rank: int, now: float) -> None:
        if now >= visitor.next_beat or self._node.done != visitor.told_done:
            visitor.next_beat, visitor.told_done = now + self._node.beat_s, self._node.done
            visitor.link.send(self._node.heartbeat(rank))
        elif self._closing is not None and not visitor.link.num_waiting and not visitor.shut:
            visitor.shut = True
            visitor.link.sock.shutdown(socket.SHUT_WR)

    def _on_call(self, _: int) -> None:
        assert self._listener is not None
        with suppress(OSError):
            sock, address = self._listener.accept()
            visitor = _Visitor(sock, f"{address[0]} port {address[1]}", time.monotonic())
            if sum(other.rank is None for other in self._visitors) >= self._node.identity.num_ranks + _STRANGERS:
                self._visitors.append(visitor)
                self._lost(visitor, RefusedError("too many connections at once that do not say who they are"))
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            visitor.link.follow(self._listen_to(visitor))
            self._visitors.append(visitor)

    def _on_ready(self, visitor: _Visitor, mask: int) -> None:
        if visitor not in self._visitors:
            return
        try:
            if mask & selectors.EVENT_READ:
                self.counts["bytes_received"] += visitor.link.read()
                if visitor.rank is not None:
                    self._node.hearsay.hear(visitor.rank)
            if mask & selectors.EVENT_WRITE:
                visitor.link.write()
        except (OSError, RefusedError) as error:
            self._lost(visitor, error)

    def _listen_to(self, visitor: _Visitor) -> Script:
        caller = yield from admit(visitor.link, self._node.identity)
        self._welcome(visitor, caller.rank)
        while True:
            frame = unpack((yield from read(FRAME_BYTES)))
            self._require_sense(frame, caller.rank)
            self._node.hearsay.tell(caller.rank, frame.step, done=frame.kind == DONE)
            if frame.kind == DATA:
                inbox = self._inbox(caller.rank, frame.lane)
                yield inbox.content
                whole = inbox.accept(frame.header, frame.payload_crc, incarnation=caller.incarnation)
                self.counts["messages_refused"] += not whole

    def _welcome(self, visitor: _Visitor, rank: int) -> None:
        """Replace an older connection of the same rank, and tell again what was confirmed to it."""
        for other in list(self._visitors):
            if other.rank == rank:
                self._drop(other)
        visitor.rank = rank
        self._node.hearsay.tell(rank, self._node.hearsay.health(rank).step)
        for source, lane in list(self._confirmed):
            if source == rank:
                self._send_confirmation(visitor.link, source, lane)

    def _require_sense(self, frame: Frame, rank: int) -> None:
        identity = self._node.identity
        expected = identity.num_parameters * identity.itemsize if frame.kind == DATA else 0
        if frame.kind not in (DATA, BEAT, DONE) or (frame.sender, frame.target) != (rank, identity.rank):
            raise RefusedError(f"rank {rank} sends a frame of kind {frame.kind} from rank {frame.sender} for rank {frame.target}")
        if frame.length != expected or frame.lane >= identity.num_lanes:
            raise RefusedError(f"rank {rank} announces {frame.length} bytes on lane {frame.lane} where {expected} are to come")

    def _inbox(self, source: int, lane: int) -> Inbox:
        if (source, lane) not in self._inboxes:
            self._inboxes[source, lane] = Inbox(self._node.identity.num_parameters, self._node.dtype)
        return self._inboxes[source, lane]

    def _lost(self, visitor: _Visitor, error: Exception) -> None:
        if isinstance(error, RefusedError):
            self.counts["connections_refused"] += 1
            # The port of a stranger is another one each time it calls.
            self._node.complain(visitor.name.partition(" port ")[0], str(error))
        self._drop(visitor)

    def _drop(self, visitor: _Visitor) -> None:
        self._visitors.remove(visitor)
        self.thread.forget(visitor.link.sock)
        visitor.link.close()
