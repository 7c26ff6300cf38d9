"""What holds for files of every format."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.events.formats.files import DTYPES, WRITERS, Writer, some_events
from unscatter.errors import ColumnError, EventsError, EventsFileError, MissingExtraError, SettingsError, UnscatterError
from unscatter.events import read_events
from unscatter.events.formats import EventReader, open_events
from unscatter.events.formats.file_reader import FileReader
from unscatter.events.formats.opening import SUFFIXES
from unscatter.events.locations import suffix

EVENTS = some_events()

every_format = pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)


@pytest.fixture(scope="module", params=WRITERS, ids=lambda write: write.__name__)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return request.param(tmp_path_factory.mktemp("formats"), EVENTS)


def test_columns_are_known_with_their_dtypes_before_a_row_is_read(path: Path) -> None:
    with open_events(path) as reader:
        assert isinstance(reader, EventReader)
        assert reader.num_rows() in (1000, None)
        assert reader.columns() == (dict.fromkeys(DTYPES, np.dtype(float)) if path.suffix == ".csv" else DTYPES)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first_row=st.integers(0, 1100), rows_per_chunk=st.integers(1, 1200), names=st.permutations(list(EVENTS)))
def test_chunks_are_all_rows_from_the_first_one_on_in_their_order(
    path: Path, first_row: int, rows_per_chunk: int, names: list[str]
) -> None:
    names = names[:2]
    rows_per_chunk = max(rows_per_chunk, 50)
    with open_events(path) as reader:
        row = first_row
        for chunk in reader.chunks(names, first_row=first_row, rows_per_chunk=rows_per_chunk):
            assert chunk.first_row == row
            assert list(chunk.columns) == names
            for name, column in chunk.columns.items():
                assert 0 < len(column) <= rows_per_chunk
                assert column.dtype == reader.columns()[name]
                np.testing.assert_array_equal(column, EVENTS[name][row : row + len(column)])
            row += len(chunk.columns[names[0]])
    assert row == max(first_row, 1000)


def test_every_format_gives_the_same_events(path: Path) -> None:
    events = read_events(path, {"x": "x", "Q2": "Q2"}, weight="n")
    np.testing.assert_array_equal(events.column("x").numpy(), EVENTS["x"])
    np.testing.assert_array_equal(events.column("Q2").numpy(), EVENTS["Q2"].astype(np.float32))
    assert events.weights is not None
    np.testing.assert_array_equal(events.weights.numpy(), EVENTS["n"])


@every_format
def test_file_without_rows_is_named(tmp_path: Path, write: Writer) -> None:
    path = write(tmp_path, {name: column[:0] for name, column in EVENTS.items()})
    with pytest.raises(EventsFileError, match=rf"(tree|table)?.*'{path}' has columns but no events \(0 rows\)"):
        read_events(path)


def test_missing_column_is_named_with_those_that_are_there(path: Path) -> None:
    with pytest.raises(ColumnError, match=rf"no column 'q2' in '{path}'.*'Q2'.*Did you mean 'Q2'\?"):
        read_events(path, ["q2"])
    with open_events(path) as reader, pytest.raises(ColumnError, match="no column 'q2'"):
        next(reader.chunks(["q2"]))


@every_format
def test_not_finite_values_are_counted_over_the_whole_file(tmp_path: Path, write: Writer) -> None:
    columns = some_events()
    columns["Q2"][[3, 999]] = np.nan
    path = write(tmp_path, columns)
    with pytest.raises(EventsError, match=rf"2 of 1000 events in '{path}' have .*\nColumn 'Q2' has 2, the first in row 3: nan"):
        read_events(path)


def test_files_that_are_cut_short_or_garbled_are_our_error_or_still_events(path: Path, tmp_path: Path) -> None:
    content, random = path.read_bytes(), np.random.default_rng(5)
    for trial in range(12):
        damaged = bytearray(content[: random.integers(1, len(content))] if trial % 2 else content)
        damaged[random.integers(len(damaged))] ^= 1 << int(random.integers(8))
        (tmp_path / path.name).write_bytes(bytes(damaged))
        try:
            read_events(tmp_path / path.name)
        except UnscatterError as error:
            assert path.name in str(error)  # noqa: PT017


def test_whole_numbers_in_the_first_block_of_a_text_file_may_be_followed_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unscatter.events.formats.csv._BLOCK_BYTES", 64)
    (tmp_path / "a.csv").write_text("x,flag\n" + "1,true\n" * 50 + "2.5,false\nNaN,true\n" + "3,true\n" * 50)
    events = read_events(tmp_path / "a.csv", cuts=["isfinite(x)"])
    assert events.column("x").unique().tolist() == [1, 2.5, 3]
    assert events.column("flag").sum() == 100
    (tmp_path / "b.csv").write_text("x\n" + "1\n" * 50 + "two\n")
    with pytest.raises(EventsError, match="column 'x' in '.*b.csv' holds text: row 50 is 'two'"):
        read_events(tmp_path / "b.csv")


def test_row_of_text_is_that_of_the_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [*map(str, range(999)), "what"]}), tmp_path / "a.parquet", row_group_size=300)
    with open_events(tmp_path / "a.parquet") as reader, pytest.raises(EventsError, match="row 999 is 'what'"):
        next(reader.chunks(["x"], first_row=950))


def test_bytes_of_another_machine_become_those_of_this_one(tmp_path: Path) -> None:
    np.save(tmp_path / "big.npy", np.array([1.5, 2.5], dtype=">f8"))
    with open_events(tmp_path / "big.npy") as reader:
        assert next(reader.chunks(["0"])).columns["0"].dtype.isnative


class Promising(FileReader):
    """Says that it has more rows than it has."""

    location = "a.file"

    def columns(self) -> dict[str, np.dtype]:
        return {"x": np.dtype(float)}

    def num_rows(self) -> int:
        return 3

    def _read(self, columns: tuple[str, ...], first_row: int, rows_per_chunk: int) -> Iterator[dict[str, np.ndarray]]:
        yield {"x": np.zeros(2)}

    def close(self) -> None:
        """Nothing to do."""


def test_rows_that_are_missing_at_the_end_are_noticed() -> None:
    with pytest.raises(EventsFileError, match="'a.file' is cut short: it promises 3 rows, but ends after 2"):
        list(Promising().chunks(["x"]))


def test_file_without_columns_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({}), tmp_path / "none.parquet")
    with pytest.raises(ColumnError, match=r"none.parquet' has no columns: nothing is left to be an event"):
        read_events(tmp_path / "none.parquet")
    with pytest.raises(ColumnError, match=r"no column 'x' in '.*none.parquet'. It has no columns"):
        read_events(tmp_path / "none.parquet", ["x"])


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_file_of_another_kind_is_never_proposed_to_be_unpickled(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"junk junk")
    with pytest.raises(EventsFileError, match=rf"is not an {name[2:]} file: it starts with b'junk.*'. Save .*: np.save") as error:
        open_events(tmp_path / name)
    assert "pickle" not in str(error.value)


def test_archive_without_arrays_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("notes.txt", "none")
    with pytest.raises(EventsFileError, match="a.npz' holds no array"):
        open_events(tmp_path / "a.npz")


def test_trees_of_files_that_have_none_are_refused(tmp_path: Path) -> None:
    path = WRITERS[0](tmp_path, EVENTS)
    with pytest.raises(SettingsError, match=r"'tree' is 'events', but a .parquet file .* has no trees"):
        read_events(path, tree="events")


@pytest.mark.parametrize(("write", "library"), [("ttree", "uproot"), ("hdf5_columns", "h5py")])
def test_missing_library_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str, library: str
) -> None:
    path = next(writer for writer in WRITERS if writer.__name__ == write)(tmp_path, EVENTS)
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(MissingExtraError, match=rf"needs {library}, which is not installed.*pip install 'unscatter\[io\]'"):
        read_events(path)


@pytest.mark.parametrize("ending", SUFFIXES)
def test_every_ending_has_a_reader(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"run.1{ending}"
    path.write_bytes(b"nonsense")
    assert suffix(path) == ending
    with pytest.raises(EventsError, match=r"run.1") as caught:
        read_events(path, ["x"])
    assert "the suffix" not in str(caught.value)
