"""Where what stands in a shared segment: arithmetic only."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

#: Version of the layout; ranks with another one refuse the segment.
VERSION = 1

_MAGIC = b"unscattr"
_HEADER = struct.Struct("<8sqqqqq32s")
_PAGE = 4096
_ROW = 128
_MAILBOX = 256
_SLOT = 64
_WORD = 8


@dataclass(frozen=True)
class SegmentLayout:
    """Places in a shared segment, in bytes from its start.

    First comes a page that says what the segment is, then a row per rank (who it is and how far), the control words of the mailboxes, the
    confirmations, and two payload slots per mailbox.  Rows and mailboxes start on lines of the processor's cache of their own, so that
    ranks that write do not slow down one another.

    Args:
        job: name of the job.
        ranks: those that share the segment, in order.
        num_lanes: mailboxes per rank.
        num_parameters: numbers in a payload.
        dtype: their type.

    Example:
        >>> layout = SegmentLayout("fit", (0, 1), 1, 1000, torch.float32)
        >>> layout.row(0), layout.mailbox(1, 0), layout.num_bytes
        (4096, 4608, 24576)
    """

    job: str
    ranks: tuple[int, ...]
    num_lanes: int
    num_parameters: int
    dtype: torch.dtype

    @classmethod
    def of(cls, job: str, ranks: Sequence[int], num_lanes: int, num_parameters: int, dtype: torch.dtype) -> SegmentLayout:
        """The layout for these ranks and payloads."""
        return cls(job, tuple(ranks), num_lanes, num_parameters, dtype)

    @property
    def header(self) -> bytes:
        """What stands at the start of the segment: magic, version, sizes and a digest of job and ranks."""
        digest = hashlib.sha256(repr((self.job, self.ranks)).encode()).digest()
        return _HEADER.pack(_MAGIC, VERSION, len(self.ranks), self.num_lanes, self.num_parameters, self.dtype.itemsize, digest)

    @property
    def num_bytes(self) -> int:
        """Size of the segment."""
        return self.slot(0, 0, 0) + 2 * self._num_mailboxes * self._stride

    def row(self, row: int) -> int:
        """Where the row of a rank starts."""
        return _PAGE + _ROW * row

    def mailbox(self, row: int, lane: int) -> int:
        """Where the control words of a mailbox start: the number of messages published, and from 64 on a header per slot."""
        return self._mailboxes + _MAILBOX * (row * self.num_lanes + lane)

    def slot_header(self, row: int, lane: int, slot: int) -> int:
        """Where the header of a slot starts."""
        return self.mailbox(row, lane) + _SLOT * (1 + slot)

    def confirmation(self, sender: int, lane: int, receiver: int) -> int:
        """Where a receiver notes the last transfer that it has taken from a sender."""
        return self._confirmations + _WORD * ((sender * self.num_lanes + lane) * len(self.ranks) + receiver)

    def slot(self, row: int, lane: int, slot: int) -> int:
        """Where the payload of a slot starts."""
        first = _rounded(self._confirmations + _WORD * self._num_mailboxes * len(self.ranks), _PAGE)
        return first + self._stride * (2 * (row * self.num_lanes + lane) + slot)

    @cached_property
    def _num_mailboxes(self) -> int:
        return len(self.ranks) * self.num_lanes

    @cached_property
    def _mailboxes(self) -> int:
        return _rounded(self.row(len(self.ranks)), _MAILBOX)

    @cached_property
    def _confirmations(self) -> int:
        return self._mailboxes + _MAILBOX * self._num_mailboxes

    @cached_property
    def _stride(self) -> int:
        return _rounded(self.num_parameters * self.dtype.itemsize, _PAGE)


def describe_header(header: bytes) -> str:
    """What a segment holds, in words for an error.

    Example:
        >>> describe_header(SegmentLayout("fit", (0, 1), 3, 10, torch.float32).header)
        '2 ranks, 3 lanes, 10 numbers of 4 bytes, layout 1'
    """
    if len(header) < _HEADER.size:
        return "nothing"
    magic, version, ranks, lanes, parameters, width, _ = _HEADER.unpack_from(header)
    if magic != _MAGIC:
        return "something that is not unscatter's"
    return f"{ranks} ranks, {lanes} lanes, {parameters} numbers of {width} bytes, layout {version}"


def _rounded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
