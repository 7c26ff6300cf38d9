"""Copying the blocks of a window out of the file in random order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from unscatter.events.streaming.blocks import Block
from unscatter.events.streaming.pattern import MergePattern, merge_some
from unscatter.events.streaming.records import RecordLayout


class WindowFiller:
    """Fills windows; one per thread, since it keeps the records between the two steps of a pattern.

    Args:
        layout: of the records.
        slots: blocks per window.
        capacity: largest number of rows that a block gives.
    """

    def __init__(self, layout: RecordLayout, slots: int, capacity: int) -> None:
        self._layout = layout
        self._one = layout.empty(capacity)
        self._permuted = layout.empty(slots, capacity)
        # Rows that a short block lacks are gathered too, and left out later: they must be numbers that may be read.
        self._one[...] = 0

    def fill(self, read: Callable[[int], tuple[Block, int]], blocks: Sequence[int], pattern: MergePattern, out: np.ndarray) -> int:
        """Write the rows of some blocks to ``out`` ``[rows, width]`` in the order of the pattern; returns how many there are.

        Args:
            read: gives the rows of a block and the number of the first; they may be views, and are copied before the next call.
            blocks: at most as many as the pattern has slots.
            pattern: the order.
            out: for the records.
        """
        counts = [self._permute(read, block, pattern.within[slot], self._permuted[slot]) for slot, block in enumerate(blocks)]
        slots, capacity = pattern.within.shape
        counts += [0] * (slots - len(blocks))
        full = sum(counts) == slots * capacity
        merge = pattern.merge if full else merge_some(pattern, counts)
        # Checked by the pattern: 'clip' spares NumPy a copy of the output.
        self._permuted.reshape(-1, self._layout.width).take(merge, axis=0, out=out[: len(merge)], mode="clip")
        return len(merge)

    def _permute(self, read: Callable[[int], tuple[Block, int]], number: int, within: np.ndarray, out: np.ndarray) -> int:
        block, first = read(number)
        self._layout.write(self._one, block, first)
        self._one.take(within, axis=0, out=out, mode="clip")
        return block.num_rows
