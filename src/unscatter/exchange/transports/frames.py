"""What goes over a connection between two ranks: one header of fixed size, then a payload whose size both sides know beforehand."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator
from typing import NamedTuple

from unscatter.errors import ExchangeError
from unscatter.exchange.transports.protocol import Header

MAGIC = b"unsc"

#: Version of what is spoken; ranks with another one refuse the connection.
VERSION = 1

#: Kinds of frames.
DATA, CONFIRM, BEAT, DONE = range(1, 5)

_FIELDS = struct.Struct("<4sHHIIIIQqqqqdd")
_CRC = struct.Struct("<I")

#: Bytes of a frame's header.
FRAME_BYTES = _FIELDS.size + _CRC.size

#: Something that reads a connection: it yields the memory to be filled next and goes on when that is full.
Script = Generator[memoryview, None, None]


class RefusedError(ExchangeError):
    """The other side of a connection does not belong here, or says what makes no sense."""


class Frame(NamedTuple):
    """The header of a frame."""

    kind: int
    """``DATA``, ``CONFIRM``, ``BEAT`` or ``DONE``."""
    sender: int
    """Rank that sends it."""
    target: int
    """Rank that it is for."""
    step: int = -1
    """Steps that the sender has done."""
    lane: int = 0
    """Lane of the message, or of the confirmed transfer."""
    length: int = 0
    """Bytes of the payload that follows."""
    payload_crc: int = 0
    """CRC-32 of the payload."""
    header: Header = Header(0, 0, 0, 0.0, 0.0)
    """Header of the message; of a confirmation the transfer only."""


def pack(frame: Frame) -> bytes:
    """The bytes of a frame's header.

    Example:
        >>> unpack(pack(Frame(BEAT, 3, 1, step=40))).step
        40
    """
    fields = _FIELDS.pack(
        MAGIC, VERSION, frame.kind, frame.sender, frame.target, frame.lane, frame.payload_crc, frame.length, frame.step, *frame.header
    )
    return fields + _CRC.pack(zlib.crc32(fields))


def unpack(data: bytes | bytearray) -> Frame:
    """The frame's header in some bytes.

    Raises:
        RefusedError: they are none.
    """
    magic, version, kind, sender, target, lane, payload_crc, length, step, *header = _FIELDS.unpack_from(data)
    require_magic(magic, version)
    if _CRC.unpack_from(data, _FIELDS.size)[0] != zlib.crc32(memoryview(data)[: _FIELDS.size]):
        raise RefusedError("the header of a frame is damaged")
    return Frame(kind, sender, target, step, lane, length, payload_crc, Header(*header))


def require_magic(magic: bytes, version: int) -> None:
    """Make sure that the other side is a rank with this version.

    Raises:
        RefusedError: it is not.
    """
    if magic != MAGIC:
        raise RefusedError(f"sends {magic!r} where a rank of unscatter sends {MAGIC!r}")
    if version != VERSION:
        raise RefusedError(f"speaks version {version}, this rank {VERSION}: install the same unscatter everywhere")


def read(num_bytes: int) -> Generator[memoryview, None, bytearray]:
    """Part of a script: read a number of bytes."""
    data = bytearray(num_bytes)
    yield memoryview(data)
    return data
