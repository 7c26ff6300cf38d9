"""Where everything in a store lies: the names of its files, and the place of every block and column inside a shard."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from unscatter.errors import SettingsError

#: Rows of a block, the unit that is read and shuffled: 1 MiB for four columns of float32.
ROWS_PER_BLOCK = 65_536
#: Blocks of a shard, one file: 64 MiB for four columns of float32.
BLOCKS_PER_SHARD = 64
#: Buffers of full blocks start at multiples of this many bytes, as vector instructions and transfers to devices like them.
ALIGNMENT = 64

MANIFEST_NAME = "manifest.json"
JOURNAL_NAME = "journal.jsonl"
SHARDS_NAME = "shards"
#: A store that is being written lies beside its place under this ending.
PARTIAL_SUFFIX = ".partial"

_PADDING_KEY = "unscatter.padding"


def shard_name(number: int) -> str:
    """File name of a shard.

    Example:
        >>> shard_name(7)
        '00007.arrow'
    """
    return f"{number:05}.arrow"


def partial_path(store: Path) -> Path:
    """Where a store is written until it is complete.

    Example:
        >>> partial_path(Path("data/proton")).name
        'proton.partial'
    """
    return beside(store, PARTIAL_SUFFIX)


def beside(store: Path, suffix: str) -> Path:
    """A path in the directory of a store, named after it.

    Example:
        >>> beside(Path("data/proton"), "-new").name, beside(Path("data/proton/.."), "-new").name
        ('proton-new', 'data-new')
    """
    # '.' and '..' have no name to add to, but the directories that they stand for do; '/' has none anyway.
    named = store if store.name not in ("", "..") else Path(os.path.abspath(store))
    return named.parent / f"{named.name}{suffix}"


@dataclass(frozen=True)
class Layout:
    """The geometry of the shards of one store.

    A shard is an Arrow IPC file: a header with the schema, then per block a message that describes it and its columns one after the
    other, then a footer.  All full shards are alike except for the numbers in them, so that the place of every row is known before
    anything is written, and several processes can write into one shard.

    Args:
        columns: names, the weights' included.
        dtype: ``float32`` or ``float64``, the same for all columns.
        rows_per_block: a multiple of 16, so that every column of a full block is a multiple of 64 bytes.
        blocks_per_shard: blocks of a full shard.
        header_bytes: bytes before the first block's message; as this version of Arrow writes it when left out.
        message_bytes: bytes of a block's message, before its columns; likewise.

    Raises:
        SettingsError: the numbers of rows or blocks are impossible.

    Example:
        >>> layout = Layout(("x", "Q2"), "float32")
        >>> layout.rows_per_shard, layout.column_bytes
        (4194304, 262144)
    """

    columns: tuple[str, ...]
    dtype: str
    rows_per_block: int = ROWS_PER_BLOCK
    blocks_per_shard: int = BLOCKS_PER_SHARD
    header_bytes: int = 0
    message_bytes: int = 0

    def __post_init__(self) -> None:
        if self.rows_per_block % 16 or self.rows_per_block < 16 or self.blocks_per_shard < 1:
            raise SettingsError(
                f"'rows_per_block' must be a multiple of 16 and 'blocks_per_shard' at least 1, got {self.rows_per_block} and "
                f"{self.blocks_per_shard}."
            )
        if not self.header_bytes:
            header, body = _first_body(self.schema, self.message_padding)
            object.__setattr__(self, "header_bytes", header)
            object.__setattr__(self, "message_bytes", body - header)

    @cached_property
    def rows_per_shard(self) -> int:
        """Rows of a full shard."""
        return self.rows_per_block * self.blocks_per_shard

    @cached_property
    def itemsize(self) -> int:
        """Bytes of one number."""
        return np.dtype(self.dtype).itemsize

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one row of all columns."""
        return self.itemsize * len(self.columns)

    @cached_property
    def column_bytes(self) -> int:
        """Bytes of one column of a full block."""
        return self.rows_per_block * self.itemsize

    @cached_property
    def schema(self) -> pa.Schema:
        """Schema of the shards; its metadata are padded so that the first message starts at a multiple of 64 bytes."""
        return _padded_schema(self.columns, self.dtype)

    @property
    def message_padding(self) -> dict[str, str]:
        """Metadata of every block's message that pad it to a multiple of 64 bytes."""
        return {_PADDING_KEY: "." * _message_padding(self.columns, self.dtype)}

    def body(self, block: int) -> int:
        """Position of the first column of a block in a shard whose earlier blocks are full."""
        return self.header_bytes + block * self._stride + self.message_bytes

    @cached_property
    def _stride(self) -> int:
        return self.message_bytes + len(self.columns) * self.column_bytes

    def column_position(self, block: int, column: int, num_rows: int) -> int:
        """Position of one column of a block of ``num_rows``, which are fewer than others have in the last block only."""
        # Arrow fills columns up to eight bytes; those of full blocks need none.
        return self.body(block) + column * (-(-num_rows * self.itemsize // 8) * 8)

    def shard_rows(self, num_rows: int) -> list[int]:
        """Rows of each shard of a store of ``num_rows``."""
        return [min(self.rows_per_shard, num_rows - first) for first in range(0, num_rows, self.rows_per_shard)]

    def stretches(self, first_row: int, num_rows: int) -> Iterator[Stretch]:
        """The stretches of single blocks that rows of the store fall into, in order."""
        done = 0
        while done < num_rows:
            block, offset = divmod(first_row + done, self.rows_per_block)
            count = min(num_rows - done, self.rows_per_block - offset)
            yield Stretch(*divmod(block, self.blocks_per_shard), offset, count, done)
            done += count


@dataclass(frozen=True)
class Stretch:
    """Rows ``[at, at + num_rows)`` of what is to be written are rows ``[offset, offset + num_rows)`` of one block."""

    shard: int
    block: int
    offset: int
    num_rows: int
    at: int


def record_batch(columns: Sequence[np.ndarray], schema: pa.Schema) -> pa.RecordBatch:
    """One block as Arrow has it, without a copy."""
    return pa.record_batch([pa.array(column) for column in columns], schema=schema)


def _schema(columns: tuple[str, ...], dtype: str, padding: int) -> pa.Schema:
    kind = pa.from_numpy_dtype(np.dtype(dtype))
    return pa.schema([pa.field(name, kind, nullable=False) for name in columns], metadata={_PADDING_KEY: "." * padding})


@lru_cache
def _padded_schema(columns: tuple[str, ...], dtype: str) -> pa.Schema:
    # Flatbuffers grow in steps of eight bytes: one of these paddings fits.
    candidates = (_schema(columns, dtype, padding) for padding in range(0, 2 * ALIGNMENT, 8))
    return next(schema for schema in candidates if _first_body(schema, {})[0] % ALIGNMENT == 0)


@lru_cache
def _message_padding(columns: tuple[str, ...], dtype: str) -> int:
    schema = _padded_schema(columns, dtype)
    paddings = range(0, 2 * ALIGNMENT, 8)
    return next(p for p in paddings if _first_body(schema, {_PADDING_KEY: "." * p})[1] % ALIGNMENT == 0)


def _first_body(schema: pa.Schema, metadata: dict[str, str]) -> tuple[int, int]:
    """Where the first block's message and its columns start, found by writing a small one."""
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(_zeros(schema, ALIGNMENT), custom_metadata=metadata)
    buffer = pa.py_buffer(sink.getvalue())
    body = pa.ipc.open_file(buffer).get_batch(0).column(0).buffers()[1]
    assert body is not None
    stream = pa.BufferReader(buffer)
    stream.seek(8)  # behind the magic letters of the file format
    pa.ipc.read_message(stream)
    return stream.tell(), body.address - buffer.address


def _zeros(schema: pa.Schema, num_rows: int) -> pa.RecordBatch:
    dtype = schema.field(0).type.to_pandas_dtype()
    return record_batch([np.zeros(num_rows, dtype)] * len(schema), schema)
