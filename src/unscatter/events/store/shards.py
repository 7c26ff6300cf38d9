"""Shards: Arrow IPC files of blocks, written one block after the other, and read through a map of the file."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from unscatter.errors import StoreError, first_line
from unscatter.events.store.layout import Layout, record_batch


def write_shard(file: BinaryIO, layout: Layout, blocks: Iterable[Sequence[np.ndarray]]) -> None:
    """Write blocks, each a sequence of columns ``[num_rows]``, as an Arrow IPC file.

    All blocks but the last must be full, else the columns are not where :class:`Layout` says.
    """
    with pa.ipc.new_file(file, layout.schema) as writer:
        for columns in blocks:
            writer.write_batch(record_batch(columns, layout.schema), custom_metadata=layout.message_padding)


class Shard:
    """A shard that is mapped into memory; its blocks are views of the map, which only reading brings into memory.

    Safe to be read from several threads.

    Args:
        path: the file.
        layout: geometry of the store.
        num_rows: rows that the shard must have.

    Raises:
        StoreError: the file is missing, cut short, damaged or has other columns.
    """

    def __init__(self, path: Path, layout: Layout, num_rows: int) -> None:
        self.path, self.layout, self.num_rows = path, layout, num_rows
        self._map = _mapped(path)
        self._address = pa.py_buffer(self._map).address
        try:
            self._check_shape(pa.ipc.open_file(pa.py_buffer(self._map)))
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"the shard '{path}' is damaged or cut short: {first_line(error).rstrip('.')}.\n{REMEDY}") from error

    @property
    def num_blocks(self) -> int:
        """Blocks of the shard."""
        return -(-self.num_rows // self.layout.rows_per_block)

    def block_rows(self, block: int) -> int:
        """Rows of one block."""
        return min(self.layout.rows_per_block, self.num_rows - block * self.layout.rows_per_block)

    def columns(self, block: int) -> list[np.ndarray]:
        """Columns of one block, ``[num_rows]`` each, read-only, without a copy."""
        rows, dtype = self.block_rows(block), np.dtype(self.layout.dtype)
        positions = (self.layout.column_position(block, column, rows) for column in range(len(self.layout.columns)))
        return [np.frombuffer(self._map, dtype, rows, position) for position in positions]

    def expect(self, block: int) -> None:
        """Tell the operating system that a block is read soon: it may fetch it beside what else is done."""
        self._advise(block, "MADV_WILLNEED", mmap.PAGESIZE)

    def release(self, block: int) -> None:
        """Let the operating system take the memory of a block back; reading it again brings it back.

        So it does for what was mapped around the block, which nobody else would ever give back; whoever reads there maps it again.
        """
        self._advise(block, "MADV_DONTNEED", _MAPPED_AROUND)

    def _advise(self, block: int, advice: str, unit: int) -> None:
        """Give advice about a block and the units of memory that it begins and ends in."""
        first = self.layout.body(block)
        last = first + self.block_rows(block) * self.layout.row_bytes
        start = first // unit * unit
        end = min(-(-last // unit) * unit, len(self._map))
        if hasattr(mmap, advice):
            # Not the method of the map, which holds the interpreter meanwhile.  Advice that is not taken harms nobody.
            _madvise(self._address + start, end - start, getattr(mmap, advice))

    def bytes(self) -> memoryview:
        """All bytes of the file, without a copy."""
        return memoryview(self._map)

    def _check_shape(self, reader: pa.RecordBatchFileReader) -> None:
        """Is it Arrow, with the right columns and blocks?  Where they are is known: that is not left to bytes that may be damaged."""
        if not reader.schema.equals(self.layout.schema):
            seen = [f"{field.name}: {field.type}" for field in reader.schema]
            raise StoreError(
                f"the shard '{self.path}' has the columns {seen}, but the manifest says {list(self.layout.columns)} "
                f"of {self.layout.dtype}.\nIt is from another store, or damaged. {REMEDY}"
            )
        last = self.num_blocks - 1
        end = self.layout.column_position(last, len(self.layout.columns), self.block_rows(last))
        if reader.num_record_batches != self.num_blocks or end > len(self._map):
            raise StoreError(
                f"the shard '{self.path}' has {reader.num_record_batches} blocks in {len(self._map):,} bytes, where {self.num_blocks} "
                f"should be in {end:,} or more.\n{REMEDY}"
            )


#: A page that is missing is mapped together with those of the cache around it, up to this many bytes, as Linux does and others at most.
_MAPPED_AROUND = max(1 << 16, mmap.PAGESIZE)

_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

REMEDY = "Copy this file again from where the store came from, or make the store anew: unscatter ingest"


def _mapped(path: Path) -> mmap.mmap:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise StoreError(f"the shard '{path}' is missing.\n{REMEDY}") from error
    except OSError as error:
        raise StoreError(f"cannot read the shard '{path}': {error.strerror or error}.") from error
    try:
        if os.fstat(descriptor).st_size == 0:
            raise StoreError(f"the shard '{path}' is empty (0 bytes).\n{REMEDY}")
        return mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    finally:
        os.close(descriptor)
