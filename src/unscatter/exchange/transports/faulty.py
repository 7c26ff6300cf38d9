"""Faults on purpose, at a rank and a step, to see that what stands on a transport survives them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from unscatter.exchange.transports.protocol import Header, Health, Message, Transport

FaultKind = Literal["drop", "delay", "duplicate", "corrupt", "nan", "disconnect"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong.

    Example:
        >>> fault = Fault(kind="drop", rank=2, step=40, until=60, peer=3)
        >>> fault.strikes(2, 59, 3), fault.strikes(2, 60, 3), fault.strikes(2, 50, 1)
        (True, False, False)
    """

    kind: FaultKind
    """What goes wrong at the rank:

    - ``drop``: messages that it publishes are lost.
    - ``delay``: they arrive ``versions`` publications late.
    - ``duplicate``: messages that it has polled are returned once more.
    - ``corrupt``: a quarter of the payload that it publishes becomes random bytes, the header stays.
    - ``nan``: the payload becomes NaN, and so does the check, as from a rank whose training has diverged.
    - ``disconnect``: the connection breaks, and neither messages nor confirmations go either way until the end.
    """
    rank: int
    """Where."""
    step: int
    """First step, as told by :meth:`Transport.beat`."""
    until: int | None = None
    """First step at which all is well again; the step after ``step`` by default."""
    peer: int | None = None
    """Only between ``rank`` and this one; with all by default."""
    versions: int = 1
    """How late ``delay`` is."""

    def strikes(self, rank: int, step: int, peer: int) -> bool:
        """Whether it concerns a rank, a step and who is talked to."""
        until = self.step + 1 if self.until is None else self.until
        return self.rank == rank and self.step <= step < until and self.peer in (None, peer)


class Faulty:
    """A :class:`~unscatter.exchange.transports.Transport` around another one, with faults.

    Before the first beat the step is 0.  ``statistics`` counts ``faults_injected``.

    Args:
        transport: what carries the messages.
        faults: what goes wrong; those of other ranks are passed over, so that all ranks can be given the same.
        seed: of the random bytes.

    Example:
        >>> from unscatter.exchange.transports import SharedMemoryTransport
        >>> ends = [
        ...     Faulty(
        ...         SharedMemoryTransport("example", rank=rank, ranks=(0, 1), num_lanes=1, num_parameters=1),
        ...         (Fault(kind="nan", rank=0, step=40),),
        ...     )
        ...     for rank in (0, 1)
        ... ]
        >>> ends[0].beat(40)
        >>> ends[0].publish(1, 0, Header(transfer=1, version=1, clock=40, share=0.5, check=1.0), torch.ones(1))
        >>> ends[1].poll(0, 0), ends[1].statistics()["messages_refused"], ends[0].statistics()["faults_injected"]
        (None, 1.0, 1.0)
        >>> for end in ends:
        ...     end.close()
    """

    def __init__(self, transport: Transport, faults: Sequence[Fault], *, seed: int = 0) -> None:
        self._transport = transport
        self._faults = tuple(fault for fault in faults if fault.rank == transport.rank)
        self._random = np.random.default_rng((seed, transport.rank))
        self._step = 0
        self._injected = 0
        self._late: dict[tuple[int, int], deque[tuple[Header, Tensor]]] = {}
        self._again: dict[tuple[int, int], Message] = {}
        self._withheld: dict[tuple[int, int], int] = {}
        self._known: dict[tuple[int, int], int] = {}

    @property
    def rank(self) -> int:
        """Number of this rank."""
        return self._transport.rank

    @property
    def num_ranks(self) -> int:
        """Number of ranks."""
        return self._transport.num_ranks

    @property
    def num_lanes(self) -> int:
        """Mailboxes per rank."""
        return self._transport.num_lanes

    def publish(self, target: int, lane: int, header: Header, payload: Tensor) -> None:
        """Replace the message of a lane, unless a fault has it otherwise."""
        if self._cut(target) or self._fault("drop", target):
            self._injected += 1
            return
        if (fault := self._fault("delay", target)) is not None:
            self._publish_late(fault, target, lane, header, payload)
            return
        self._late.pop((target, lane), None)
        self._transport.publish(target, lane, *self._damaged(target, header, payload))

    def poll(self, source: int, lane: int) -> Message | None:
        """The newest message, or under ``duplicate`` the one before once more."""
        if self._cut(source):
            return None
        message = self._transport.poll(source, lane)
        if message is None:
            again = self._again.pop((source, lane), None)
            self._injected += again is not None
            return again
        if self._fault("duplicate", source):
            self._again[source, lane] = Message(message.header, message.payload.clone())
        else:
            self._again.pop((source, lane), None)
        return message

    def confirm(self, source: int, lane: int, transfer: int) -> None:
        """Tell ``source`` that a transfer has been taken; kept back while the connection is broken."""
        self._withheld[source, lane] = transfer
        self._confirm_withheld()

    def confirmed(self, target: int, lane: int) -> int:
        """The last transfer that ``target`` has taken, as far as was heard before the connection broke."""
        if not self._cut(target):
            self._known[target, lane] = self._transport.confirmed(target, lane)
        return self._known.get((target, lane), 0)

    def beat(self, step: int, *, done: bool = False) -> None:
        """Let the others know how far this rank is."""
        self._step = step
        self._confirm_withheld()
        self._transport.beat(step, done=done)

    def health(self, rank: int) -> Health:
        """What is known of another rank."""
        return self._transport.health(rank)

    def statistics(self) -> dict[str, float]:
        """Those of the transport, and ``faults_injected``."""
        return {**self._transport.statistics(), "faults_injected": float(self._injected)}

    def close(self) -> None:
        """Leave in good order."""
        self._transport.close()

    def _fault(self, kind: FaultKind, peer: int) -> Fault | None:
        return next((fault for fault in self._faults if fault.kind == kind and fault.strikes(self.rank, self._step, peer)), None)

    def _cut(self, peer: int) -> bool:
        """Whether the connection is broken; breaks it where there is one."""
        if self._fault("disconnect", peer) is None:
            return False
        disconnect = getattr(self._transport, "disconnect", None)
        if disconnect is not None:
            disconnect(peer)
        return True

    def _publish_late(self, fault: Fault, target: int, lane: int, header: Header, payload: Tensor) -> None:
        queue = self._late.setdefault((target, lane), deque())
        queue.append((header, payload.clone()))
        self._injected += 1
        if len(queue) > fault.versions:
            self._transport.publish(target, lane, *queue.popleft())

    def _damaged(self, target: int, header: Header, payload: Tensor) -> tuple[Header, Tensor]:
        if self._fault("nan", target):
            self._injected += 1
            return header._replace(check=float("nan")), torch.full_like(payload, float("nan"))
        if self._fault("corrupt", target):
            self._injected += 1
            return header, self._corrupted(payload)
        return header, payload

    def _corrupted(self, payload: Tensor) -> Tensor:
        damaged = payload.clone()
        content = damaged.numpy().view(np.uint8)
        length = max(len(content) // 4, 1)
        start = int(self._random.integers(len(content) - length + 1))
        content[start : start + length] = self._random.integers(256, size=length, dtype=np.uint8)
        return damaged

    def _confirm_withheld(self) -> None:
        for source, lane in list(self._withheld):
            if not self._cut(source):
                self._transport.confirm(source, lane, self._withheld.pop((source, lane)))
