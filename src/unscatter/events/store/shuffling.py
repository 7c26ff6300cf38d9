r"""Rows in random order, in two passes that need little memory.

The first pass scatters the rows: each goes to one of B buckets, by a hash of its number in the unshuffled store.  The second takes one
bucket after the other, puts its rows in random order and writes them.  Independent uniform buckets, and a uniform permutation inside each
of them, are a uniform permutation of all rows; it depends on the seed and the rows only, not on how they were read or by whom.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unscatter.events.hashing import row_uniforms

#: Rows that a bucket has about: it is shuffled in memory.
BUCKET_ROWS = 1 << 21
#: A row of text or of compressed numbers takes about so many bytes per row at least, where a file does not say how many rows it has.
_BYTES_PER_ROW = 8
MAX_BUCKETS = 1 << 15


def num_buckets(sizes: Sequence[tuple[int | None, int | None]]) -> int:
    """How many buckets the rows are scattered to, from the rows and bytes of the sources, as far as they are known.

    Example:
        >>> num_buckets([(10_000_000, None), (None, 8_000_000)])
        6
    """
    rows = sum(size[0] if size[0] is not None else (size[1] or 0) // _BYTES_PER_ROW for size in sizes)
    return min(max(1, -(-rows // BUCKET_ROWS)), MAX_BUCKETS)


def scatter(table: np.ndarray, first_row: int, seed: int, buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``[rows, columns]``, which are the rows from ``first_row`` on, sorted by bucket but otherwise in order, and rows per bucket."""
    uniforms = row_uniforms(seed, np.arange(first_row, first_row + len(table)))
    # Numbers of 16 bits are sorted by radix.
    bucket = (uniforms * buckets).astype(np.uint16)
    order = np.argsort(bucket, kind="stable")
    return table.take(order, axis=0), np.bincount(bucket, minlength=buckets)


def shuffle(table: np.ndarray, seed: int, bucket: int) -> np.ndarray:
    """Rows ``[rows, columns]`` of a bucket, which stand in the order of the unshuffled store, in random order."""
    order = np.random.Generator(np.random.PCG64([seed, bucket])).permutation(len(table))
    return table.take(order, axis=0)
