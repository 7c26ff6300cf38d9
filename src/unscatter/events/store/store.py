"""An event store that is open for reading."""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path

import numpy as np

from unscatter.errors import EventsError, StoreError
from unscatter.events.store.checksums import block_checksum
from unscatter.events.store.layout import MANIFEST_NAME, SHARDS_NAME
from unscatter.events.store.manifest import Manifest, read_manifest
from unscatter.events.store.shards import REMEDY, Shard
from unscatter.files import is_file


def is_store(path: str | Path) -> bool:
    """Whether a path is a directory with the manifest of an event store; it may still be damaged."""
    return is_file(manifest_path(path))


def manifest_path(store: str | Path) -> Path:
    """The file that says what a store holds, with the checksums of all others."""
    return Path(store) / MANIFEST_NAME


class EventStore:
    """Events in a directory of memory-mapped files, larger than memory if need be; made by :func:`ingest`.

    Opening reads the manifest and looks at the sizes of the shards.  Blocks are views of the files: nothing is copied, and what is not
    looked at is not read.  Safe to be read from several threads.

    Args:
        path: the directory.
        manifest: what stands in it.

    Example:
        >>> import tempfile
        >>> from unscatter.events.store import write_store
        >>> store = write_store(Path(tempfile.mkdtemp()) / "store", [{"x": np.arange(3.0)}])
        >>> store.num_rows, store.block(0)["x"].tolist()
        (3, [0.0, 1.0, 2.0])
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._shards: dict[int, Shard] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"EventStore('{self.path}', {self.num_rows} rows of {', '.join(self.manifest.names)})"

    @classmethod
    def open(cls, path: str | Path) -> EventStore:
        """Open a store; its events are not read.

        Raises:
            StoreError: the manifest is missing, damaged or newer, or a shard is missing or of another size.
        """
        path = Path(path)
        manifest = read_manifest(path)
        for shard in manifest.shards:
            check_size(path / SHARDS_NAME / shard.file, shard.bytes)
        return cls(path, manifest)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the events' columns, without the weights'."""
        return tuple(name for name in self.manifest.names if name != self.manifest.weight)

    @cached_property
    def shard_paths(self) -> tuple[Path, ...]:
        """The files that hold the events, in their order."""
        return tuple(self.path / SHARDS_NAME / shard.file for shard in self.manifest.shards)

    @property
    def weighted(self) -> bool:
        """Whether the events have weights."""
        return self.manifest.weight is not None

    @property
    def dtype(self) -> np.dtype:
        """Of all columns: float32 or float64."""
        return np.dtype(self.manifest.dtype)

    @property
    def num_rows(self) -> int:
        """Number of events."""
        return self.manifest.num_rows

    @property
    def rows_per_block(self) -> int:
        """Rows of every block but the last, which may have fewer."""
        return self.manifest.rows_per_block

    @cached_property
    def num_blocks(self) -> int:
        """Number of blocks."""
        return -(-self.num_rows // self.rows_per_block)

    def block_rows(self, number: int) -> int:
        """Rows of one block."""
        self._check_block(number)
        return min(self.rows_per_block, self.num_rows - number * self.rows_per_block)

    def block(self, number: int) -> dict[str, np.ndarray]:
        """Columns of one block by name, ``[num_rows]`` each, read-only views of the file; the weights stand under ``manifest.weight``.

        Raises:
            StoreError: the shard is missing or damaged.
        """
        shard, block = self._place(number)
        return dict(zip(self.manifest.names, shard.columns(block), strict=True))

    def check(self, number: int) -> None:
        """Compare the numbers of one block with their checksum in the manifest.

        Raises:
            StoreError: they are not those that were written.
        """
        shard, block = self._place(number)
        record = self.manifest.shards[number // self.manifest.blocks_per_shard]
        if block_checksum(shard.columns(block)) != record.blocks[block]:
            rows = f"{number * self.rows_per_block} to {number * self.rows_per_block + self.block_rows(number) - 1}"
            raise StoreError(
                f"block {block} of the shard '{shard.path}' (rows {rows} of the store) is damaged: its checksum does not fit.\n{REMEDY}"
            )

    def expect(self, number: int) -> None:
        """Say that a block is read soon, so that the operating system may fetch it beside what else is done."""
        shard, block = self._place(number)
        shard.expect(block)

    def release(self, number: int) -> None:
        """Give the memory of a block back to the operating system, so that a pass through the store does not fill it."""
        shard, block = self._place(number)
        shard.release(block)

    def rows(self, first: int, last: int) -> dict[str, np.ndarray]:
        """Copies of the rows from ``first`` up to but not including ``last``, by column.

        Raises:
            EventsError: the store has no such rows.
        """
        if not 0 <= first <= last <= self.num_rows:
            raise EventsError(f"'{self.path}' has the rows 0 to {self.num_rows}, but {first} to {last} were asked for.")
        found = {name: np.empty(last - first, self.dtype) for name in self.manifest.names}
        for stretch in self.manifest.layout.stretches(first, last - first):
            block = self.block(stretch.shard * self.manifest.blocks_per_shard + stretch.block)
            for name, column in found.items():
                column[stretch.at : stretch.at + stretch.num_rows] = block[name][stretch.offset : stretch.offset + stretch.num_rows]
        return found

    def _place(self, number: int) -> tuple[Shard, int]:
        self._check_block(number)
        shard, block = divmod(number, self.manifest.blocks_per_shard)
        with self._lock:
            if shard not in self._shards:
                record = self.manifest.shards[shard]
                self._shards[shard] = Shard(self.path / SHARDS_NAME / record.file, self.manifest.layout, record.rows)
            return self._shards[shard], block

    def _check_block(self, number: int) -> None:
        if not 0 <= number < self.num_blocks:
            raise EventsError(f"there is no block {number} in '{self.path}'; it has {self.num_blocks}, counted from 0.")


def check_size(path: Path, expected: int) -> None:
    """Refuse a shard that is missing or of another size than the manifest says."""
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise StoreError(f"the shard '{path}' is missing.\n{REMEDY}") from error
    except OSError as error:
        raise StoreError(f"cannot read the shard '{path}': {error.strerror or error}.") from error
    if size != expected:
        short = "cut short" if size < expected else "too long"
        raise StoreError(f"the shard '{path}' is {short}: it has {size:,} bytes, the manifest says {expected:,}.\n{REMEDY}")
