"""Both sides of a new connection prove that they know the secret of the job, and that they agree on sizes.

The side that was called sends a random challenge; the caller answers with who it is, what it expects, a challenge of its own and an
HMAC-SHA256 of all that; the other side checks it and answers with an HMAC of its own.  The secret itself never crosses the wire, and an
answer is worth nothing on another connection.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

from unscatter.exchange.transports.frames import MAGIC, VERSION, RefusedError, read, require_magic
from unscatter.exchange.transports.link import Link

_CHALLENGE_BYTES = 32
_MAC_BYTES = 32
_START = struct.Struct("<4sH")
_SIZES = struct.Struct("<IIIIQQ")
_INTRODUCTION_BYTES = _START.size + _SIZES.size + _CHALLENGE_BYTES
_VERDICTS = ("welcome", "it does not know the secret of this job", "it has other sizes", "it has another idea of the ranks")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a rank knows of itself and expects of the others.

    Example:
        >>> Identity(rank=0, num_ranks=2, num_lanes=1, num_parameters=10, itemsize=4, job="fit", secret="s", incarnation=1).sizes
        (1, 10, 4)
    """

    rank: int
    """Number of this rank."""
    num_ranks: int
    """Number of ranks."""
    num_lanes: int
    """Mailboxes per rank."""
    num_parameters: int
    """Numbers in a payload."""
    itemsize: int
    """Bytes per number."""
    job: str
    """Name of the job."""
    secret: str
    """What the ranks of the job know and nobody else."""
    incarnation: int
    """Tells a rank that was started again from its predecessor."""

    @property
    def sizes(self) -> tuple[int, int, int]:
        """What both sides of a connection must agree on: lanes, numbers in a payload, bytes per number."""
        return (self.num_lanes, self.num_parameters, self.itemsize)

    def mac(self, role: bytes, challenge: bytes, introduction: bytes) -> bytes:
        """Proof of the secret, different for the two sides of a connection and for every connection."""
        job = hashlib.sha256(self.job.encode()).digest()
        return hmac.digest(self.secret.encode(), role + job + challenge + introduction, "sha256")


class Caller(NamedTuple):
    """Who has called."""

    rank: int
    """Number of the rank."""
    incarnation: int
    """Different after the rank was started again."""


def introduce(link: Link, identity: Identity, target: int) -> Generator[memoryview, None, None]:
    """Part of a script: the caller's side.

    Raises:
        RefusedError: the other side refuses, or does not know the secret.
    """
    challenge = bytes((yield from _opening(_CHALLENGE_BYTES)))
    lanes, parameters, itemsize = identity.sizes
    sizes = _SIZES.pack(identity.rank, target, lanes, itemsize, parameters, identity.incarnation)
    introduction = _START.pack(MAGIC, VERSION) + sizes + os.urandom(_CHALLENGE_BYTES)
    link.send(introduction + identity.mac(b"caller", challenge, introduction))
    answer = yield from _opening(1 + _MAC_BYTES)
    if answer[0] != 0:
        raise RefusedError(f"refuses this rank: {_VERDICTS[min(answer[0], len(_VERDICTS) - 1)]}")
    if not hmac.compare_digest(answer[1:], identity.mac(b"called", challenge, introduction)):
        raise RefusedError(_VERDICTS[1])


def admit(link: Link, identity: Identity) -> Generator[memoryview, None, Caller]:
    """Part of a script: the side that was called.

    Raises:
        RefusedError: the caller does not belong here; it is told why.
    """
    challenge = os.urandom(_CHALLENGE_BYTES)
    link.send(_START.pack(MAGIC, VERSION) + challenge)
    rest = yield from _opening(_INTRODUCTION_BYTES - _START.size + _MAC_BYTES)
    introduction = _START.pack(MAGIC, VERSION) + rest[:-_MAC_BYTES]
    rank, target, lanes, itemsize, parameters, incarnation = _SIZES.unpack_from(rest)
    if not hmac.compare_digest(rest[-_MAC_BYTES:], identity.mac(b"caller", challenge, introduction)):
        _refuse(link, 1, f"calls itself rank {rank}")
    if (lanes, parameters, itemsize) != identity.sizes:
        _refuse(link, 2, f"rank {rank} has lanes, numbers and bytes per number {(lanes, parameters, itemsize)}, this rank {identity.sizes}")
    if target != identity.rank or rank == identity.rank or rank >= identity.num_ranks:
        _refuse(link, 3, f"rank {rank} looks for rank {target} of {identity.num_ranks}")
    link.send(_START.pack(MAGIC, VERSION) + b"\0" + identity.mac(b"called", challenge, introduction))
    return Caller(rank, incarnation)


def _opening(num_bytes: int) -> Generator[memoryview, None, bytearray]:
    """Read magic and version first, so that a stranger is refused at its first bytes, then the rest."""
    require_magic(*_START.unpack((yield from read(_START.size))))
    return (yield from read(num_bytes))


def _refuse(link: Link, verdict: int, what: str) -> None:
    link.send(_START.pack(MAGIC, VERSION) + bytes([verdict]) + bytes(_MAC_BYTES))
    link.write()
    raise RefusedError(f"{what}: {_VERDICTS[verdict]}")
