"""Events that are streamed from stores: the source of a fit whose data no memory can hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unscatter.arrays import Events, RandomStream
from unscatter.errors import ColumnError, EventsError, SettingsError
from unscatter.events.hashing import poisson_weights
from unscatter.events.splitting import check_fractions
from unscatter.events.streaming.channel import Channel, PreparedTable
from unscatter.events.streaming.reading_ahead import Window, WindowReader
from unscatter.events.streaming.records import RecordLayout
from unscatter.events.streaming.sampling import read_all, read_rows, sampled_rows
from unscatter.events.streaming.sums import bootstrap_sums, check_nothing_negative, weight_sums
from unscatter.events.streaming.windows import Piece

#: Blocks whose rows are shuffled together.
WINDOW_BLOCKS = 16


class StreamedEvents:
    r"""One data set in blocks, seen by all replicas as it is or each through its own bootstrap.

    An epoch goes through all blocks in random order.  Windows of ``window_blocks`` of them are read ahead, and their rows come in a
    uniformly random order.  Every replica goes through a window once, each from another place of its circle.  Rows, their part of a split
    and their bootstrap weights are those of :class:`~unscatter.events.InMemoryEvents` with the same events and the same seed.

    Args:
        channels: one table per channel, with the same columns.
        replicas: length of the replica axis.
        bootstrap: whether replicas see bootstrapped data.
        seed: what the bootstrap and :meth:`sample` depend on.
        exposure: share of the full data that is here.
        window_blocks: blocks whose rows are shuffled together; more need more memory.
        dtype: of the events.

    Raises:
        EventsError: there is no channel, or one has no events or only weights that are zero.
        ColumnError: the channels have different columns.

    Example:
        >>> from unscatter.events.streaming.blocks import MemoryTable
        >>> table = MemoryTable(Events(torch.rand(1000, 2), ("x", "y")), rows_per_block=100)
        >>> source = StreamedEvents.of_tables({"proton": table}, replicas=3, bootstrap=True, seed=1)
        >>> source.batch(0, 64, RandomStream(1)).values.shape
        torch.Size([3, 1, 64, 2])
    """

    def __init__(
        self, channels: Sequence[Channel], *, replicas: int = 1, bootstrap: bool = False, seed: int = 0, exposure: float = 1.0,
        window_blocks: int = WINDOW_BLOCKS, dtype: torch.dtype = torch.float32,
    ) -> None:  # fmt: skip
        _check(channels, replicas, window_blocks)
        self._channels = tuple(channels)
        self._replicas, self._bootstrap, self._seed, self._exposure = replicas, bootstrap, seed, exposure
        self._window_blocks, self._dtype = window_blocks, dtype
        self._device = torch.device("cpu")
