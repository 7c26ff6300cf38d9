"""Event stores: data larger than memory, in memory-mapped files with a manifest."""

from unscatter.events.store.ingest import Progress, ingest
from unscatter.events.store.layout import BLOCKS_PER_SHARD, ROWS_PER_BLOCK, Layout
from unscatter.events.store.manifest import ColumnSummary, Manifest, ShardRecord, SourceRecord, read_manifest, write_manifest
from unscatter.events.store.shards import write_shard
from unscatter.events.store.store import EventStore, is_store, manifest_path
from unscatter.events.store.verification import Verification, verify
from unscatter.events.store.writing import write_store

__all__ = [
    "BLOCKS_PER_SHARD", "ROWS_PER_BLOCK", "ColumnSummary", "EventStore", "Layout", "Manifest", "Progress", "ShardRecord", "SourceRecord",
    "Verification", "ingest", "is_store", "manifest_path", "read_manifest", "verify", "write_manifest", "write_shard", "write_store",
]  # fmt: skip
