"""One mailbox in shared memory: two slots and sequence numbers, so that neither side ever waits for the other."""

from __future__ import annotations

import struct
import zlib
from mmap import mmap
from typing import NamedTuple

import torch
from torch import Tensor

from unscatter.exchange.transports.buffers import copy, copy_and_sum
from unscatter.exchange.transports.checks import is_whole
from unscatter.exchange.transports.layout import SegmentLayout
from unscatter.exchange.transports.protocol import Header

#: Sequence number of the slot, target, then the header of the message.
_WORDS = struct.Struct("<qqqqqdd")
_CHECKSUM = struct.Struct("<q")

#: How often a read is tried while the sender keeps overtaking it, or while what was read does not add up.
_ATTEMPTS = 4


class Taken(NamedTuple):
    """What a look into a mailbox has brought."""

    sequence: int
    """Number of the publication that was looked at, from 1; 0 for none."""
    header: Header | None
    """Header of the message that was copied; None if there was nothing for this reader."""
    refused: bool = False
    """Whether there was a message and it was not whole."""


class Mailbox:
    """A mailbox as seen by its sender or by a reader.

    Publication number k goes to slot k mod 2.  The sender makes the slot's sequence number odd (2k - 1), writes, makes it even (2k) and
    only then announces k; a reader copies the slot of the announced number and believes the copy if the sequence number was 2k before
    and after.  Processors that reorder writes of others are caught by the checksum of the header and by :attr:`Header.check`.

    Args:
        memory: the mapped segment.
        layout: what stands where in it.
        row: place of the sender among the ranks of the segment.
        lane: which of its mailboxes.
    """

    def __init__(self, memory: mmap, layout: SegmentLayout, row: int, lane: int) -> None:
        self._memory = memory
        self._words = memoryview(memory).cast("B").cast("q")
        self._announced = layout.mailbox(row, lane) // 8
        self._headers = [layout.slot_header(row, lane, slot) for slot in range(2)]
        self._slots = [
            torch.frombuffer(memory, dtype=layout.dtype, count=layout.num_parameters, offset=layout.slot(row, lane, slot))
            for slot in range(2)
        ]

    def release(self) -> None:
        """Let go of the memory, so that it can be unmapped."""
        self._words.release()
        self._slots = []

    def put(self, target: int, header: Header, payload: Tensor) -> None:
        """Publish a message; one writer at a time."""
        number = self._words[self._announced] + 1
        place = self._headers[number % 2]
        self._words[place // 8] = 2 * number - 1
        copy(payload, self._slots[number % 2])
        words = _WORDS.pack(2 * number, target, *header)
        _CHECKSUM.pack_into(self._memory, place + _WORDS.size, zlib.crc32(words))
        self._memory[place + 8 : place + _WORDS.size] = words[8:]
        self._words[place // 8] = 2 * number
        self._words[self._announced] = number

    def take(self, reader: int, seen: int, buffer: Tensor) -> Taken:
        """Copy the newest message into a buffer.

        Args:
            reader: rank that reads; messages for others are passed over.
            seen: number of the last publication that it has dealt with.
            buffer: where the payload goes.
        """
        number, refused = seen, False
        for _ in range(_ATTEMPTS):
            number = self._words[self._announced]
            if number == seen:
                return Taken(seen, None)
            place = self._headers[number % 2]
            words = bytes(self._memory[place : place + _WORDS.size])
            sequence, target, *rest = _WORDS.unpack(words)
            if sequence != 2 * number:
                continue
            if target != reader:
                return Taken(number, None)
            header = Header(*rest)
            checksum = _CHECKSUM.unpack_from(self._memory, place + _WORDS.size)[0]
            total = copy_and_sum(self._slots[number % 2], buffer)
            if self._words[place // 8] != sequence:
                continue
            if checksum == zlib.crc32(words) and is_whole(buffer, total, header.check):
                return Taken(number, header)
            refused = True
        return Taken(number if refused else seen, None, refused)
