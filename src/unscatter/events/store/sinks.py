"""Where workers put events: into their place in the shards, or scattered into files of their own for a shuffle."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from unscatter.errors import StoreError, UnscatterError
from unscatter.events.store.layout import SHARDS_NAME, Layout, Stretch
from unscatter.events.store.shuffling import scatter
from unscatter.files import write_failure

#: Columns that are handed to the system at once; every system takes as many.
_MAX_PARTS = 16

SCATTERED_NAME = "scattered"


@runtime_checkable
class Sink(Protocol):
    """Takes consecutive events, and puts them on the disk."""

    def write(self, at: int, columns: Sequence[np.ndarray]) -> None:
        """Take events, from row ``at`` of the store on, as columns ``[rows]`` each."""
        ...

    def commit(self) -> tuple[int, ...]:
        """Bring everything since the last commit to the disk; rows per bucket, where they are scattered."""
        ...

    def close(self) -> None:
        """Let go of open files; what is not committed may be lost."""
        ...


class ShardSink:
    """Writes every row into its place in its shard; several processes may do so at a time.

    Args:
        partial: directory of the unfinished store.
        layout: geometry of the store.
    """

    def __init__(self, partial: Path, layout: Layout) -> None:
        self.partial, self.layout = partial, layout
        self._files: dict[int, int] = {}

    def write(self, at: int, columns: Sequence[np.ndarray]) -> None:
        """See :class:`Sink`."""
        for stretch in self.layout.stretches(at, len(columns[0])):
            descriptor = self._file(stretch.shard)
            parts = [column[stretch.at : stretch.at + stretch.num_rows].data.cast("B") for column in columns]
            with refusals(open_shard(self.partial, stretch.shard)):
                self._write(descriptor, stretch, parts)

    def _write(self, descriptor: int, stretch: Stretch, parts: list[memoryview]) -> None:
        """Write part of a block; the columns of a whole one lie one behind the other, and go at once."""
        layout = self.layout
        first = layout.body(stretch.block) + stretch.offset * layout.itemsize
        if stretch.num_rows == layout.rows_per_block and len(parts) <= _MAX_PARTS:
            done = os.pwritev(descriptor, parts, first)
            if done == sum(map(len, parts)):
                return
        for i, part in enumerate(parts):
            write_at(descriptor, part, first + i * layout.column_bytes)

    def commit(self) -> tuple[int, ...]:
        """See :class:`Sink`."""
        for shard, descriptor in self._files.items():
            with refusals(open_shard(self.partial, shard)):
                os.fdatasync(descriptor) if hasattr(os, "fdatasync") else os.fsync(descriptor)
        self.close()
        return ()

    def close(self) -> None:
        """See :class:`Sink`."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _file(self, shard: int) -> int:
        if shard not in self._files:
            path = open_shard(self.partial, shard)
            with refusals(path):
                self._files[shard] = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        return self._files[shard]


class ScatterSink:
    """Keeps events until they are committed; then they go to one file, sorted by bucket, named after their first row."""

    def __init__(self, partial: Path, seed: int, buckets: int) -> None:
        self.partial, self.seed, self.buckets = partial, seed, buckets
        self._first_row = 0
        self._tables: list[np.ndarray] = []

    def write(self, at: int, columns: Sequence[np.ndarray]) -> None:
        """See :class:`Sink`."""
        if not self._tables:
            self._first_row = at
        self._tables.append(np.stack(columns, axis=1))

    def commit(self) -> tuple[int, ...]:
        """See :class:`Sink`."""
        table = np.concatenate(self._tables)
        self._tables = []
        if not len(table):
            return ()
        rows, counts = scatter(table, self._first_row, self.seed, self.buckets)
        path = scattered_file(self.partial, self._first_row)
        with refusals(path), path.open("wb") as file:
            file.write(rows.data)
            file.flush()
            os.fsync(file.fileno())
        return tuple(counts.tolist())

    def close(self) -> None:
        """See :class:`Sink`."""
        self._tables = []


def scattered_file(partial: Path, at: int) -> Path:
    """The file of the scattered rows that begin with row ``at``."""
    return partial / SCATTERED_NAME / f"{at:015}.rows"


def read_scattered(partial: Path, parts: Sequence[tuple[int, int, int]], layout: Layout) -> np.ndarray:
    """The rows ``first`` to ``last`` of several scattered files, ``[rows, columns]``."""
    width = len(layout.columns)
    table = np.empty((sum(last - first for _, first, last in parts), width), layout.dtype)
    done = 0
    for at, first, last in parts:
        found = np.fromfile(scattered_file(partial, at), layout.dtype, (last - first) * width, offset=first * layout.row_bytes)
        table[done : done + last - first] = found.reshape(-1, width)
        done += last - first
    return table


def open_shard(partial: Path, number: int) -> Path:
    """A shard that is being filled."""
    return partial / SHARDS_NAME / f"{number:05}.open"


def write_at(descriptor: int, data: memoryview, position: int) -> None:
    """Write all bytes; the system may take fewer at a time."""
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], position + done)


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Turn a write that the operating system refuses into one message."""
    try:
        yield
    except UnscatterError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise StoreError(write_failure(path, error) + ("\nThe same command goes on where it stopped." if full else "")) from error
