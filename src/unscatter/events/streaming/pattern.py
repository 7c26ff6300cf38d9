"""A uniformly random order for the rows of several blocks, in a form that is kind to the cache."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch


class MergePattern(NamedTuple):
    """A random permutation of ``slots * capacity`` rows as two steps: within every block, then an interleaving of the blocks."""

    within: np.ndarray
    """Order of the rows of each slot, ``[slots, capacity]``."""
    merge: np.ndarray
    """The slots interleaved: each keeps its order, ``[slots * capacity]``."""

    @property
    def permutation(self) -> np.ndarray:
        """Both steps as one: row numbers, slot by slot, in their new order."""
        slots, capacity = self.within.shape
        return (self.within + capacity * np.arange(slots)[:, None]).reshape(-1)[self.merge]


def merge_pattern(slots: int, capacity: int, generator: torch.Generator) -> MergePattern:
    """Draw a pattern; every permutation of all rows is equally likely.

    A gather over many blocks misses the cache at every row.  Rows that are first permuted within their block, which fits into the cache,
    and then merged, which reads every block from front to back, give the same distribution at a fraction of the time.

    Args:
        slots: number of blocks.
        capacity: rows per block.
        generator: of the random numbers.

    References:
        Bacher, Bodini, Hollender, Lumbroso, MergeShuffle: a very fast, parallel random permutation algorithm (2015), arXiv:1508.03167.

    Example:
        >>> pattern = merge_pattern(2, 3, torch.Generator().manual_seed(1))
        >>> sorted(pattern.permutation.tolist())
        [0, 1, 2, 3, 4, 5]
    """
    within = torch.stack([torch.randperm(capacity, generator=generator) for _ in range(slots)]).numpy()
    # Which slot each place is filled from: a uniformly random arrangement of ``capacity`` copies of every slot.
    slot_of_place = (torch.randperm(slots * capacity, generator=generator).numpy() // capacity).astype(np.uint16)
    merge = np.empty(slots * capacity, np.int64)
    merge[np.argsort(slot_of_place, kind="stable")] = np.arange(slots * capacity)
    return MergePattern(within, merge)


def merge_some(pattern: MergePattern, counts: list[int]) -> np.ndarray:
    """The interleaving for slots that are not full: rows of a slot at and after its count are left out, ``[sum(counts)]``.

    What is left of a uniformly random permutation when some elements are taken out is a uniformly random permutation of the others.
    """
    present = (pattern.within < np.asarray(counts)[:, None]).reshape(-1)
    return pattern.merge.compress(present.take(pattern.merge))
