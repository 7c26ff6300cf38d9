"""Files of events, good ones and every kind of bad one."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from unscatter.arrays import Events
from unscatter.errors import ColumnError, EventsError, EventsFileError, SettingsError, ShapeError
from unscatter.events import column_names, read_events, write_events

X = [0.1, 0.2, 0.3]
Q2 = [1.0, 4.0, 9.0]
W = [1.0, 0.5, 2.0]


def _parquet(path: Path, columns: dict[str, object]) -> Path:
    pq.write_table(pa.table(columns), path / "events.parquet")
    return path / "events.parquet"


def _csv(path: Path, columns: dict[str, object]) -> Path:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]  # type: ignore[arg-type]
    (path / "events.csv").write_text("\n".join(lines) + "\n")
    return path / "events.csv"


def _structured_npy(path: Path, columns: dict[str, object]) -> Path:
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    rows = np.empty(len(next(iter(arrays.values()))), dtype=[(name, a.dtype) for name, a in arrays.items()])
    for name, array in arrays.items():
        rows[name] = array
    np.save(path / "events.npy", rows)
    return path / "events.npy"


every_format = pytest.mark.parametrize("write", [_parquet, _csv, _structured_npy])


@every_format
def test_columns_are_renamed_and_ordered_as_asked_for(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = write(tmp_path, {"w": W, "x_bj": X, "Q2": Q2})
    events = read_events(path, {"Q2": "Q2", "x": "x_bj"}, weight="w")
    assert events.columns == ("Q2", "x")
    assert events.values.dtype == torch.float32
    torch.testing.assert_close(events.values, torch.tensor([Q2, X]).T, rtol=0, atol=0)
    assert events.weights is not None
    assert events.weights.tolist() == W


@every_format
def test_without_columns_all_but_the_weight_are_read(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = write(tmp_path, {"x": X, "w": W, "Q2": Q2})
    assert read_events(path, weight="w").columns == ("x", "Q2")
    assert read_events(path).weights is None
    assert column_names(path) == ("x", "w", "Q2")


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".npy"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_written_events_are_read_back_bit_for_bit(tmp_path: Path, suffix: str, dtype: torch.dtype) -> None:
    events = Events(torch.randn(100, 2, dtype=dtype) ** 9, ("x", "Q2"), torch.rand(100, dtype=dtype))
    back = read_events(write_events(events, tmp_path / f"events{suffix}"), weight="weight", dtype=dtype)
    assert back.columns == events.columns
    assert torch.equal(back.values, events.values)
    assert back.weights is not None
    assert events.weights is not None
    assert torch.equal(back.weights, events.weights)


def test_integers_decimals_and_big_endian_numbers_are_numbers(tmp_path: Path) -> None:
    from decimal import Decimal

    path = _parquet(tmp_path, {"n": [1, 2], "d": [Decimal("0.5"), Decimal("1.5")], "h": pa.array(np.array([1, 2], np.float16))})
    assert read_events(path).values.tolist() == [[1, 0.5, 1], [2, 1.5, 2]]
    np.save(tmp_path / "big.npy", np.array([1.5, 2.5], dtype=">f8"))
    assert read_events(tmp_path / "big.npy", ["x"]).values.tolist() == [[1.5], [2.5]]


def test_columns_of_a_plain_array_are_named_in_order_or_chosen_by_position(tmp_path: Path) -> None:
    path = tmp_path / "events.npy"
    np.save(path, np.array([X, Q2, W]).T)
    named = read_events(path, ["x", "Q2"], weight="w")
    assert named.column("Q2").tolist() == Q2
    assert named.weights is not None
    assert named.weights.tolist() == W
    chosen = read_events(path, {"Q2": "1"}, weight="2")
    assert chosen.columns == ("Q2",)
    assert chosen.column("Q2").tolist() == Q2
    assert chosen.weights is not None
    assert chosen.weights.tolist() == W
    assert read_events(path).columns == column_names(path) == ("0", "1", "2")
    assert read_events(path, weight="w").columns == ("0", "1")


def test_one_dimensional_array_is_one_column(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array(X))
    assert read_events(tmp_path / "x.npy", ["x"], dtype=torch.float64).column("x").tolist() == X


def test_plain_array_without_rows_has_no_events(tmp_path: Path) -> None:
    np.save(tmp_path / "events.npy", np.zeros((0, 2)))
    with pytest.raises(EventsFileError, match="no events"):
        read_events(tmp_path / "events.npy", ["x", "y"])


def test_plain_array_with_another_number_of_columns_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "events.npy", np.zeros((4, 3)))
    with pytest.raises(ColumnError, match=r"has 3 columns without names, but 2 are named: \['x', 'y'\]"):
        read_events(tmp_path / "events.npy", ["x", "y"])
    with pytest.raises(ColumnError, match=r"no column '7'.*'0', '1', '2'"):
        read_events(tmp_path / "events.npy", {"x": "7"})


def test_directory_named_like_a_partition_adds_no_column(tmp_path: Path) -> None:
    (tmp_path / "year=2024").mkdir()
    assert read_events(_parquet(tmp_path / "year=2024", {"x": X})).columns == ("x",)


def test_missing_file_is_named_with_the_nearest_name(tmp_path: Path) -> None:
    _parquet(tmp_path, {"x": X})
    with pytest.raises(EventsFileError, match=r"no '.*evnts.parquet'.*Did you mean 'events.parquet'\?"):
        read_events(tmp_path / "evnts.parquet")
    with pytest.raises(EventsFileError, match=r"directory '.*nowhere' does not exist"):
        read_events(tmp_path / "nowhere" / "events.parquet")


def test_directory_stands_for_its_files_if_they_are_of_one_kind(tmp_path: Path) -> None:
    with pytest.raises(EventsFileError, match=r"is a directory.*holds no file that ends in .parquet"):
        read_events(tmp_path)
    _parquet(tmp_path, {"x": X})
    assert read_events(tmp_path).num_events == 3
    _csv(tmp_path, {"x": X})
    with pytest.raises(EventsFileError, match=r"is a directory.*\['events.csv', 'events.parquet'\]"):
        read_events(tmp_path)


@pytest.mark.parametrize("name", ["events.xlsx", "events"])
def test_unknown_suffix_names_the_known_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(EventsFileError, match=r"suffix '(.xlsx)?' is not .parquet, .csv, .npy, .*.root.* or"):
        read_events(tmp_path / name)


@every_format
def test_wrong_column_names_those_that_exist_and_the_nearest(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = write(tmp_path, {"x": X, "Q2": Q2})
    with pytest.raises(ColumnError, match=r"no column 'q2' in '.*events.*'. It has the columns 'x', 'Q2'. Did you mean 'Q2'\?"):
        read_events(path, ["x", "q2"])
    with pytest.raises(ColumnError, match="no column 'weight'"):
        read_events(path, weight="weight")


@pytest.mark.parametrize(
    ("text", "hint"),
    [("x;Q2\n0.1;4.0\n", "separate the columns by commas"), ("# from the farm\nx,Q2\n0.1,4.0\n", "first line seems to be a comment")],
)
def test_csv_without_proper_header_is_recognised(tmp_path: Path, text: str, hint: str) -> None:
    (tmp_path / "events.csv").write_text(text)
    with pytest.raises(ColumnError, match=hint):
        read_events(tmp_path / "events.csv", ["x"])


@pytest.mark.parametrize("text", ["1,2\n3,4\n", "0.1\n0.2\n", "-1,2e3,nan\n0,0,0\n"])
def test_csv_whose_first_line_is_an_event_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "events.csv").write_text(text)
    with pytest.raises(EventsFileError, match=r"(?s)would have the column.*first line seems to hold numbers: add a line with the names"):
        read_events(tmp_path / "events.csv")


def test_csv_whose_columns_have_positions_for_names_is_read(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("0,1\n3,4\n5,6\n")
    assert read_events(tmp_path / "events.csv", {"x": "1"}).column("x").tolist() == [4, 6]


def test_column_that_stands_twice_in_the_file_is_ambiguous(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("x,x,y\n1,2,3\n")
    with pytest.raises(ColumnError, match="more than one column 'x'"):
        read_events(tmp_path / "events.csv", ["x"])
    assert read_events(tmp_path / "events.csv", ["y"]).values.tolist() == [[3.0]]


@pytest.mark.parametrize("name", ["e.parquet", "e.csv", "e.npy"])
def test_file_of_zero_bytes_is_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(EventsFileError, match=r"is empty \(0 bytes\)"):
        read_events(tmp_path / name)


@every_format
def test_file_without_rows_has_no_events(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = write(tmp_path, {"x": np.empty(0), "y": np.empty(0)})
    with pytest.raises(EventsFileError, match="no events"):
        read_events(path)


@every_format
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_counted_with_the_first_row(tmp_path: Path, write: Callable[..., Path], bad: float) -> None:
    path = write(tmp_path, {"x": X, "q": [1.0, bad, bad]})
    seen = "nan" if bad != bad else f"{bad:g}"
    with pytest.raises(EventsError, match=rf"2 of 3 events in '.*events.*'.*\nColumn 'q' has 2, the first in row 1: {seen}"):
        read_events(path, {"x": "x", "Q2": "q"})
    assert read_events(path, ["x"]).num_events == 3


def test_missing_values_count_as_not_finite(tmp_path: Path) -> None:
    with pytest.raises(EventsError, match="Column 'x' has 1, the first in row 1: nan"):
        read_events(_parquet(tmp_path, {"x": [1, None, 3]}))
    (tmp_path / "gap.csv").write_text("x,y\n1,1\n,2\n3,3\n")
    with pytest.raises(EventsError, match="Column 'x' has 1, the first in row 1: nan"):
        read_events(tmp_path / "gap.csv")


@every_format
def test_text_in_a_column_is_shown_with_its_first_row(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = write(tmp_path, {"x": ["0.1", "0.2", "none of it"], "y": X})
    with pytest.raises(EventsError, match=r"column 'x' in '.*' holds text: row 2 is 'none of it'"):
        read_events(path)
    assert read_events(path, ["y"]).num_events == 3


def test_column_of_dates_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EventsError, match=r"column 't' in '.*' holds timestamp"):
        read_events(_parquet(tmp_path, {"t": pa.array([0, 1], pa.timestamp("s"))}))


@every_format
def test_negative_weights_are_counted_with_the_first_row(tmp_path: Path, write: Callable[..., Path]) -> None:
    path = write(tmp_path, {"x": X, "w": [1.0, -0.25, -1.0]})
    with pytest.raises(EventsError, match=r"2 of 3 weights 'w' in '.*' are negative, the first in row 1: -0.25"):
        read_events(path, weight="w")


def test_weights_that_are_all_zero_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(EventsError, match="all weights 'w'"):
        read_events(_parquet(tmp_path, {"x": X, "w": [0.0, 0.0, 0.0]}), weight="w")


def test_values_too_large_for_the_precision_are_an_error(tmp_path: Path) -> None:
    path = _parquet(tmp_path, {"x": [1.0, 1e300]})
    with pytest.raises(EventsError, match=r"does not fit into torch.float32: row 1 is 1e\+300"):
        read_events(path)
    assert read_events(path, dtype=torch.float64).values.tolist() == [[1.0], [1e300]]


@every_format
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_file_that_is_cut_short_or_garbled_is_named(tmp_path: Path, write: Callable[..., Path], share: float) -> None:
    path = write(tmp_path, {"x": list(np.arange(2000.0)), "y": list(np.arange(2000.0))})
    content = path.read_bytes()
    garbled = content[: int(share * len(content))]
    path.write_bytes(garbled.rstrip(b"0123456789.,\n") + b"\n5," if path.suffix == ".csv" else garbled)
    with pytest.raises((EventsFileError, EventsError), match=r"damaged, cut short or not a|NaN or infinite"):
        read_events(path, ["x", "y"])


def test_csv_with_a_row_of_another_length_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("x,y\n1,2\n3\n")
    with pytest.raises(EventsFileError, match=r"damaged.*Expected 2 columns, got 1"):
        read_events(tmp_path / "events.csv")


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}, None], dtype=object))
    with pytest.raises(EventsFileError, match="Object arrays cannot be loaded"):
        read_events(tmp_path / "objects.npy")
    (tmp_path / "pickled.npy").write_bytes(pickle.dumps([1.0, 2.0]))
    with pytest.raises(EventsFileError, match=r"pickled.npy' is not an npy file") as caught:
        read_events(tmp_path / "pickled.npy")
    assert "allow_pickle" not in str(caught.value)


@pytest.mark.parametrize("shape", [(), (3, 0), (2, 3, 4)])
def test_array_with_other_than_one_or_two_axes_is_an_error(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "events.npy", np.zeros(shape))
    with pytest.raises(EventsFileError, match="holds an array of the shape"):
        read_events(tmp_path / "events.npy")


def test_complex_numbers_are_not_events(tmp_path: Path) -> None:
    np.save(tmp_path / "events.npy", np.zeros(3, complex))
    with pytest.raises(EventsError, match="holds complex128"):
        read_events(tmp_path / "events.npy", ["x"])


def test_file_without_permission_is_named_with_the_line_that_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _parquet(tmp_path, {"x": X})
    if os.geteuid() == 0:

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(pq, "ParquetFile", refuse)
    path.chmod(0)
    with pytest.raises(EventsFileError, match=r"permission denied. Allow it: chmod u\+r"):
        read_events(path)


def test_impossible_settings_are_refused(tmp_path: Path) -> None:
    path = _parquet(tmp_path, {"x": X})
    with pytest.raises(SettingsError, match=r"Write columns=\['x'\]"):
        read_events(path, "x")
    with pytest.raises(SettingsError, match="'columns' is empty"):
        read_events(path, [])
    with pytest.raises(SettingsError, match="twice"):
        read_events(path, ["x", "x"])
    with pytest.raises(SettingsError, match="float16"):
        read_events(path, dtype=torch.float16)


def test_existing_file_is_never_written_over(tmp_path: Path) -> None:
    path = _parquet(tmp_path, {"x": X})
    before = path.read_bytes()
    with pytest.raises(EventsFileError, match="exists already and is not written over"):
        write_events(Events(torch.ones(2, 1), ("x",)), path)
    assert path.read_bytes() == before


def test_events_that_cannot_be_written_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(EventsFileError, match="mkdir -p"):
        write_events(Events(torch.ones(2, 1), ("x",)), tmp_path / "new" / "events.npy")
    with pytest.raises(ShapeError, match=r"\(5, 2, 1\)"):
        write_events(Events(torch.ones(5, 2, 1), ("x",)), tmp_path / "events.npy")
    with pytest.raises(ColumnError, match="column 'weight' already"):
        write_events(Events(torch.ones(2, 1), ("weight",), torch.ones(2)), tmp_path / "events.npy")
    with pytest.raises(EventsFileError, match="suffix"):
        write_events(Events(torch.ones(2, 1), ("x",)), tmp_path / "events.root")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
@pytest.mark.parametrize("name", ["weight", "Weights"])
def test_forgotten_weights_are_told_and_used_or_left_out_weights_are_not(tmp_path: Path, suffix: str, name: str) -> None:
    events = Events(torch.rand(4, 1), ("x",), torch.tensor([1.0, 2.0, -1.0, torch.nan]))
    path = write_events(events, tmp_path / f"data{suffix}", weight=name)
    with pytest.warns(UserWarning, match=rf"(?s)the column '{name}' of '.*data.*' is not used.*weight: {name}") as caught:
        assert read_events(path, ("x",)).weights is None
    assert len(caught) == 1
    good = write_events(Events(events.values, ("x",), torch.ones(4)), tmp_path / f"good{suffix}", weight=name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_events(good, ("x",), weight=name).weights is not None
        assert read_events(good, ("x", name)).weights is None


@pytest.mark.parametrize("text", ["x,y\n1,a\n", "x,y\n1,1e60\n"])
def test_advice_about_a_column_suits_runcards_too(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(EventsError) as caught:
        read_events(path, ("x", "y"))
    assert "columns=[" not in str(caught.value)
    assert "dtype=" not in str(caught.value)
