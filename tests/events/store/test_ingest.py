from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from functools import partial
from io import BufferedRandom, FileIO
from pathlib import Path
from typing import IO, Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unscatter.errors import EventsError, EventsFileError, SettingsError, StoreError, UnreachableError
from unscatter.events.recipe import Recipe
from unscatter.events.store import EventStore, Progress, ingest, plan, verify, work, write_store

# Stores of many small shards.
small_ingest = partial(ingest, rows_per_block=64, blocks_per_shard=4)
small_store = partial(write_store, rows_per_block=64, blocks_per_shard=4)
ROWS = (1000, 1, 2047)

Table: TypeAlias = dict[str, np.ndarray]
Dtype: TypeAlias = Literal["float32", "float64"]


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many pieces and chunks as large files have."""
    monkeypatch.setattr(plan, "PIECE_ROWS", 300)
    monkeypatch.setattr(work, "CHUNK_ROWS", 100)
    monkeypatch.setattr(work, "COMMIT_ROWS", 200)


def make_table(num_rows: int, seed: int) -> Table:
    rng = np.random.default_rng(seed)
    return {"x": rng.uniform(size=num_rows), "Q2": rng.exponential(10, num_rows).astype(np.float32), "id": np.arange(num_rows)}


@pytest.fixture
def tables() -> list[Table]:
    return [make_table(num_rows, seed) for seed, num_rows in enumerate(ROWS)]


@pytest.fixture
def files(tables: list[Table], tmp_path: Path) -> Path:
    """Files whose natural order is not that of their names."""
    folder = tmp_path / "runs"
    folder.mkdir()
    for number, table in zip((2, 10, 11), tables, strict=True):
        pq.write_table(pa.table(table), folder / f"run{number}.parquet", row_group_size=170)
    return folder


def together(tables: list[Table], dtype: str = "float32") -> Table:
    return {name: np.concatenate([table[name] for table in tables]).astype(dtype) for name in tables[0]}


def assert_same(one: EventStore, other: EventStore) -> None:
    assert one.manifest.shards == other.manifest.shards
    assert one.manifest.columns == other.manifest.columns
    for record in one.manifest.shards:
        assert (one.path / "shards" / record.file).read_bytes() == (other.path / "shards" / record.file).read_bytes()


def assert_clean(store: EventStore) -> None:
    assert sorted(path.name for path in store.path.iterdir()) == ["manifest.json", "shards"]
    assert sorted(path.name for path in (store.path / "shards").iterdir()) == [record.file for record in store.manifest.shards]
    assert not store.path.with_name(store.path.name + ".partial").exists()
    assert verify(store).ok


@pytest.mark.parametrize("dtype", get_args(Dtype))
def test_a_store_holds_the_rows_of_the_files_in_their_order(files: Path, tables: list[Table], dtype: Dtype, tmp_path: Path) -> None:
    store = small_ingest(files, tmp_path / "store", Recipe(dtype=dtype))
    assert_same(store, small_store(tmp_path / "expected", [together(tables, dtype)]))
    assert_clean(store)
    assert [source.rows_kept for source in store.manifest.sources] == list(ROWS)
    assert [Path(source.location).name for source in store.manifest.sources] == ["run2.parquet", "run10.parquet", "run11.parquet"]


def test_cuts_formulas_and_weights_are_applied_and_counted(files: Path, tables: list[Table], tmp_path: Path) -> None:
    recipe = Recipe(columns={"x": "x", "Q": "sqrt(Q2)"}, weight="1 / (1 + x)", cuts=["Q2 > k"], constants={"k": 5}, units={"Q": "GeV"})
    store = small_ingest(files, tmp_path / "store", recipe)
    whole = together(tables, "float64")
    kept = {name: column[whole["Q2"] > 5] for name, column in whole.items()}
    expected = {"x": kept["x"], "Q": np.sqrt(kept["Q2"]), "weight": 1 / (1 + kept["x"])}
    events = store.rows(0, store.num_rows)
    for name, column in expected.items():
        np.testing.assert_allclose(events[name], column, rtol=1e-6)
    assert (store.manifest.weight, store.columns, store.manifest.summary("Q").unit) == ("weight", ("x", "Q"), "GeV")
    assert sum(source.rows_cut for source in store.manifest.sources) == sum(ROWS) - store.num_rows
    assert store.manifest.recipe["cuts"] == ["Q2 > k"]


def test_a_column_called_weight_is_told_apart_from_the_weights(tmp_path: Path) -> None:
    pq.write_table(pa.table({"weight": [70.0, 80.0], "w": [1.0, 2.0]}), tmp_path / "people.parquet")
    store = ingest(tmp_path / "people.parquet", tmp_path / "store", Recipe(columns=["weight"], weight="w"))
    assert store.columns == ("weight",)
    assert store.rows(0, 2)["weight"].tolist() == [70, 80]
    assert store.rows(0, 2)[store.manifest.weight or ""].tolist() == [1, 2]


RECIPES = [
    pytest.param(Recipe(), None, id="all"),
    pytest.param(Recipe(cuts=["Q2 > 5"], columns=["x", "id"]), None, id="cut"),
    pytest.param(Recipe(cuts=["id < 30"]), None, id="most pieces empty"),
    pytest.param(Recipe(cuts=["Q2 > 5"]), 7, id="shuffled"),
]


class Stopped(BaseException):
    """As Ctrl-C, at a chosen place."""


def stop_after(reports: int) -> Callable[[Progress], None]:
    left = iter(range(reports))

    def progress(state: Progress) -> None:
        if next(left, None) is None:
            raise Stopped

    return progress


@pytest.mark.parametrize(("recipe", "seed"), RECIPES)
def test_an_ingest_that_is_stopped_again_and_again_ends_with_the_same_bits(
    files: Path, recipe: Recipe, seed: int | None, tmp_path: Path
) -> None:
    whole = small_ingest(files, tmp_path / "whole", recipe, shuffle=seed)
    stops = 0
    for reports in (0, 1, 0, 2, 5, 0, 3, 1, 8, 100):
        try:
            resumed = small_ingest(files, tmp_path / "resumed", recipe, shuffle=seed, progress=stop_after(reports))
        except Stopped:
            stops += 1
            assert not (tmp_path / "resumed").exists()
        else:
            assert stops > 5
            assert_same(whole, resumed)
            assert_clean(resumed)
            assert whole.manifest.sources == resumed.manifest.sources
            return
    pytest.fail("never came to its end")


def test_what_is_done_is_not_done_again(files: Path, tmp_path: Path) -> None:
    for reports in range(1, 50):
        before: list[int] = []
        stop = stop_after(3)

        def progress(state: Progress, before: list[int] = before, stop: Callable[[Progress], None] = stop) -> None:
            before.append(state.done)
            stop(state)

        try:
            small_ingest(files, tmp_path / "store", progress=progress)
        except Stopped:
            continue
        assert reports > 5
        return
    pytest.fail("never came to its end")


def test_a_shuffle_keeps_every_row_and_leaves_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unscatter.events.store.shuffling.BUCKET_ROWS", 3000)
    number = 20_000
    pq.write_table(pa.table({"row": np.arange(number), "twice": 2 * np.arange(number)}), tmp_path / "sorted.parquet")
    store = small_ingest(tmp_path / "sorted.parquet", tmp_path / "store", Recipe(dtype="float64"), shuffle=1)
    rows = store.rows(0, number)
    np.testing.assert_array_equal(np.sort(rows["row"]), np.arange(number))
    np.testing.assert_array_equal(rows["twice"], 2 * rows["row"])
    # Spearman's correlation of place and row, and of neighbours, have the standard deviation 1/sqrt(n).
    for one, other in ((rows["row"], np.arange(number)), (rows["row"][1:], rows["row"][:-1])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(number)
    order = store.manifest.summary("row").order
    assert order is not None
    assert abs(order - 1) < 5 * np.sqrt(2 / (store.num_blocks - 1))
    other = small_ingest(tmp_path / "sorted.parquet", tmp_path / "other", Recipe(dtype="float64"), shuffle=2)
    assert np.mean(other.rows(0, number)["row"] == rows["row"]) < 0.01


def test_rows_that_are_not_finite_are_counted_with_file_row_and_column(files: Path, tmp_path: Path) -> None:
    table = make_table(2000, 9)
    table["x"][[150, 1500]] = np.nan, np.inf
    table["Q2"][150] = -np.inf
    pq.write_table(pa.table(table), files / "run12.parquet")
    with pytest.raises(EventsError, match=r"2 of 2000 events in '.*run12.parquet' have values that are NaN or infinite") as caught:
        small_ingest(files, tmp_path / "store")
    assert "Column 'x' has 2, the first in row 150: nan. Column 'Q2' has 1, the first in row 150: -inf." in str(caught.value)
    assert "--not-finite drop" in str(caught.value)
    # The same command would fail again, so nothing of it is kept.
    assert not (tmp_path / "store.partial").exists()
    store = small_ingest(files, tmp_path / "store", Recipe(not_finite="drop"))
    assert [source.rows_dropped for source in store.manifest.sources] == [0, 0, 0, 2]
    assert store.num_rows == sum(ROWS) + 1998


def test_cuts_that_leave_nothing_are_an_error(files: Path, tmp_path: Path) -> None:
    with pytest.raises(EventsError, match=r"no events are left: of 3,048 rows 3,048 were cut and 0 dropped"):
        small_ingest(files, tmp_path / "store", Recipe(cuts=["x > 2"]))
    assert not (tmp_path / "store.partial").exists()


def test_columns_that_leave_nothing_are_an_error_that_blames_no_cut(files: Path, tmp_path: Path) -> None:
    with pytest.raises(EventsError, match=r"0 were cut and 3,048 dropped.\nLook at the columns, of which one is NaN or infinite"):
        small_ingest(files, tmp_path / "store", Recipe(columns={"q": "log(-1 - x)"}, not_finite="drop"))
    with pytest.raises(EventsError, match=r"rows [\d,]+ were cut and [\d,]+ dropped.\nLook at the cuts and the columns"):
        small_ingest(files, tmp_path / "store", Recipe(columns={"q": "log(-1 - x)"}, cuts=["x > 0.5"], not_finite="drop"))


@pytest.mark.parametrize("content", ["x,y\n1,2\n3\n", "x,y\n", "x,y\n1,a\n"])
def test_a_source_that_is_repaired_is_ingested_by_the_same_command(content: str, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text(content)
    with pytest.raises(EventsError):
        small_ingest(source, tmp_path / "store", Recipe(columns=["x", "y"]))
    assert list(tmp_path.iterdir()) == [source]
    source.write_text("x,y\n1,2\n3,4\n")
    assert small_ingest(source, tmp_path / "store", Recipe(columns=["x", "y"])).num_rows == 2


def test_what_was_read_is_kept_where_a_source_cannot_be_had_for_a_while(files: Path, tmp_path: Path) -> None:
    def progress(state: Progress) -> None:
        if (files / "run11.parquet").exists():
            (files / "run11.parquet").rename(tmp_path / "aside")

    with pytest.raises(UnreachableError, match="there is no '.*run11.parquet'"):
        small_ingest(files, tmp_path / "store", workers=1, progress=progress)
    (tmp_path / "aside").rename(files / "run11.parquet")
    done: list[Progress] = []
    assert small_ingest(files, tmp_path / "store", workers=1, progress=done.append).num_rows == sum(ROWS)
    assert done[0].done > 1000


class _FullDisk(FileIO):
    """A file on a disk that takes ten more bytes."""

    def write(self, data: bytes, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        if self.tell() >= 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(memoryview(data)[: 10 - self.tell()])


def test_a_journal_on_a_full_disk_is_one_error(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(path: Path, mode: str, buffering: int = -1) -> IO[bytes] | FileIO:
        file = _FullDisk(path, mode)
        return BufferedRandom(file) if buffering else file

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", opened)
        with pytest.raises(StoreError, match=r"cannot write '.*journal.jsonl': no space left (.|\n)*The same command goes on"):
            small_ingest(files, tmp_path / "store")
    assert small_ingest(files, tmp_path / "store").num_rows == sum(ROWS)


def test_sources_of_other_columns_or_dtypes_are_refused_before_anything_is_written(files: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [0.5], "Q2": [1.0], "id": [1]}), files / "run12.parquet")
    with pytest.raises(EventsError, match=r"column 'Q2' is float64 in '.*run12.parquet', but float32 in '.*run2.parquet'"):
        ingest(files, tmp_path / "store")
    pq.write_table(pa.table({"x": [0.5], "id": [1]}), files / "run12.parquet")
    with pytest.raises(EventsError, match=r"run12.parquet' has other columns than '.*run2.parquet': missing are \['Q2'\]"):
        ingest(files, tmp_path / "store")
    pq.write_table(pa.table({"z": [0.5]}), files / "run12.parquet")
    with pytest.raises(EventsError, match=r"missing are \['x', 'Q2', 'id'\].\nThey have none in common: read one of them"):
        ingest(files, tmp_path / "store")
    assert list(tmp_path.iterdir()) == [files]


def change(path: Path) -> None:
    table = make_table(500, 77)
    pq.write_table(pa.table(table), path)


def test_a_source_that_changes_while_it_is_read_is_refused(files: Path, tmp_path: Path) -> None:
    def progress(state: Progress) -> None:
        os.utime(files / "run2.parquet", ns=(1, 1))

    with pytest.raises(
        EventsFileError,
        match=r"run2.parquet' changed while it was read: it was [\d,]+ bytes \(changed 2.*\), now [\d,]+ bytes \(changed 1970",
    ):
        small_ingest(files, tmp_path / "store", progress=progress)
    assert not (tmp_path / "store").exists()


def stopped_ingest(files: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        small_ingest(files, tmp_path / "store", progress=stop_after(4))


def test_a_source_that_changed_between_stop_and_resume_is_refused(files: Path, tmp_path: Path) -> None:
    stopped_ingest(files, tmp_path)
    change(files / "run11.parquet")
    with pytest.raises(
        StoreError, match=r"run11.parquet' has changed since the ingest into '.*store.partial' began: it was [\d,]+ bytes"
    ) as error:
        small_ingest(files, tmp_path / "store")
    assert f"rm -r {tmp_path / 'store.partial'}" in str(error.value)


def test_a_resume_with_other_files_or_settings_is_refused(files: Path, tmp_path: Path) -> None:
    stopped_ingest(files, tmp_path)
    with pytest.raises(StoreError, match=r"was begun with other settings: 'cuts' was \[\], now it is \['x > 0'\]"):
        small_ingest(files, tmp_path / "store", Recipe(cuts=["x > 0"]))
    with pytest.raises(StoreError, match=r"was begun with other settings: 'shuffle' was None, now it is 3"):
        small_ingest(files, tmp_path / "store", shuffle=3)
    with pytest.raises(StoreError, match=r"was begun from 3 files, now there are 1; '.*run10.parquet' is one that differs"):
        small_ingest(files / "run2.parquet", tmp_path / "store")
    assert small_ingest(files, tmp_path / "store").num_rows == sum(ROWS)


def test_a_journal_that_was_cut_short_loses_only_its_last_line(files: Path, tmp_path: Path) -> None:
    stopped_ingest(files, tmp_path)
    journal = tmp_path / "store.partial" / "journal.jsonl"
    for cut in (1, 10, 0):
        lines = journal.read_bytes()
        journal.write_bytes(lines[: len(lines) - cut])
        with pytest.raises(Stopped):
            small_ingest(files, tmp_path / "store", progress=stop_after(3))
        # What comes after the torn line can be read: every stop adds four reports.
        assert len([json.loads(line) for line in journal.read_bytes().splitlines()]) == len(lines.splitlines()) + 4 - bool(cut)
    assert_same(small_ingest(files, tmp_path / "store"), small_ingest(files, tmp_path / "whole"))


def test_an_ingest_that_was_killed_before_its_first_line_starts_anew(files: Path, tmp_path: Path) -> None:
    (tmp_path / "store.partial").mkdir()
    (tmp_path / "store.partial" / "journal.jsonl").write_bytes(b'{"format": "unsc')
    assert small_ingest(files, tmp_path / "store").num_rows == sum(ROWS)


def test_two_ingests_into_one_store_do_not_meet(files: Path, tmp_path: Path) -> None:
    refused: list[str] = []

    def progress(state: Progress) -> None:
        if not refused:
            with pytest.raises(StoreError) as error:
                small_ingest(files, tmp_path / "store")
            refused.append(str(error.value))

    assert small_ingest(files, tmp_path / "store", progress=progress).num_rows == sum(ROWS)
    assert "another process is writing into" in refused[0]
    assert "Wait until it has come to its end, or choose another name" in refused[0]


def test_what_exists_is_never_written_over(files: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "other.partial").mkdir()
    (tmp_path / "other.partial" / "thesis.tex").write_text("mine")
    for name in ("empty", "file", "link"):
        with pytest.raises(StoreError, match="exists already, and nothing is written over"):
            ingest(files, tmp_path / name)
    with pytest.raises(StoreError, match="exists, but is not the beginning of an ingest"):
        ingest(files, tmp_path / "other")
    assert (tmp_path / "other.partial" / "thesis.tex").read_text() == "mine"


def test_a_store_that_appears_meanwhile_is_not_written_over(files: Path, tmp_path: Path) -> None:
    def progress(state: Progress) -> None:
        (tmp_path / "store").mkdir(exist_ok=True)
        (tmp_path / "store" / "mine").touch()

    with pytest.raises(StoreError, match="cannot write '.*store'"):
        small_ingest(files, tmp_path / "store", progress=progress)
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["mine"]


def test_impossible_settings_are_answered_in_words(files: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no directory '.*no'.\nMake it first: mkdir -p"):
        ingest(files, tmp_path / "no" / "store")
    with pytest.raises(SettingsError, match="'workers' must be at least 1, got 0"):
        ingest(files, tmp_path / "store", workers=0)
    with pytest.raises(SettingsError, match="multiple of 16"):
        ingest(files, tmp_path / "store", rows_per_block=100)
    for seed in (-1, 2**64):
        with pytest.raises(SettingsError, match=rf"'shuffle' must be a seed from 0 to {2**64 - 1} \(64 bits\), got {seed}"):
            ingest(files, tmp_path / "store", shuffle=seed)
    assert list(tmp_path.iterdir()) == [files]
    assert small_ingest(files, tmp_path / "store", shuffle=2**64 - 1).num_rows == sum(ROWS)


def test_large_row_groups_are_read_once(tmp_path: Path) -> None:
    pq.write_table(pa.table(make_table(2000, 0)), tmp_path / "one.parquet", row_group_size=700)
    recipe = plan.make_plan(tmp_path / "one.parquet", Recipe(), tree=None, shuffle=None, rows_per_block=64, blocks_per_shard=4)
    assert [(piece.first_row, piece.last_row) for piece in recipe.pieces] == [(0, 700), (700, 1400), (1400, 2000)]


def test_a_store_is_a_source_too(files: Path, tmp_path: Path) -> None:
    store = small_ingest(files, tmp_path / "store", Recipe(columns=["x", "Q2"], weight="1 + x"))
    again = small_ingest(store.path, tmp_path / "again", Recipe(weight="weight"))
    assert again.manifest.shards == store.manifest.shards


def test_an_unfinished_store_says_so(files: Path, tmp_path: Path) -> None:
    stopped_ingest(files, tmp_path)
    with pytest.raises(StoreError, match="is an ingest that has not come to its end"):
        EventStore.open(tmp_path / "store.partial")
    with pytest.raises(StoreError, match="its ingest has not come to its end"):
        EventStore.open(tmp_path / "store")
