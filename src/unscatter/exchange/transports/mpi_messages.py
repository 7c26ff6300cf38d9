"""Mailboxes over two-sided MPI, for networks that do not serve windows by themselves."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unscatter.exchange.mpi.world import communicator, import_mpi, leave_without_finalize
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.transports.buffers import payload_sum
from unscatter.exchange.transports.checks import is_whole
from unscatter.exchange.transports.counts import Counts
from unscatter.exchange.transports.mpi import _HEADER
from unscatter.exchange.transports.protocol import Header, Health, Message

#: Kinds of message, above the lane in the tag.
_PAYLOAD, _CONFIRMATION, _PULSE = 0, 1, 2
_KINDS = 3
_TWO_NUMBERS = struct.Struct("<qq")
#: Seconds between two pulses to the same rank.
_PULSE_INTERVAL_S = 0.25


@dataclass
class _Outbox:
    """What waits to be sent to one rank with one tag: the newest message only, while an older one is on its way."""

    request: Any = None
    underway: bytes = b""
    waiting: bytes | None = None


@dataclass
class _Inbox:
    """What has arrived from one rank on one lane, and was not read."""

    newest: bytes | None = None


@dataclass
class _Heard:
    """What was heard of a rank."""

    at_s: float = field(default_factory=time.monotonic)
    step: int = -1
    done: bool = False


class MpiMessages:
    """A :class:`~unscatter.exchange.transports.Transport` over ``Isend``, ``Iprobe`` and ``Irecv``.

    No call waits: a lane has at most one message on its way, and behind it the newest one that waits, which replaces older ones.  Messages
    move whenever a method is called, by this rank and by the other one; a rank that computes for long neither sends nor takes meanwhile.
    Pulses go to the ranks that this one exchanges messages with, and nothing is known of others.

    Args:
        rendezvous: where the ranks, started by mpiexec, meet once.
        num_lanes: mailboxes that each rank can send through at the same time.
        num_parameters: numbers in a payload.
        dtype: their type.
        silence_s: seconds without a message of any kind after which a rank counts as lost; longer than the longest step.
        linger_s: how long :meth:`close` tries to send what is left.

    Raises:
        MissingExtraError: mpi4py is not installed.
        ExchangeError: the ranks are not those of one MPI job.
        PeerLostError: a rank did not come to the rendezvous.
    """

    def __init__(
        self,
        rendezvous: Rendezvous,
        *,
        num_lanes: int,
        num_parameters: int,
        dtype: torch.dtype = torch.float32,
        silence_s: float = 30.0,
        linger_s: float = 1.0,
    ) -> None:
        self._mpi = import_mpi()
        world = rendezvous.world
        board = rendezvous.below(f"transport/{rendezvous.count(f'transports of rank {world.rank}')}")
        self._comm = communicator(self._mpi, board)
        self.rank, self.num_ranks, self.num_lanes = world.rank, world.size, num_lanes
        self._dtype, self._silence_s, self._linger_s = dtype, silence_s, linger_s
        self._payload_bytes = num_parameters * dtype.itemsize
        self._counts = Counts()
        self._outboxes: dict[tuple[int, int], _Outbox] = {}
        self._inboxes: dict[tuple[int, int], _Inbox] = {}
        self._arriving: list[tuple[Any, int, int, bytearray]] = []
        self._confirmed: dict[tuple[int, int], int] = {}
        self._heard: dict[int, _Heard] = {}
        self._step, self._pulse_s = 0, 0.0

    def publish(self, target: int, lane: int, header: Header, payload: Tensor) -> None:
        """Replace the message of a lane that waits to be sent."""
        message = _HEADER.pack(*header) + payload.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
        self._send(target, self._tag(_PAYLOAD, lane), message)

    def poll(self, source: int, lane: int) -> Message | None:
        """The newest message that has arrived from a rank on a lane and was not read."""
        self._progress()
        inbox = self._inboxes.setdefault((source, lane), _Inbox())
        text, inbox.newest = inbox.newest, None
        if text is None:
            return None
        payload = torch.frombuffer(bytearray(text[_HEADER.size :]), dtype=torch.uint8).view(self._dtype)
        message = Message(Header(*_HEADER.unpack(text[: _HEADER.size])), payload)
        if len(text) != _HEADER.size + self._payload_bytes or not is_whole(
            message.payload, payload_sum(message.payload), message.header.check
        ):
            self._counts.messages_refused += 1
            return None
        self._counts.received(self._payload_bytes)
        return message

    def confirm(self, source: int, lane: int, transfer: int) -> None:
        """Tell a rank that a transfer has been taken."""
        self._send(source, self._tag(_CONFIRMATION, lane), _TWO_NUMBERS.pack(transfer, 0))

    def confirmed(self, target: int, lane: int) -> int:
        """The last transfer of this rank that another one has taken on a lane."""
        self._progress()
        return self._confirmed.get((target, lane), 0)

    def beat(self, step: int, *, done: bool = False) -> None:
        """Send a pulse to the ranks that this one exchanges messages with, not oftener than a few times a second."""
        self._step = step
        now = time.monotonic()
        if done or now - self._pulse_s >= _PULSE_INTERVAL_S:
            self._pulse_s = now
            partners = {rank for rank, _ in self._outboxes} | set(self._heard)
            for rank in partners - {self.rank}:
                self._send(rank, self._tag(_PULSE, 0), _TWO_NUMBERS.pack(step, done))
        self._progress()

    def health(self, rank: int) -> Health:
        """What was last heard of a rank."""
        self._progress()
        heard = self._heard.get(rank)
        if heard is None:
            return Health(alive=True, step=-1, silent_s=0.0, done=False)
        silent_s = time.monotonic() - heard.at_s
        return Health(alive=silent_s <= self._silence_s, step=heard.step, silent_s=silent_s, done=heard.done)

    def statistics(self) -> dict[str, float]:
        """Counts since the start."""
        return self._counts.statistics()

    def close(self) -> None:
        """Send what is left, and that this rank leaves, for ``linger_s``; what could not be sent then is given up."""
        self.beat(self._step, done=True)
        end = time.monotonic() + self._linger_s
        while self._is_sending and time.monotonic() < end:
            self._progress()
            time.sleep(0.001)
        if self._is_sending:
            leave_without_finalize()

    @property
    def _is_sending(self) -> bool:
        return any(box.request is not None or box.waiting is not None for box in self._outboxes.values())

    def _tag(self, kind: int, lane: int) -> int:
        return lane * _KINDS + kind

    def _send(self, target: int, tag: int, message: bytes) -> None:
        self._outboxes.setdefault((target, tag), _Outbox()).waiting = message
        self._progress()

    def _progress(self) -> None:
        for (target, tag), box in self._outboxes.items():
            self._move(target, tag, box)
        status = self._mpi.Status()
        while self._comm.Iprobe(self._mpi.ANY_SOURCE, self._mpi.ANY_TAG, status):
            buffer = bytearray(status.Get_count(self._mpi.BYTE))
            request = self._comm.Irecv([buffer, self._mpi.BYTE], status.Get_source(), status.Get_tag())
            self._arriving.append((request, status.Get_source(), status.Get_tag(), buffer))
        while self._arriving and self._arriving[0][0].Test():
            _, source, tag, buffer = self._arriving.pop(0)
            self._take(source, *divmod(tag, _KINDS), bytes(buffer))

    def _move(self, target: int, tag: int, box: _Outbox) -> None:
        if box.request is not None and box.request.Test():
            box.request = None
        if box.request is None and box.waiting is not None:
            box.underway, box.waiting = box.waiting, None
            # The bytes have to stay where they are until the request has ended.
            box.request = self._comm.Isend([np.frombuffer(box.underway, dtype=np.uint8), self._mpi.BYTE], target, tag)
            if tag % _KINDS == _PAYLOAD:
                self._counts.sent(self._payload_bytes)

    def _take(self, source: int, lane: int, kind: int, text: bytes) -> None:
        heard = self._heard.setdefault(source, _Heard())
        heard.at_s = time.monotonic()
        match kind:
            case 0:
                self._inboxes.setdefault((source, lane), _Inbox()).newest = text
            case 1:
                self._confirmed[source, lane] = max(_TWO_NUMBERS.unpack(text)[0], self._confirmed.get((source, lane), 0))
            case _:
                heard.step, heard.done = _TWO_NUMBERS.unpack(text)[0], bool(_TWO_NUMBERS.unpack(text)[1])
