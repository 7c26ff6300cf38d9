"""Checksums of the bytes of a store: XXH3, which finds every accident and is faster than memory.

They guard against disks, copies and cut transfers, not against people: SHA-256 would make that difference, but takes 2 GB/s per core
where XXH3 takes 35, and would be the slowest part of an ingest from Parquet.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import xxhash

Bytes: TypeAlias = bytes | bytearray | memoryview


def checksum(data: Bytes) -> str:
    """128 bits of XXH3, in hexadecimal.

    Example:
        >>> checksum(b"")
        '99aa06d3014798d86001c324468d497f'
    """
    return xxhash.xxh3_128_hexdigest(data)


def block_checksum(columns: Iterable[np.ndarray]) -> str:
    """64 bits of XXH3 of the numbers of a block, one column after the other, in hexadecimal.

    Example:
        >>> block_checksum([np.zeros(2), np.ones(2)]) == block_checksum([np.array([0.0, 0, 1, 1])])
        True
    """
    state = xxhash.xxh3_64()
    for column in columns:
        state.update(np.ascontiguousarray(column).view(np.uint8).data)
    return state.hexdigest()
