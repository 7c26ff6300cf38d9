"""A store from arrays: one process, one shard after the other; the reference for what :func:`ingest` does in parallel."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path

import numpy as np

from unscatter.errors import EventsError, StoreError
from unscatter.events.store.describing import Description, check_units, describe, summarize
from unscatter.events.store.layout import BLOCKS_PER_SHARD, ROWS_PER_BLOCK, SHARDS_NAME, Layout, shard_name
from unscatter.events.store.manifest import Manifest, write_manifest
from unscatter.events.store.shards import write_shard
from unscatter.events.store.sinks import refusals
from unscatter.events.store.store import EventStore, is_store
from unscatter.files import TEMPORARY_SUFFIX, atomic_write, quoted

_Columns = dict[str, np.ndarray]


def write_store(
    store: str | Path,
    portions: Iterable[Mapping[str, np.ndarray]],
    *,
    weight: str | None = None,
    units: Mapping[str, str] | None = None,
    rows_per_block: int = ROWS_PER_BLOCK,
    blocks_per_shard: int = BLOCKS_PER_SHARD,
) -> EventStore:
    """Write a store from arrays in memory, or from portions that a generator makes one after the other.

    Args:
        store: the new directory.
        portions: columns by name, ``[rows]`` each of any length, all float32 or all float64; the same names in all portions.
        weight: which of them holds the weights.
        units: of some columns.
        rows_per_block: a multiple of 16.
        blocks_per_shard: blocks per file.

    Raises:
        StoreError: the directory exists, or cannot be written.
        EventsError: there are no rows.
        SettingsError: a unit is none of a column's.

    Example:
        >>> import tempfile
        >>> write_store(Path(tempfile.mkdtemp()) / "store", [{"x": np.arange(3.0)}, {"x": np.arange(2.0)}]).num_rows
        5
    """
    store = Path(store)
    refuse_existing(store)
    first, blocks = _blocks(portions, rows_per_block)
    check_units(tuple(first), units or {})
    layout = Layout(tuple(first), _common_dtype(first), rows_per_block, blocks_per_shard)
    with _aside(store) as directory:
        shards = list(_written(directory, layout, blocks))
        write_manifest(directory, manifest_of(layout, shards, weight=weight, units=dict(units or {})))
    return EventStore.open(store)


def _check_finite(found: Description, layout: Layout, number: int) -> None:
    first = number * layout.rows_per_shard
    for name, moments in zip(layout.columns, found.moments, strict=True):
        if not moments.finite:
            rows = f"{first} to {first + found.record.rows - 1}"
            raise EventsError(f"column '{name}' holds values that are NaN or infinite, in the rows {rows}. Leave these events out.")


def _common_dtype(columns: _Columns) -> str:
    dtypes = {name: column.dtype.name for name, column in columns.items()}
    found = set(dtypes.values())
    if len(found) != 1 or not found <= {"float32", "float64"}:
        raise EventsError(f"the columns of a store are all float32 or all float64, got {dtypes}.\nConvert them: column.astype('float32').")
    return found.pop()


@contextmanager
def _aside(store: Path) -> Iterator[Path]:
    """A directory beside the store that takes its place at the end, and leaves nothing when anything goes wrong."""
    directory = store.with_name(f".{store.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    with refusals(store):
        (directory / SHARDS_NAME).mkdir(parents=True)
    try:
        yield directory
        os.rename(directory, store)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def refuse_existing(store: Path) -> None:
    """Nothing is ever written over.

    Raises:
        StoreError: the path exists, or cannot be one.
    """
    with refusals(store), suppress(FileNotFoundError, NotADirectoryError):
        os.lstat(store)
        way_out = f", or remove it: rm -r {quoted(store)}" if is_store(store) else "."
        raise StoreError(f"'{store}' exists already, and nothing is written over.\nChoose another name{way_out}")


def manifest_of(layout: Layout, shards: list[Description], *, weight: str | None, units: dict[str, str], **more: object) -> Manifest:
    """The manifest of shards that are complete."""
    values = {"versions": versions(), "created": datetime.now(UTC).isoformat(timespec="seconds"), **more}
    return Manifest(
        dtype=layout.dtype,
        columns=summarize(layout.columns, units, shards),
        weight=weight,
        num_rows=sum(shard.record.rows for shard in shards),
        rows_per_block=layout.rows_per_block,
        blocks_per_shard=layout.blocks_per_shard,
        header_bytes=layout.header_bytes,
        message_bytes=layout.message_bytes,
        shards=tuple(shard.record for shard in shards),
        **values,  # pyright: ignore[reportArgumentType]
    )


def versions() -> dict[str, str]:
    """Of what writes the store."""
    found = {"python": platform.python_version()}
    for package in ("unscatter", "numpy", "pyarrow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def _written(directory: Path, layout: Layout, blocks: Iterator[_Columns]) -> Iterator[Description]:
    number = 0
    while shard := list(islice(blocks, layout.blocks_per_shard)):
        path = directory / SHARDS_NAME / shard_name(number)
        with atomic_write(path, raises=StoreError) as file:
            write_shard(file, layout, ([block[name] for name in layout.columns] for block in shard))
        found = describe(path, layout, sum(len(block[layout.columns[0]]) for block in shard))
        _check_finite(found, layout, number)
        yield found
        number += 1


def _blocks(portions: Iterable[Mapping[str, np.ndarray]], rows_per_block: int) -> tuple[_Columns, Iterator[_Columns]]:
    """The first portion, to learn names and types from, and full blocks of all of them, the last one excepted."""
    some = (dict(portion) for portion in portions if len(next(iter(portion.values()))))
    first = next(some, None)
    if first is None:
        raise EventsError("there are no events to write.")
    return first, _rechunked(first, some, rows_per_block)


def _rechunked(kept: _Columns, portions: Iterator[_Columns], rows_per_block: int) -> Iterator[_Columns]:
    while True:
        while _length(kept) >= rows_per_block:
            yield {name: column[:rows_per_block] for name, column in kept.items()}
            kept = {name: column[rows_per_block:] for name, column in kept.items()}
        portion = next(portions, None)
        if portion is None:
            break
        kept = {name: np.concatenate([column, portion[name]]) for name, column in kept.items()}
    if _length(kept):
        yield kept


def _length(columns: _Columns) -> int:
    return len(next(iter(columns.values())))
