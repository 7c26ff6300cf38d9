"""Whether every byte of a store is the one that was written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from unscatter.errors import StoreError
from unscatter.events.store.checksums import block_checksum
from unscatter.events.store.describing import Description, describe, summarize
from unscatter.events.store.layout import SHARDS_NAME
from unscatter.events.store.manifest import ColumnSummary, Manifest, ShardRecord, read_manifest
from unscatter.events.store.shards import REMEDY, Shard
from unscatter.events.store.store import EventStore, check_size

#: Statistics are sums in another order only if the machine adds differently: no more than this apart.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Verification:
    """What a look at every byte of a store has found.

    Args:
        num_shards: shards that were looked at.
        num_bytes: bytes of those that could be read.
        problems: one sentence per problem, with shard, block and rows; empty where all is well.
    """

    num_shards: int
    num_bytes: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify(store: EventStore | str | Path, progress: Callable[[int, int], None] | None = None) -> Verification:
    """Read all of a store: checksums, numbers of rows, finite values, and the statistics of the manifest.

    Args:
        store: an open store, or its directory.
        progress: is called with the shards that are done and their number.

    Raises:
        StoreError: the manifest is missing, damaged or newer; anything else that is wrong is listed, not raised.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from unscatter.events.store import write_store
        >>> store = write_store(Path(tempfile.mkdtemp()) / "store", [{"x": np.arange(3.0)}])
        >>> verify(store).problems
        ()
    """
    path = store.path if isinstance(store, EventStore) else Path(store)
    manifest = read_manifest(path)
    problems: list[str] = []
    intact: list[Description] = []
    for number, record in enumerate(manifest.shards):
        try:
            found = _checked(path, manifest, number, record)
            intact.append(found)
            problems.extend(_values(path, manifest, found))
        except StoreError as error:
            problems.append(str(error).removesuffix(f"\n{REMEDY}"))
        if progress is not None:
            progress(number + 1, len(manifest.shards))
    if len(intact) == len(manifest.shards):
        problems.extend(_statistics(manifest, intact))
    return Verification(len(manifest.shards), sum(found.record.bytes for found in intact), tuple(problems))


def _checked(path: Path, manifest: Manifest, number: int, record: ShardRecord) -> Description:
    file = path / SHARDS_NAME / record.file
    check_size(file, record.bytes)
    found = describe(file, manifest.layout, record.rows)
    if found.record.checksum != record.checksum:
        raise StoreError("\n".join(_damaged_blocks(file, manifest, number, record)))
    return found


def _damaged_blocks(file: Path, manifest: Manifest, number: int, record: ShardRecord) -> Iterator[str]:
    """Which blocks of a shard are not what they were; a shard may also be damaged between its blocks."""
    shard = Shard(file, manifest.layout, record.rows)
    bad = [block for block, expected in enumerate(record.blocks) if block_checksum(shard.columns(block)) != expected]
    for block in bad:
        first = (number * manifest.blocks_per_shard + block) * manifest.rows_per_block
        last = first + shard.block_rows(block) - 1
        yield f"block {block} of the shard '{file}' (rows {first} to {last} of the store) is damaged: its checksum does not fit."
    if not bad:
        yield f"the shard '{file}' is damaged between its blocks: its checksum does not fit. Its numbers are those that were written."


def _values(path: Path, manifest: Manifest, found: Description) -> Iterator[str]:
    for name, moments in zip(manifest.names, found.moments, strict=True):
        if not moments.finite:
            yield f"column '{name}' of the shard '{path / SHARDS_NAME / found.record.file}' holds values that are NaN or infinite."


def _statistics(manifest: Manifest, intact: list[Description]) -> Iterator[str]:
    for said, seen in zip(manifest.columns, summarize(manifest.names, {}, intact), strict=True):
        for quantity in ("min", "max", "mean", "std"):
            if not _close(said, seen, quantity):
                told, found = getattr(said, quantity), getattr(seen, quantity)
                yield f"the manifest says that the {quantity} of column '{said.name}' is {told}, but it is {found}."


def _close(said: ColumnSummary, seen: ColumnSummary, quantity: str) -> bool:
    size = max(abs(seen.min), abs(seen.max))
    return math.isclose(getattr(said, quantity), getattr(seen, quantity), rel_tol=_TOLERANCE, abs_tol=_TOLERANCE * size)
