"""How asynchronous exchanges move flat buffers: mailboxes that never make anybody wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor


class Header(NamedTuple):
    """What stands on a message."""

    transfer: int
    """Which transfer of weight this is on its lane, from 1; the same in every version of the message until the receiver has taken it."""
    version: int
    """Grows with every publication on the lane."""
    clock: int
    """How far the sender's weights have come, in steps."""
    share: float
    """Push-sum weight that goes to the receiver with this transfer."""
    check: float
    """Sum of the payload: tells a buffer that is torn, damaged or not finite."""


@dataclass(frozen=True, eq=False)
class Message:
    """The newest message of a lane.

    Args:
        header: what stands on it.
        payload: flat buffer; valid until the same lane is polled again.
    """

    header: Header
    payload: Tensor


class Health(NamedTuple):
    """What is known of another rank."""

    alive: bool
    """False once it is known to be gone or has not been heard of for longer than the transport's ``silence_s``; true where nothing is
    known yet."""
    step: int
    """Steps that it has done, as last heard; -1 where nothing is known."""
    silent_s: float
    """Seconds since it was last heard of; 0 where nothing is known."""
    done: bool
    """Whether it has left in good order: it is not to be waited for and nothing is to be sent to it."""


@runtime_checkable
class Transport(Protocol):
    """Mailboxes between ranks: one per sender and lane, each with the newest message for one target.

    No call waits for another rank.  A message may be late, be replaced by a newer one before it is read, be read twice, or be lost when
    a connection breaks; what is read is whole, or refused and counted.
    """

    @property
    def rank(self) -> int:
        """Number of this rank."""
        ...

    @property
    def num_ranks(self) -> int:
        """Number of ranks."""
        ...

    @property
    def num_lanes(self) -> int:
        """Mailboxes that each rank can send through at the same time."""
        ...

    def publish(self, target: int, lane: int, header: Header, payload: Tensor) -> None:
        """Replace the message of a lane; the payload is copied, so that its owner may change it afterwards."""
        ...

    def poll(self, source: int, lane: int) -> Message | None:
        """The newest message that ``source`` has for this rank on a lane; None when there is none that was not returned before."""
        ...

    def confirm(self, source: int, lane: int, transfer: int) -> None:
        """Tell ``source`` that a transfer has been taken."""
        ...

    def confirmed(self, target: int, lane: int) -> int:
        """The last transfer of this rank that ``target`` has taken on a lane; 0 for none."""
        ...

    def beat(self, step: int, *, done: bool = False) -> None:
        """Let the others know how far this rank is, and that it is alive."""
        ...

    def health(self, rank: int) -> Health:
        """What is known of another rank."""
        ...

    def statistics(self) -> dict[str, float]:
        """Counts since the start: ``bytes_sent``, ``bytes_received``, ``messages_sent``, ``messages_received``, ``messages_refused``."""
        ...

    def close(self) -> None:
        """Leave in good order: the others see ``done``."""
        ...
