"""What the manifest says about a shard, from the bytes that stand on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unscatter.errors import SettingsError
from unscatter.events.formats.messages import listed
from unscatter.events.store.checksums import block_checksum, checksum
from unscatter.events.store.layout import Layout
from unscatter.events.store.manifest import ColumnSummary, ShardRecord
from unscatter.events.store.shards import Shard
from unscatter.events.store.statistics import Moments, merged
from unscatter.files import did_you_mean


@dataclass(frozen=True)
class Description:
    """The record of a shard and the moments of each of its columns."""

    record: ShardRecord
    moments: tuple[Moments, ...]


def describe(path: Path, layout: Layout, num_rows: int) -> Description:
    """Read a shard: every byte for its checksum, every number for the statistics.

    Raises:
        StoreError: it is missing or damaged.
    """
    shard = Shard(path, layout, num_rows)
    checksums: list[str] = []
    moments: list[list[Moments]] = []
    for block in range(shard.num_blocks):
        columns = shard.columns(block)
        checksums.append(block_checksum(columns))
        moments.append([Moments.of(column) for column in columns])
    data = shard.bytes()
    record = ShardRecord(file=path.name, rows=num_rows, bytes=len(data), checksum=checksum(data), blocks=tuple(checksums))
    return Description(record, tuple(merged(of_column) for of_column in zip(*moments, strict=True)))


def check_units(names: tuple[str, ...], units: Mapping[str, str]) -> None:
    """Refuse units of columns that are not there.

    Raises:
        SettingsError: there are some.
    """
    for name in units:
        if name not in names:
            raise SettingsError(f"the unit of '{name}' is given, but the store would have {listed(names)}.{did_you_mean(name, names)}")


def summarize(names: tuple[str, ...], units: dict[str, str], shards: list[Description]) -> tuple[ColumnSummary, ...]:
    """What the manifest says about the columns, from the moments of all shards in their order."""
    totals = [merged(of_column) for of_column in zip(*(shard.moments for shard in shards), strict=True)]
    return tuple(
        ColumnSummary(
            name=name, unit=units.get(name, ""), min=total.min, max=total.max, mean=total.mean, std=total.std, order=total.order
        )
        for name, total in zip(names, totals, strict=True)
    )  # fmt: skip
