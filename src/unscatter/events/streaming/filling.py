"""Copying the blocks of a window out of the file, each in random order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from unscatter.events.streaming.blocks import Block
from unscatter.events.streaming.pattern import MergePattern, merge_some
from unscatter.events.streaming.records import RecordLayout


class WindowFiller:
    """Fills windows; one per thread, since it keeps the records of a block before they are permuted.

    Args:
        layout: of the records.
        capacity: largest number of rows that a block gives.
    """

    def __init__(self, layout: RecordLayout, capacity: int) -> None:
        self._layout = layout
        self._one = layout.empty(capacity)
        # Rows that a short block lacks are gathered too, and left out later: they must be numbers that may be read.
        self._one[...] = 0

    def fill(self, read: Callable[[int], tuple[Block, int]], blocks: Sequence[int], pattern: MergePattern, out: np.ndarray) -> np.ndarray:
        """Write every block in its order of the pattern; the merge is left to whoever makes batches.

        Args:
            read: gives the rows of a block and the number of the first; they may be views, and are copied before the next call.
            blocks: at most as many as the pattern has slots.
            pattern: the order.
            out: for the records, ``[slots, capacity, width]``.

        Returns:
            Where the rows of the window stand in ``out``, slot by slot, in their random order: ``[rows]``.
        """
        counts = [self._permute(read, block, pattern.within[slot], out[slot]) for slot, block in enumerate(blocks)]
        slots, capacity = pattern.within.shape
        counts += [0] * (slots - len(blocks))
        return pattern.merge if sum(counts) == slots * capacity else merge_some(pattern, counts)

    def _permute(self, read: Callable[[int], tuple[Block, int]], number: int, within: np.ndarray, out: np.ndarray) -> int:
        block, first = read(number)
        self._layout.write(self._one, block, first)
        # A pattern has only rows that there are: 'clip' spares NumPy a copy of the output.
        self._one.take(within, axis=0, out=out, mode="clip")
        return block.num_rows
