"""What is special about HDF5: where in the file a table is."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from unscatter.errors import EventsError, EventsFileError, SettingsError
from unscatter.events import column_names, read_events


def test_array_of_two_axes_has_columns_by_position(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.arange(6.0).reshape(3, 2)
    assert column_names(tmp_path / "a.h5") == ("0", "1")
    assert read_events(tmp_path / "a.h5", ["x", "Q2"]).column("Q2").tolist() == [1, 3, 5]


def test_one_of_several_tables_has_to_be_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["proton/x"], file["neutron/x"], file["neutron/Q2"] = [0.1], [0.2, 0.3], [1.0, 2.0]
    with pytest.raises(SettingsError, match="holds the tables 'neutron', 'proton'. Say which one: tree: neutron"):
        read_events(tmp_path / "a.h5")
    assert read_events(tmp_path / "a.h5", tree="/neutron/").columns == ("Q2", "x")
    with pytest.raises(EventsFileError, match=r"no table 'neutrn'.*Did you mean 'neutron'\?"):
        read_events(tmp_path / "a.h5", tree="neutrn")


def test_columns_of_different_lengths_are_an_error(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["Q2"] = [0.1, 0.2], [1.0]
    with pytest.raises(EventsFileError, match=r"columns of different lengths: \{'Q2': 1, 'x': 2\}"):
        read_events(tmp_path / "a.h5")


def test_text_and_matrices_per_event_are_no_numbers(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["name"], file["code"] = [0.1, 0.2], ["1", "abc"], np.array([b"3", b"4"])
    with pytest.raises(EventsError, match="column 'name' in '.*' holds text: row 1 is 'abc'"):
        read_events(tmp_path / "a.h5", ["x", "name"])
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["t"] = np.zeros(3, [("p", "f8", (4,)), ("x", "f4")])
    with pytest.raises(EventsError, match=r"column 'p' in '.*' holds float64 of the shape \(3, 4\), not one real number"):
        read_events(tmp_path / "b.h5")
    assert read_events(tmp_path / "b.h5", ["x"]).num_events == 3


def test_file_without_a_table_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["number"] = 3.0
    with pytest.raises(EventsFileError, match=r"a.h5' holds no table"):
        read_events(tmp_path / "a.h5")
