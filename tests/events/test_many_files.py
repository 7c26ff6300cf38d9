"""Events of one channel in several files."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from unscatter.arrays import Events
from unscatter.errors import EventsError, EventsFileError
from unscatter.events import Recipe, read_events, read_parameters, write_events
from unscatter.events.store import ingest


def write(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table({name: np.asarray(column) for name, column in columns.items()}), path)
    return path


def test_files_of_a_pattern_follow_one_another_whatever_their_format(tmp_path: Path) -> None:
    write(tmp_path / "run10.parquet", x=[3.0], y=[30.0])
    write(tmp_path / "run2.parquet", y=[10.0, 20.0], x=[1.0, 2.0])
    np.save(tmp_path / "run11.npy", np.array([(4.0, 40.0)], [("x", "f8"), ("y", "f8")]))
    events = read_events(tmp_path / "run*", {"a": "x", "b": "y / 10"}, weight="y", cuts=["x != 2"])
    assert events.values.tolist() == [[1, 1], [3, 3], [4, 4]]
    assert events.weights is not None
    assert events.weights.tolist() == [10, 30, 40]


def test_cuts_may_leave_nothing_of_one_file_but_not_of_all(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", x=[1.0, 2.0])
    write(tmp_path / "b.parquet", x=[3.0])
    assert read_events([tmp_path / "a.parquet", tmp_path / "b.parquet"], cuts=["x > 2"]).values.tolist() == [[3]]
    with pytest.raises(EventsError, match=r"nothing is left of the 3 events in '.*a.parquet' and 1 more files after 'x > 5'"):
        read_events(tmp_path, cuts=["x > 5"])


def test_file_without_rows_among_others_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", x=[1.0])
    write(tmp_path / "b.parquet", x=np.empty(0))
    with pytest.raises(EventsFileError, match=r"b.parquet' has columns but no events"):
        read_events(tmp_path)


def test_files_with_other_columns_or_dtypes_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", x=[1.0], y=[1.0])
    write(tmp_path / "b.parquet", x=[1.0], z=np.array([1.0], np.float32))
    with pytest.raises(
        EventsError, match=r"b.parquet' has other columns than '.*a.parquet': more are \['z'\]; missing are \['y'\].*\n.*\['x'\]"
    ):
        read_events(tmp_path)
    assert read_events(tmp_path, ["x"]).num_events == 2
    write(tmp_path / "c.parquet", x=np.array([1.0], np.float32))
    with pytest.raises(EventsError, match=r"column 'x' is float32 in '.*c.parquet', but float64 in '.*a.parquet'"):
        read_events(tmp_path, ["x"])


def test_columns_in_another_order_are_refused_unless_they_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", x=[1.0], y=[2.0])
    write(tmp_path / "b.parquet", y=[4.0], x=[3.0])
    with pytest.raises(EventsError, match=r"their order is \['y', 'x'\]"):
        read_events(tmp_path)
    assert read_events(tmp_path, ["x", "y"]).values.tolist() == [[1, 2], [3, 4]]


def test_bad_row_is_named_with_its_file(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", x=[1.0, 2.0])
    write(tmp_path / "b.parquet", x=[3.0, np.inf, np.nan])
    with pytest.raises(EventsError, match=r"2 of 3 events in '.*b.parquet' have [\s\S]*Column 'x' has 2, the first in row 1: inf"):
        read_events(tmp_path)
    with pytest.warns(UserWarning, match=r"were dropped: 2 of 3 in '.*b.parquet'\.") as caught:
        assert read_events(tmp_path, not_finite="drop").values[:, 0].tolist() == [1, 2, 3]
    assert len(caught) == 1


def test_events_in_several_chunks_are_those_in_one(tmp_path: Path) -> None:
    table = np.random.default_rng(1).random(((1 << 20) + 1000, 2)).astype(np.float32)
    np.save(tmp_path / "long.npy", table)
    events = read_events(tmp_path / "long.npy", ["x", "y"])
    assert torch.equal(events.values, torch.from_numpy(table))
    assert events.values.is_contiguous()


def test_forgotten_weights_are_told_once(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.parquet", x=[1.0], weight=[2.0])
    with pytest.warns(UserWarning, match="the column 'weight'") as caught:
        read_events(tmp_path, ["x"])
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_events(tmp_path, ["x"], weight="2 * weight").weights is not None


def test_parameters_of_several_files_are_known_if_they_agree(tmp_path: Path) -> None:
    events = Events(torch.rand(3, 1), ("x",))
    for name, value in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        write_events(events, tmp_path / f"{name}.parquet", parameters={"p": value})
    assert read_parameters([tmp_path / "a.parquet", tmp_path / "b.parquet"]) == {"p": 1.0}
    assert read_parameters(tmp_path / "*.parquet") is None


def test_store_is_read_as_the_files_that_it_was_made_of(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"run{number}.parquet", x=np.random.default_rng(number).random(1000), w=np.arange(1000.0), y=np.ones(1000))
    how = {"columns": {"half": "x / 2"}, "weight": "w", "cuts": ["x > 0.25"]}
    ingest(tmp_path / "run*.parquet", tmp_path / "store", Recipe(**how))  # pyright: ignore[reportArgumentType]
    files, store = read_events(tmp_path / "run*.parquet", **how), read_events(tmp_path / "store")  # pyright: ignore[reportArgumentType]
    assert store.columns == files.columns
    assert torch.equal(store.values, files.values)
    assert store.weights is not None
    assert files.weights is not None
    assert torch.equal(store.weights, files.weights)
    assert read_events(tmp_path / "store", {"x": "2 * half"}, weight="2 * weight", cuts=["half < 0.2"]).column("x").max() < 0.4
