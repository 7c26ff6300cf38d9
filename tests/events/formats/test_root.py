"""What is special about ROOT files: trees, lists per event, objects."""

from __future__ import annotations

from pathlib import Path

import awkward
import numpy as np
import pytest
import uproot

from unscatter.errors import ColumnError, EventsError, EventsFileError, SettingsError
from unscatter.events import column_names, read_events

LISTS = [[1.0, 2.0], [], [3.0], [4.0, 5.0, 6.0]]
COLUMNS = {"E": awkward.Array(LISTS), "p4": np.arange(16.0).reshape(4, 4), "Q2": np.array([4.0, 9.0, 16.0, 25.0])}


@pytest.fixture(params=["ttree", "rntuple"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with uproot.recreate(tmp_path / "lists.root") as file:
        if request.param == "ttree":
            file.mktree("events", {"E": "var * float64", "p4": ("f8", (4,)), "Q2": "f8"}).extend(COLUMNS)
        else:
            file.mkrntuple("events", COLUMNS)
    return tmp_path / "lists.root"


def test_jagged_branch_is_refused_with_how_to_select(path: Path) -> None:
    with pytest.raises(
        EventsError, match=r"branch 'E' of '.*lists.root' holds .*, a list of numbers per event[\s\S]*'E\[0\]' for the first"
    ):
        read_events(path)
    with pytest.raises(EventsError, match=r"branch 'p4' .* a list of numbers per event"):
        read_events(path, ["p4"])
    assert {"E", "p4", "Q2"} <= set(column_names(path))


def test_element_of_a_list_is_a_column_and_not_a_number_where_the_list_is_too_short(path: Path) -> None:
    with pytest.raises(EventsError, match=r"1 of 4 events[\s\S]*Column 'E\[0\]' has 1, the first in row 1: nan"):
        read_events(path, {"E": "E[0]"})
    with pytest.warns(UserWarning, match=r"were dropped: 1 of 4 in '.*lists.root'"):
        events = read_events(path, {"E": "E[0]", "pz": "p4[3]", "Q2": "Q2"}, not_finite="drop")
    assert events.values.tolist() == [[1, 3, 4], [3, 11, 16], [4, 15, 25]]


def test_elements_of_lists_may_stand_in_formulas_and_cuts(path: Path) -> None:
    events = read_events(path, {"sum": "E[0] + E[1]", "pt": "hypot(p4[1], `p4[2]`)"}, cuts=["E[1] > 2"])
    np.testing.assert_allclose(events.values.numpy(), [[9, np.hypot(13, 14)]])


def test_element_of_something_else_is_an_error(path: Path) -> None:
    with pytest.raises(EventsError, match=r"branch 'Q2' .* holds double, not a list .* no 'Q2\[0\]'"):
        read_events(path, {"Q": "Q2[0]"})
    with pytest.raises(ColumnError, match=r"no column 'F\[0\]'"):
        read_events(path, {"F": "F[0]"})


def test_one_of_several_trees_has_to_be_named(tmp_path: Path) -> None:
    path = tmp_path / "trees.root"
    with uproot.recreate(path) as file:
        file.mktree("proton", {"x": "f8"}).extend({"x": np.array([0.1])})
        file.mktree("run/neutron", {"x": "f8"}).extend({"x": np.array([0.2])})
        file.mktree("empty", {"x": "f8"})
    with pytest.raises(SettingsError, match=r"holds the trees 'proton', 'run/neutron', 'empty'. Say which one: tree: proton"):
        read_events(path)
    assert read_events(path, tree="run/neutron").values.tolist() == [[pytest.approx(0.2)]]
    with pytest.raises(EventsFileError, match=r"no tree 'protn' in '.*trees.root'.* Did you mean 'proton'\?"):
        read_events(path, tree="protn")
    with pytest.raises(EventsFileError, match=r"the tree 'empty' of '.*trees.root' has columns but no events"):
        read_events(path, tree="empty")


def test_file_without_a_tree_is_named(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "h.root") as file:
        file["h"] = np.histogram([1.0, 2.0])
    with pytest.raises(EventsFileError, match=r"h.root' holds no tree"):
        read_events(tmp_path / "h.root")


def test_text_in_a_branch_is_no_number(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "text.root") as file:
        file.mkrntuple("events", {"name": awkward.Array(["a", "b"]), "x": np.array([1.0, 2.0])})
    with pytest.raises(EventsError, match=r"branch 'name' of '.*text.root' holds std::string, not one number"):
        read_events(tmp_path / "text.root")
    assert read_events(tmp_path / "text.root", ["x"]).num_events == 2


def test_colon_in_a_path_is_no_tree(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "run.root") as file:
        file.mktree("events", {"x": "f8"}).extend({"x": np.array([0.1])})
    path = (tmp_path / "run.root").rename(tmp_path / "12:30 run.root")
    assert read_events(path).num_events == 1
