from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unscatter.errors import StoreError
from unscatter.events.store import EventStore, read_manifest, verify, write_manifest, write_store
from unscatter.events.store.describing import describe

PER_BLOCK, PER_SHARD = 32, 4


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    table = {"x": np.random.default_rng(0).normal(size=1000), "y": np.arange(1000.0)}
    return write_store(tmp_path / "store", [table], rows_per_block=PER_BLOCK, blocks_per_shard=PER_SHARD)


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def shard(store: EventStore, number: int) -> Path:
    return store.path / "shards" / f"{number:05}.arrow"


def test_an_intact_store_has_no_problems(store: EventStore) -> None:
    seen: list[tuple[int, int]] = []
    found = verify(store.path, progress=lambda done, total: seen.append((done, total)))
    assert found.ok
    assert found.num_bytes == sum(path.stat().st_size for path in (store.path / "shards").iterdir())
    assert seen == [(number + 1, 8) for number in range(8)]


def test_every_byte_of_a_shard_counts(store: EventStore) -> None:
    path, whole = shard(store, 2), shard(store, 2).read_bytes()
    for position in range(0, len(whole), 97):
        flip(path, position)
        found = verify(store)
        assert len(found.problems) == 1, position
        assert "00002.arrow' " in found.problems[0]
        path.write_bytes(whole)


def test_damage_is_told_with_shard_block_and_rows(store: EventStore) -> None:
    layout = store.manifest.layout
    flip(shard(store, 1), layout.body(2) + layout.column_bytes)
    flip(shard(store, 5), layout.body(1) - layout.message_bytes + 20)
    first, second = verify(store).problems
    assert first == (
        f"block 2 of the shard '{shard(store, 1)}' (rows {PER_BLOCK * 6} to {PER_BLOCK * 7 - 1} of the store) is damaged: "
        "its checksum does not fit."
    )
    assert "00005.arrow' is damaged between its blocks" in second


def test_all_problems_are_told_at_once(store: EventStore) -> None:
    shard(store, 0).unlink()
    shard(store, 3).write_bytes(shard(store, 3).read_bytes()[:-100])
    flip(shard(store, 6), store.manifest.layout.body(0))
    missing, short, flipped = verify(store.path).problems
    assert "00000.arrow' is missing" in missing
    assert "00003.arrow' is cut short" in short
    assert "block 0 of the shard" in flipped


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_told(value: float, store: EventStore) -> None:
    """Other programs may write stores, too."""
    layout, number = store.manifest.layout, 2
    path, record = shard(store, number), store.manifest.shards[number]
    data = bytearray(path.read_bytes())
    position = layout.body(1) + layout.column_bytes
    data[position : position + 8] = np.float64(value).tobytes()
    path.write_bytes(data)
    shards = list(store.manifest.shards)
    shards[number] = describe(path, layout, record.rows).record
    write_manifest(store.path, replace(store.manifest, shards=tuple(shards)))
    problems = verify(store).problems
    assert problems[0] == f"column 'y' of the shard '{path}' holds values that are NaN or infinite."


def test_statistics_that_are_not_those_of_the_numbers_are_told(store: EventStore) -> None:
    x, y = store.manifest.columns
    write_manifest(store.path, replace(store.manifest, columns=(x, replace(y, mean=y.mean + 1))))
    assert verify(store).problems == ("the manifest says that the mean of column 'y' is 500.5, but it is 499.5.",)


def test_a_damaged_manifest_is_an_error(store: EventStore) -> None:
    flip(store.path / "manifest.json", 100)
    with pytest.raises(StoreError):
        verify(store.path)
    with pytest.raises(StoreError):
        read_manifest(store.path)
