"""From a shard whose rows are all written to a complete Arrow file."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from unscatter.errors import StoreError
from unscatter.events.store.describing import Description, describe
from unscatter.events.store.layout import SHARDS_NAME, Layout, record_batch, shard_name
from unscatter.events.store.shards import write_shard
from unscatter.events.store.sinks import open_shard, refusals, write_at
from unscatter.files import atomic_write


def finish_shard(partial: Path, layout: Layout, number: int, num_rows: int) -> Description:
    """Complete a shard, and describe what stands on the disk.

    A full shard lacks only what is around its numbers.  The last one is written again, since its columns are shorter than expected.
    Being killed at any moment leaves something that the next call completes.

    Raises:
        StoreError: the operating system refuses to write.
    """
    unfinished, path = open_shard(partial, number), partial / SHARDS_NAME / shard_name(number)
    if unfinished.exists():
        if num_rows == layout.rows_per_shard:
            _complete(unfinished, path, layout)
        else:
            _write_again(unfinished, path, layout, num_rows)
    return describe(path, layout, num_rows)


def _complete(unfinished: Path, path: Path, layout: Layout) -> None:
    with refusals(path), unfinished.open("r+b") as file:
        for position, data in skeleton(layout):
            write_at(file.fileno(), memoryview(data), position)
        os.fsync(file.fileno())
        os.replace(unfinished, path)


def _write_again(unfinished: Path, path: Path, layout: Layout, num_rows: int) -> None:
    with atomic_write(path, raises=StoreError) as file:
        write_shard(file, layout, _blocks(unfinished, layout, num_rows))
    unfinished.unlink()


def _blocks(unfinished: Path, layout: Layout, num_rows: int) -> Iterator[list[np.ndarray]]:
    for block, first in enumerate(range(0, num_rows, layout.rows_per_block)):
        rows = min(layout.rows_per_block, num_rows - first)
        positions = (layout.column_position(block, i, layout.rows_per_block) for i in range(len(layout.columns)))
        yield [np.fromfile(unfinished, layout.dtype, rows, offset=position) for position in positions]


@lru_cache(maxsize=8)
def skeleton(layout: Layout) -> tuple[tuple[int, bytes], ...]:
    """All bytes of a full shard that are not numbers, each with its position: Arrow writes a shard, and the numbers are left out."""
    sink = _BytesAround(layout)
    zeros = record_batch([np.zeros(layout.rows_per_block, layout.dtype)] * len(layout.columns), layout.schema)
    with pa.ipc.new_file(sink, layout.schema) as writer:
        for _ in range(layout.blocks_per_shard):
            writer.write_batch(zeros, custom_metadata=layout.message_padding)
    return tuple(sink.kept)


class _BytesAround(io.RawIOBase):
    """Takes what is written and keeps what does not lie inside a block's columns."""

    def __init__(self, layout: Layout) -> None:
        self.kept: list[tuple[int, bytes]] = []
        self._position = 0
        width = len(layout.columns) * layout.column_bytes
        self._bodies = [(layout.body(block), layout.body(block) + width) for block in range(layout.blocks_per_shard)]

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        # Blocks come in their order: those that are behind are done with.
        while self._bodies and self._bodies[0][1] <= self._position:
            self._bodies.pop(0)
        if not self._bodies or self._position < self._bodies[0][0]:
            self.kept.append((self._position, bytes(data)))
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position
