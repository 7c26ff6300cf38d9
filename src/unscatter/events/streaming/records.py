"""Rows as records: all columns of an event side by side, so that one gather moves them together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unscatter.events.streaming.blocks import Block


@dataclass(frozen=True)
class RecordLayout:
    """What stands where in a record of floating-point numbers.

    Args:
        num_columns: of the events; they come first.
        weighted: whether the weight follows.
        numbered: whether the row's number follows, bit by bit in the place of one or two floating-point numbers.
        dtype: float32 or float64.

    Example:
        >>> layout = RecordLayout(num_columns=1, weighted=False, numbered=True, dtype=np.dtype(np.float32))
        >>> records = layout.empty(2)
        >>> layout.write(records, Block((np.array([0.5, 0.25]),), None), first=7)
        >>> layout.values(records).tolist(), layout.numbers(records).tolist()
        ([[0.5], [0.25]], [7, 8])
    """

    num_columns: int
    weighted: bool
    numbered: bool
    dtype: np.dtype

    @property
    def width(self) -> int:
        """Floating-point numbers per record."""
        return self.num_columns + self.weighted + self.numbered * (8 // self.dtype.itemsize)

    def empty(self, *shape: int) -> np.ndarray:
        """Records without content, ``[*shape, width]``."""
        return np.empty((*shape, self.width), self.dtype)

    def write(self, records: np.ndarray, block: Block, first: int) -> None:
        """Write a block over the first records; its rows are numbered from ``first``."""
        mine = records[: block.num_rows]
        for index, column in enumerate(block.columns):
            mine[:, index] = column
        if self.weighted:
            mine[:, self.num_columns] = 1 if block.weights is None else block.weights
        if self.numbered:
            self.numbers(mine)[...] = np.arange(first, first + block.num_rows)

    def values(self, records: np.ndarray) -> np.ndarray:
        """A view of the events, ``[..., num_columns]``."""
        return records[..., : self.num_columns]

    def weights(self, records: np.ndarray) -> np.ndarray | None:
        """A view of the weights, ``[...]``, or None."""
        return records[..., self.num_columns] if self.weighted else None

    def numbers(self, records: np.ndarray) -> np.ndarray:
        """A view of the rows' numbers, ``[...]`` of int64."""
        return records[..., self.num_columns + self.weighted :].view(np.int64)[..., 0]
