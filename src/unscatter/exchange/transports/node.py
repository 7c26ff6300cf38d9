"""What the two network threads of a rank share."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import torch

from unscatter.exchange.transports.frames import BEAT, DONE, Frame, pack
from unscatter.exchange.transports.handshake import Identity
from unscatter.exchange.transports.hearsay import Hearsay

#: Lines that strangers can make a rank write.
_MOST_COMPLAINTS = 100

_log = logging.getLogger("unscatter.exchange")


@dataclass(eq=False)
class NetworkNode:
    """A rank on the network: who it is, how far it has come, what it has heard, and how patient it is.

    Example:
        >>> from unscatter.exchange.transports.frames import unpack
        >>> identity = Identity(rank=0, num_ranks=2, num_lanes=1, num_parameters=10, itemsize=4, job="fit", secret="s", incarnation=1)
        >>> node = NetworkNode(identity, torch.float32, Hearsay(5.0), silence_s=5.0, step=7)
        >>> unpack(node.heartbeat(1)).step
        7
    """

    identity: Identity
    dtype: torch.dtype
    hearsay: Hearsay
    silence_s: float
    step: int = -1
    """Steps that this rank has done."""
    done: bool = False
    """Whether it leaves."""
    _said: set[tuple[str, str]] = field(default_factory=set)

    @property
    def beat_s(self) -> float:
        """Seconds between two heartbeats: two of them may be late before silence is concluded."""
        return self.silence_s / 3

    @property
    def patience_s(self) -> float:
        """Seconds of silence after which a connection is given up, and seconds for a handshake."""
        return 2 * self.silence_s

    def heartbeat(self, target: int) -> bytes:
        """A frame that says how far this rank is, or that it leaves."""
        return pack(Frame(DONE if self.done else BEAT, self.identity.rank, target, self.step))

    def complain(self, about: str, what: str) -> None:
        """Write one line to the log, once for each other side and reason."""
        if (about, what) not in self._said and len(self._said) < _MOST_COMPLAINTS:
            self._said.add((about, what))
            _log.warning("rank %d of job '%s' has refused a connection with %s: %s", self.identity.rank, self.identity.job, about, what)
