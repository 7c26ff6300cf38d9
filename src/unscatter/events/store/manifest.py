"""The manifest of a store: what its columns, shards and sources are, in one JSON file with a version and a checksum."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from unscatter.errors import StoreError, UnscatterError
from unscatter.events.store.checksums import checksum
from unscatter.events.store.layout import JOURNAL_NAME, MANIFEST_NAME, Layout, beside, partial_path, shard_name
from unscatter.files import as_json, atomic_write, missing_path, quoted

FORMAT_NAME = "unscatter event store"
#: Goes up when older versions of the package could misread what newer ones write.
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ColumnSummary:
    r"""One column of a store.

    Args:
        name: name of the column.
        unit: its unit, empty where none was given.
        min, max, mean, std: over all rows; ``std`` divides by the number of rows.
        order: mean square of the block means about the mean, in units of what it is for rows in random order,
            :math:`\sum_b n_b (m_b - m)^2 / ((B - 1)\,\sigma^2)`.  About 1 for shuffled rows, of the order of the rows per block for
            sorted ones; None for a single block or a constant column.
    """

    name: str
    unit: str
    min: float
    max: float
    mean: float
    std: float
    order: float | None


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """One file of a store: its rows, its size, the checksum of all its bytes, and one checksum per block of the numbers in it."""

    file: str
    rows: int
    bytes: int
    checksum: str
    blocks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """One file that events came from: what it was like, and what became of its rows."""

    location: str
    identity: Mapping[str, Any]
    rows_read: int
    rows_kept: int
    rows_cut: int
    rows_dropped: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything about a store but its events.

    Args:
        dtype: ``float32`` or ``float64``.
        columns: all columns in their order, the weights' included.
        weight: name of the column that holds the weights, or None.
        num_rows: events.
        rows_per_block, blocks_per_shard, header_bytes, message_bytes: see :class:`Layout`.
        shards: the files.
        sources: where the events came from.
        recipe: how the columns were made from those of the sources.
        shuffle: seed of the order of the rows, or None for that of the sources.
        versions: of the packages that wrote the store.
        created: when it was begun, ISO 8601.
    """

    dtype: str
    columns: tuple[ColumnSummary, ...]
    weight: str | None
    num_rows: int
    rows_per_block: int
    blocks_per_shard: int
    header_bytes: int
    message_bytes: int
    shards: tuple[ShardRecord, ...]
    sources: tuple[SourceRecord, ...] = ()
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    shuffle: int | None = None
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    created: str = ""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, the weights' included."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def layout(self) -> Layout:
        """Geometry of the shards."""
        return Layout(self.names, self.dtype, self.rows_per_block, self.blocks_per_shard, self.header_bytes, self.message_bytes)

    def summary(self, name: str) -> ColumnSummary:
        """What is known about one column."""
        return self.columns[self.names.index(name)]


def write_manifest(store: Path, manifest: Manifest) -> None:
    """Write the manifest of the store in ``store``, with its own checksum.

    Raises:
        StoreError: the operating system refuses.
    """
    content = as_json({"format": FORMAT_NAME, "version": FORMAT_VERSION, **_fields(manifest)})
    text = json.dumps({**content, "checksum": _digest(content)}, indent=1, allow_nan=False)
    with atomic_write(store / MANIFEST_NAME, raises=StoreError) as file:
        file.write(text.encode() + b"\n")


def read_manifest(store: Path) -> Manifest:
    """Read and check the manifest of a store.

    Raises:
        StoreError: there is none, it is of a newer version, or it is damaged.
    """
    path = store / MANIFEST_NAME
    content = _content(path)
    if content.get("format") != FORMAT_NAME:
        raise StoreError(f"'{path}' is not the manifest of an event store: its format is {content.get('format')!r}, not '{FORMAT_NAME}'.")
    version = content.get("version")
    if version != FORMAT_VERSION:
        raise StoreError(
            f"the event store '{store}' has format version {version!r}; this version of unscatter reads version {FORMAT_VERSION}.\n"
            "Install a newer one: pip install --upgrade unscatter"
        )
    if content.pop("checksum", None) != _digest(content):
        raise StoreError(f"'{path}' is damaged, or was changed by hand: its checksum does not fit.\n{_remedy(store)}")
    manifest = _from_content(content, path)
    _check(manifest, path)
    return manifest


def _content(path: Path) -> dict[str, Any]:
    store = path.parent
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(_missing(store)) from error
    except OSError as error:
        raise StoreError(f"cannot read '{path}': {error.strerror or error}.") from error
    except ValueError as error:
        raise StoreError(f"'{path}' is damaged: {error}.\n{_remedy(store)}") from error
    if not isinstance(content, dict):
        raise StoreError(f"'{path}' is not the manifest of an event store: it holds a {type(content).__name__}, not an object.")
    return content


def _missing(store: Path) -> str:
    if partial_path(store).is_dir():
        return (
            f"there is no '{store}', but '{partial_path(store)}': its ingest has not come to its end.\n"
            "Start the same ingest again: it goes on where it was."
        )
    if not store.exists():
        return missing_path(store)
    if not store.is_dir():
        command = f"unscatter ingest {quoted(store)} -o {quoted(store.with_suffix(''))}"
        return f"'{store}' is a file, not an event store. Make a store of it: {command}"
    if (store / JOURNAL_NAME).is_file():
        return f"'{store}' is an ingest that has not come to its end.\nStart the same ingest again: it goes on where it was."
    return f"'{store}' is not an event store, or has lost its manifest: it has no '{MANIFEST_NAME}'.\n{_remedy(store)}"


def _remedy(store: Path) -> str:
    return f"Copy the store again, or make a new one: unscatter ingest SOURCES -o {quoted(beside(store, '-new'))}"


def _fields(manifest: Manifest) -> dict[str, Any]:
    return {field.name: getattr(manifest, field.name) for field in dataclasses.fields(manifest)}


def _digest(content: Mapping[str, Any]) -> str:
    return checksum(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def _from_content(content: Mapping[str, Any], path: Path) -> Manifest:
    values = {name: value for name, value in content.items() if name not in ("format", "version")}
    try:
        return Manifest(**{
            **values,
            "columns": tuple(ColumnSummary(**column) for column in values["columns"]),
            "shards": tuple(ShardRecord(**{**shard, "blocks": tuple(shard["blocks"])}) for shard in values["shards"]),
            "sources": tuple(SourceRecord(**source) for source in values["sources"]),
        })  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"'{path}' is not a manifest of version {FORMAT_VERSION}: {error}.\n{_remedy(path.parent)}") from error


def _check(manifest: Manifest, path: Path) -> None:
    """Whoever computed a fitting checksum may still have written nonsense, or the name of a file elsewhere."""
    try:
        rows = manifest.layout.shard_rows(manifest.num_rows)
        fits = [shard.rows for shard in manifest.shards] == rows and manifest.dtype in ("float32", "float64") and bool(manifest.columns)
        named = all(shard.file == shard_name(number) for number, shard in enumerate(manifest.shards))
    except (TypeError, ValueError, UnscatterError) as error:
        raise StoreError(f"'{path}' contradicts itself: {error}.\n{_remedy(path.parent)}") from error
    if not (fits and named):
        raise StoreError(f"'{path}' contradicts itself: its shards are not those of {manifest.num_rows} rows.\n{_remedy(path.parent)}")
