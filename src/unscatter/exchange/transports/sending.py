"""The network thread that calls other ranks and sends them messages."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from unscatter.errors import ExchangeError
from unscatter.exchange.transports.frames import BEAT, CONFIRM, DATA, DONE, FRAME_BYTES, Frame, RefusedError, Script, pack, read, unpack
from unscatter.exchange.transports.handshake import introduce
from unscatter.exchange.transports.link import Link
from unscatter.exchange.transports.node import NetworkNode
from unscatter.exchange.transports.outbox import Outbox
from unscatter.exchange.transports.protocol import Header
from unscatter.exchange.transports.selecting import SelectorThread

#: Where a rank listens, or None while that is not known.
Lookup = Callable[[int], tuple[str, int] | None]

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0


@dataclass(eq=False)
class _Route:
    """The way to one target."""

    target: int
    outboxes: list[Outbox]
    link: Link | None = None
    connected: bool = False
    ready: bool = False
    since: float = 0.0
    next_call: float = 0.0
    pause_s: float = _FIRST_PAUSE_S
    next_beat: float = 0.0
    told_done: bool = False
    shut: bool = False
    called: bool = False
    lanes: list[int] = field(default_factory=list)

    @property
    def waiting(self) -> bool:
        return any(box.waiting for box in self.outboxes)

    def next_lane(self) -> int | None:
        """A lane with something to send; those that have not had their turn for longest come first."""
        for lane in sorted(self.lanes, key=lambda lane: not self.outboxes[lane].waiting):
            if self.outboxes[lane].waiting:
                self.lanes.remove(lane)
                self.lanes.append(lane)
                return lane
        return None


class Sending:
    """Connections made by this rank, one per target, made when there is first something to send.

    A connection that breaks is made anew after a pause that doubles up to a second, and the newest message that was not confirmed is sent
    again.

    Args:
        node: what is shared with the receiving thread.
        lookup: addresses of the ranks.
    """

    def __init__(self, node: NetworkNode, lookup: Lookup) -> None:
        self._node = node
        self._lookup = lookup
        self._routes: dict[int, _Route] = {}
        self._closing: float | None = None
        self.counts: Counter[str] = Counter()
        self.thread = SelectorThread(f"tcp-sender-{node.identity.rank}", self._tick, min(0.05, node.beat_s))
        self.thread.start()

    def put(self, target: int, lane: int, header: Header, payload: Tensor) -> None:
        """Replace the message of a lane."""
        if target not in self._routes:
            self._routes[target] = self._new_route(target)
        self._routes[target].outboxes[lane].put(header, payload)
        self.thread.wake()

    def confirmed(self, target: int, lane: int) -> int:
        """The last transfer that a target has taken."""
        return self._routes[target].outboxes[lane].confirmed if target in self._routes else 0

    def close(self, linger_s: float) -> None:
        """Send what is left, say goodbye, and end the thread."""
        self._closing = time.monotonic() + linger_s
        self.thread.wake()
        self.thread.join(linger_s + self._node.patience_s)

    def disconnect(self, target: int) -> None:
        """Break the connection to a target, as a network would; for tests of what happens then."""
        route = self._routes.get(target)
        if route and route.link:
            with contextlib.suppress(OSError):
                route.link.sock.shutdown(socket.SHUT_RDWR)

    def _new_route(self, target: int) -> _Route:
        size, lanes = self._node.identity.num_parameters, range(self._node.identity.num_lanes)
        return _Route(target, [Outbox(size, self._node.dtype) for _ in lanes], lanes=list(lanes))

    def _tick(self, now: float) -> bool:
        routes = list(self._routes.values())
        for route in routes:
            try:
                self._tend(route, now)
            except (OSError, RefusedError) as error:
                self._lost(route, error)
        return self._closing is None or (now < self._closing and any(self._busy(route) for route in routes))

    def _busy(self, route: _Route) -> bool:
        return route.link is not None or (route.waiting and not route.called)

    def _tend(self, route: _Route, now: float) -> None:
        if route.link is None:
            if self._may_call(route, now):
                self._call(route, now)
            return
        if now - max(route.link.heard, route.since) > self._node.patience_s:
            raise TimeoutError(errno.ETIMEDOUT, f"no word for {self._node.patience_s:g} s")
        if route.ready and not route.link.num_waiting:
            self._feed(route, route.link, now)
        self._watch(route, route.link)

    def _may_call(self, route: _Route, now: float) -> bool:
        if self._node.hearsay.is_done(route.target) or now < route.next_call:
            return False
        return self._closing is None or not route.called

    def _call(self, route: _Route, now: float) -> None:
        route.called = True
        route.next_call = now + route.pause_s
        route.pause_s = min(2 * route.pause_s, _LONGEST_PAUSE_S)
        self._node.hearsay.expect(route.target)
        address = self._address(route.target)
        if address is None:
            return
        family, kind, _, _, place = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
        route.link = Link(socket.socket(family, kind))
        route.connected = route.ready = route.told_done = route.shut = False
        route.since = now
        result = route.link.sock.connect_ex(place)
        if result not in (0, errno.EINPROGRESS):
            raise OSError(result, os.strerror(result))

    def _address(self, target: int) -> tuple[str, int] | None:
        try:
            return self._lookup(target)
        except (LookupError, ExchangeError):
            return None

    def _feed(self, route: _Route, link: Link, now: float) -> None:
        """Queue the next thing to say."""
        lane = route.next_lane()
        if lane is not None:
            self._send_message(route, link, lane)
        elif self._node.done != route.told_done:
            route.told_done = self._node.done
            link.send(self._node.heartbeat(route.target))
        elif now >= route.next_beat:
            route.next_beat = now + self._node.beat_s
            link.send(self._node.heartbeat(route.target))
        elif self._closing is not None and not route.shut:
            route.shut = True
            link.sock.shutdown(socket.SHUT_WR)

    def _send_message(self, route: _Route, link: Link, lane: int) -> None:
        message = route.outboxes[lane].take()
        if message is None:
            return
        crc = zlib.crc32(message.content)
        frame = Frame(DATA, self._node.identity.rank, route.target, self._node.step, lane, message.content.nbytes, crc, message.header)
        link.send(pack(frame))
        link.send(message.content)
        self.counts["messages_sent"] += 1

    def _watch(self, route: _Route, link: Link) -> None:
        writing = not route.connected or link.num_waiting > 0
        self.thread.watch(link.sock, lambda mask: self._on_ready(route, link, mask), writing=writing)

    def _on_ready(self, route: _Route, link: Link, mask: int) -> None:
        if route.link is not link:
            return
        try:
            if not route.connected:
                self._connected(route, link)
            if mask & selectors.EVENT_READ:
                link.read()
            if mask & selectors.EVENT_WRITE:
                self.counts["bytes_sent"] += link.write()
        except (OSError, RefusedError) as error:
            self._lost(route, error)

    def _connected(self, route: _Route, link: Link) -> None:
        result = link.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if result:
            raise OSError(result, os.strerror(result))
        route.connected = True
        link.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.follow(self._talk(route, link))

    def _talk(self, route: _Route, link: Link) -> Script:
        yield from introduce(link, self._node.identity, route.target)
        route.ready, route.pause_s = True, _FIRST_PAUSE_S
        self.counts["connections_made"] += 1
        while True:
            frame = unpack((yield from read(FRAME_BYTES)))
            if frame.kind not in (CONFIRM, BEAT, DONE) or frame.sender != route.target or frame.lane >= len(route.outboxes):
                raise RefusedError(f"sends a frame of kind {frame.kind} from rank {frame.sender} on lane {frame.lane}")
            self._node.hearsay.tell(route.target, frame.step, done=frame.kind == DONE)
            if frame.kind == CONFIRM:
                route.outboxes[frame.lane].confirmed = frame.header.transfer

    def _lost(self, route: _Route, error: Exception) -> None:
        """Give up a connection; another one is made later, and what was not confirmed is sent again."""
        if isinstance(error, RefusedError):
            self.counts["connections_refused"] += 1
            self._node.complain(f"rank {route.target} at {self._address(route.target)}", str(error))
        if route.link is not None:
            self.thread.forget(route.link.sock)
            route.link.close()
        if route.ready:
            self.counts["connections_lost"] += 1
        route.link, route.ready = None, False
        for box in route.outboxes:
            box.repeat()
