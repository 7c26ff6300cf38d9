from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from unscatter.errors import EventsError, SettingsError, StoreError
from unscatter.events.store import EventStore, Layout, is_store, write_manifest, write_store
from unscatter.events.store.shards import Shard

ROWS, PER_BLOCK, PER_SHARD = 1000, 32, 4


def columns(num_rows: int = ROWS, seed: int = 0) -> dict[str, np.ndarray]:
    values = np.random.default_rng(seed).normal(size=(3, num_rows)).astype(np.float32)
    return {"x": values[0], "Q2": values[1] + 100, "w": np.abs(values[2])}


def portions(table: dict[str, np.ndarray], lengths: list[int]) -> list[dict[str, np.ndarray]]:
    edges = np.cumsum([0, *lengths])
    return [{name: c[a:b] for name, c in table.items()} for a, b in zip(edges, edges[1:], strict=False)]


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    return write_store(
        tmp_path / "store", [columns()], weight="w", units={"Q2": "GeV^2"}, rows_per_block=PER_BLOCK, blocks_per_shard=PER_SHARD
    )


def test_unit_of_a_column_that_is_not_there_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match="the unit of 'q2' is given, but the store would have the columns 'x', 'Q2', 'w'. Did you mean 'Q2'"
    ):
        write_store(tmp_path / "store", [columns()], units={"q2": "GeV^2"})
    assert list(tmp_path.iterdir()) == []


def test_blocks_are_the_rows_in_their_order(store: EventStore) -> None:
    table = columns()
    for number in range(store.num_blocks):
        rows = slice(number * PER_BLOCK, (number + 1) * PER_BLOCK)
        block = store.block(number)
        assert store.block_rows(number) == len(block["x"])
        for name, column in table.items():
            np.testing.assert_array_equal(block[name], column[rows])
    assert store.num_blocks == -(-ROWS // PER_BLOCK)
    assert (store.columns, store.weighted, store.manifest.weight) == (("x", "Q2"), True, "w")


def test_blocks_are_aligned_read_only_views_of_the_map(store: EventStore) -> None:
    first, last = store.block(0), store.block(store.num_blocks - 2)
    for column in (*first.values(), *last.values()):
        assert not column.flags.writeable
        assert not column.flags.owndata
        assert column.ctypes.data % 64 == 0
    np.testing.assert_array_equal(store.block(0)["x"].ctypes.data, first["x"].ctypes.data)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [1, 2, 3, 7, 30])
def test_layout_says_where_the_columns_of_full_blocks_are(dtype: str, width: int, tmp_path: Path) -> None:
    layout = Layout(tuple(f"a long name of a column {i}" for i in range(width)), dtype, 16, 3)
    table = {name: np.arange(48, dtype=dtype) + i for i, name in enumerate(layout.columns)}
    store = write_store(tmp_path / "store", [table], rows_per_block=16, blocks_per_shard=3)
    raw = (store.path / "shards" / "00000.arrow").read_bytes()
    for block in range(3):
        for i, column in enumerate(table.values()):
            found = np.frombuffer(raw, dtype, 16, layout.body(block) + i * layout.column_bytes)
            np.testing.assert_array_equal(found, column[16 * block : 16 * block + 16])


def test_released_blocks_can_be_read_again(store: EventStore) -> None:
    before = store.block(3)["x"].copy()
    for number in range(store.num_blocks):
        store.release(number)
    np.testing.assert_array_equal(store.block(3)["x"], before)


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 1), (31, 33), (100, 777), (0, ROWS), (ROWS, ROWS)])
def test_rows_are_taken_across_blocks_and_shards(store: EventStore, first: int, last: int) -> None:
    for name, column in columns().items():
        np.testing.assert_array_equal(store.rows(first, last)[name], column[first:last])


def test_rows_and_blocks_that_are_not_there_are_refused(store: EventStore) -> None:
    with pytest.raises(EventsError, match="has the rows 0 to 1000, but 5 to 1001 were asked for"):
        store.rows(5, ROWS + 1)
    with pytest.raises(EventsError, match="there is no block 32"):
        store.block(32)


@pytest.mark.parametrize("lengths", [[ROWS], [1] * 5 + [ROWS - 5], [999, 1], [0, 64, 0, 936], [300, 400, 300]])
def test_a_store_does_not_depend_on_how_its_rows_were_given(store: EventStore, lengths: list[int], tmp_path: Path) -> None:
    other = write_store(tmp_path / "other", portions(columns(), lengths), weight="w", rows_per_block=PER_BLOCK, blocks_per_shard=PER_SHARD)
    assert other.manifest.shards == store.manifest.shards
    for record in store.manifest.shards:
        assert (other.path / "shards" / record.file).read_bytes() == (store.path / "shards" / record.file).read_bytes()


def test_the_manifest_tells_range_mean_and_spread(store: EventStore) -> None:
    for name, column in columns().items():
        summary = store.manifest.summary(name)
        exact = column.astype(np.float64)
        assert (summary.min, summary.max) == (exact.min(), exact.max())
        assert summary.mean == pytest.approx(exact.mean(), rel=1e-13)
        assert summary.std == pytest.approx(exact.std(), rel=1e-12)
    assert store.manifest.summary("Q2").unit == "GeV^2"


def test_order_is_one_for_random_rows_and_large_for_sorted_ones(tmp_path: Path) -> None:
    values = np.random.default_rng(1).uniform(size=64 * 400).astype(np.float32)
    random = write_store(tmp_path / "random", [{"x": values}], rows_per_block=64, blocks_per_shard=8)
    ordered = write_store(tmp_path / "sorted", [{"x": np.sort(values)}], rows_per_block=64, blocks_per_shard=8)
    order = random.manifest.summary("x").order
    assert order is not None
    # A mean of 399 squares of standard normal numbers.
    assert abs(order - 1) < 5 * np.sqrt(2 / 399)
    assert ordered.manifest.summary("x").order == pytest.approx(64, rel=0.01)


def test_nothing_is_written_over(store: EventStore) -> None:
    with pytest.raises(StoreError, match=r"exists already, and nothing is written over.*\n.*rm -r"):
        write_store(store.path, [columns()])


def test_a_store_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EventsError, match="no events"):
        write_store(tmp_path / "store", [])


def change(path: Path, position: int, bits: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= bits
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is damaged: Expecting value"),
        ("{", "is damaged: Expecting property name"),
        ("[1]", "holds a list, not an object"),
        ("{}", "its format is None"),
        ('{"format": "unscatter event store", "version": 99}', r"has format version 99; .* reads version 1.\nInstall a newer one: pip"),
        ('{"format": "unscatter event store", "version": 1}', "its checksum does not fit"),
    ],
)
def test_a_manifest_that_is_no_manifest_is_refused(store: EventStore, text: str, message: str) -> None:
    (store.path / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match=message):
        EventStore.open(store.path)


def test_every_flipped_bit_of_a_manifest_is_noticed(store: EventStore) -> None:
    path = store.path / "manifest.json"
    whole = path.read_bytes()
    content = json.loads(whole)
    for position in range(0, len(whole), 7):
        change(path, position, 2)
        try:
            same = json.loads(path.read_bytes()) == content
        except ValueError:
            same = False
        if not same:  # a changed blank is no damage
            with pytest.raises(StoreError):
                EventStore.open(store.path)
        path.write_bytes(whole)


def test_a_missing_store_is_told_apart_from_an_unfinished_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no '.*stor'"):
        EventStore.open(tmp_path / "stor")
    (tmp_path / "stor.partial").mkdir()
    with pytest.raises(StoreError, match=r"has not come to its end.\nStart the same ingest again"):
        EventStore.open(tmp_path / "stor")
    (tmp_path / "file.npy").write_bytes(b"x")
    with pytest.raises(StoreError, match="unscatter ingest .*file.npy -o .*file$"):
        EventStore.open(tmp_path / "file.npy")
    assert not is_store(tmp_path / "stor")


def test_a_shard_that_is_missing_or_of_another_size_is_found_at_opening(store: EventStore) -> None:
    path = store.path / "shards" / "00002.arrow"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(StoreError, match=r"00002.arrow' is cut short: it has [\d,]+ bytes, the manifest says [\d,]+"):
        EventStore.open(store.path)
    path.write_bytes(whole + b"1")
    with pytest.raises(StoreError, match=r"00002.arrow' is too long"):
        EventStore.open(store.path)
    path.unlink()
    with pytest.raises(StoreError, match=r"00002.arrow' is missing.\nCopy this file again"):
        EventStore.open(store.path)


def test_a_shard_of_another_store_is_refused_when_it_is_read(store: EventStore, tmp_path: Path) -> None:
    table = {name.upper(): column for name, column in columns().items()}
    other = write_store(tmp_path / "other", [table], rows_per_block=PER_BLOCK, blocks_per_shard=PER_SHARD)
    alien = (other.path / "shards" / "00001.arrow").read_bytes()
    (store.path / "shards" / "00001.arrow").write_bytes(alien)
    with pytest.raises(StoreError, match=r"00001.arrow' has the columns \['X: float', .*but the manifest says \['x', 'Q2', 'w'\]"):
        store.block(PER_SHARD)


def test_a_flipped_bit_outside_of_the_numbers_is_an_error_or_harmless(store: EventStore) -> None:
    """Never a crash, never other numbers."""
    path = store.path / "shards" / "00000.arrow"
    layout, rows = store.manifest.layout, store.manifest.shards[0].rows
    table, whole = columns(), path.read_bytes()
    messages = [p for block in range(PER_SHARD) for p in range(layout.body(block) - layout.message_bytes, layout.body(block))]
    noticed = 0
    # All of what Arrow reads first and last, and some of what it reads in between.
    for position in [
        *range(0, layout.header_bytes, 2),
        *messages[::9],
        *range(layout.body(PER_SHARD) - layout.message_bytes, len(whole), 2),
    ]:
        change(path, position, 1 << position % 8)
        try:
            found = Shard(path, layout, rows).columns(3)
        except StoreError:
            noticed += 1
        else:
            assert all(np.array_equal(c, t[96:128]) for c, t in zip(found, table.values(), strict=True)), position
        path.write_bytes(whole)
    assert noticed > 100


def test_a_flipped_bit_in_the_numbers_is_found_with_shard_block_and_rows(store: EventStore) -> None:
    path = store.path / "shards" / "00001.arrow"
    change(path, store.manifest.layout.body(2) + 5)
    damaged = EventStore.open(store.path)
    for number in range(damaged.num_blocks):
        if number != PER_SHARD + 2:
            damaged.check(number)
    with pytest.raises(StoreError, match=r"block 2 of the shard '.*00001.arrow' \(rows 192 to 223 of the store\) is damaged"):
        damaged.check(PER_SHARD + 2)


def test_arrow_reads_the_shards(store: EventStore) -> None:
    shards = [pa.ipc.open_file(store.path / "shards" / record.file).read_all() for record in store.manifest.shards]
    table = pa.concat_tables(shards)
    for name, column in columns().items():
        np.testing.assert_array_equal(table.column(name).to_numpy(), column)
    assert not any(field.nullable for field in table.schema)


def test_columns_of_several_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EventsError, match=r"all float32 or all float64, got \{'x': 'float32', 'y': 'int64'\}"):
        write_store(tmp_path / "store", [{"x": np.zeros(3, np.float32), "y": np.arange(3)}])
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_cannot_name_files_elsewhere(store: EventStore, tmp_path: Path) -> None:
    (tmp_path / "secret.arrow").write_bytes((store.path / "shards" / "00000.arrow").read_bytes())
    first, *others = store.manifest.shards
    write_manifest(store.path, replace(store.manifest, shards=(replace(first, file="../../secret.arrow"), *others)))
    with pytest.raises(StoreError, match="contradicts itself"):
        EventStore.open(store.path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 500, ROWS - 1])
def test_values_that_are_not_finite_are_refused(value: float, row: int, tmp_path: Path) -> None:
    table = columns()
    table["Q2"][row] = value
    with pytest.raises(EventsError, match="column 'Q2' holds values that are NaN or infinite, in the rows"):
        write_store(tmp_path / "store", [table], rows_per_block=PER_BLOCK, blocks_per_shard=PER_SHARD)
    assert list(tmp_path.iterdir()) == []
