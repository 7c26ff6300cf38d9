"""From columns of files to events: names, formulas, cuts, faults."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from unscatter.errors import ColumnError, EventsError, SettingsError
from unscatter.events.faults import Faults
from unscatter.events.formats import Chunk
from unscatter.events.recipe import Recipe

F8 = np.dtype(np.float64)
AVAILABLE = {"Q2": F8, "y": F8, "w": F8, "E": np.dtype(object)}


def chunk(first_row: int = 0, **columns: Any) -> Chunk:
    return Chunk(first_row, {name: np.asarray(column, np.float64) for name, column in columns.items()})


def test_only_columns_that_are_used_are_needed() -> None:
    recipe = Recipe(columns={"x": "Q2 / s", "e": "E[3]"}, weight="2 * w", cuts=["y > 0.1"], constants={"s": 10.0})
    assert recipe.needed(AVAILABLE, "a.root") == ("Q2", "E[3]", "w", "y")
    assert recipe.names(AVAILABLE) == ("x", "e")
    assert Recipe(weight="w").needed({"Q2": F8, "w": F8}, "a.root") == ("Q2", "w")
    assert Recipe(weight="w").names({"Q2": F8, "w": F8}) == ("Q2",)


def test_columns_may_be_made_of_one_another_in_any_order_and_cut_on() -> None:
    recipe = Recipe(columns={"W2": "Q2 * (1 - x) / x", "x": "Q2 / (100 * y)"}, cuts=["x > 0.05"])
    assert recipe.needed(AVAILABLE, "a.root") == ("Q2", "y")
    prepared = recipe.apply(chunk(Q2=[4, 1], y=[0.1, 0.9]), "a.root")
    np.testing.assert_allclose(prepared.values, [[4 * 0.6 / 0.4, 0.4]], rtol=1e-6)
    assert prepared.cut == 1


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"columns": {"x": "q2"}}, ColumnError, r"no column 'q2' in 'a.root'. It has the columns 'Q2', 'y', 'w', 'E'. Did you mean 'Q2'\?"),
        ({"columns": {"x": "Q2 / q"}}, ColumnError, r"no column 'q' in 'a.root', which 'Q2 / q' names"),
        (
            {"columns": {"x": "Q2 / (s * y)", "Q2": "q2", "y": "y"}, "constants": {"s": 1.0}},
            ColumnError,
            r"^there is no column 'q2' in 'a.root'. It has the columns 'Q2', 'y', 'w', 'E'. Did you mean 'Q2'\?$",
        ),
        ({"columns": {"x": "Q2 / (s * y)"}}, ColumnError, r"'E'; there are no constants.\nIf 's' is a number, write constants: {s: ...}.$"),
        (
            {"columns": {"x": "Q2 / (S * y)"}, "constants": {"s": 1.0}},
            ColumnError,
            r"'E'; the constants are 's'. Did you mean 's'\?\nIf 'S' is a number, write constants: {S: ...}.$",
        ),
        ({"columns": {"x": "Q2 * Pi"}}, ColumnError, r"Did you mean 'pi'\?"),
        ({"columns": {"xB": "Q2 / y", "W2": "Q2 / xb"}}, ColumnError, r"Did you mean 'xB'\?"),
        ({"columns": {"x": "Q2 / (`S` * y)"}, "constants": {"s": 1.0}}, ColumnError, r"'S' in 'a.root', which .* names. It has .* 'E'.$"),
        ({"columns": {"x": "x / 2"}}, ColumnError, "no column 'x' in 'a.root', which 'x / 2' names. It has .* 'E'.$"),
        ({"columns": {"x": "z + 1", "z": "x + 1"}}, ColumnError, "no column '[xz]'"),
        ({"columns": {"x": "3.5"}}, ColumnError, r"no column '3.5'"),
        ({"columns": {"x": "w if y else Q2"}}, SettingsError, r"if \(write where\(condition, then, otherwise\)\) cannot be used"),
        ({"columns": {"x": "log(-1)"}}, ColumnError, r"'log\(-1\)' names no column of 'a.root', which has the columns 'Q2', 'y'"),
        ({"weight": "-1"}, ColumnError, r"'-1' names no column of 'a.root'"),
        ({"columns": {"x": "pi", "y": "s * 2"}, "constants": {"s": 1.0}}, ColumnError, r"'pi' names no column of 'a.root'"),
        ({"columns": {"x": "the x"}}, ColumnError, r"no column 'the x' in 'a.root'"),
        ({"cuts": ["y >"]}, SettingsError, r"'y >' is not a formula: invalid syntax. Write for example"),
        (
            {"columns": {"Q2": "Q2 / 1e6"}, "cuts": ["Q2 > 3"]},
            SettingsError,
            r"'Q2' in 'Q2 > 3' has two meanings.*\nWrite `Q2` between backq",
        ),
        ({"columns": {"x": "Q2 / y"}, "constants": {"y": 2.0}}, SettingsError, r"two meanings: a column of 'a.root' and a constant"),
        ({"weight": "w", "columns": None, "only": "w"}, ColumnError, "no columns but the weight 'w'"),
    ],
)
def test_wrong_names_are_explained(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    only = settings.pop("only", None)
    with pytest.raises(error, match=message):
        Recipe(**settings).needed({only: F8} if only else AVAILABLE, "a.root")


def test_name_between_backquotes_is_always_the_file_s() -> None:
    recipe = Recipe(columns={"Q2": "Q2 / 1e6"}, cuts=["`Q2` > 3e6"])
    assert recipe.apply(chunk(Q2=[2e6, 4e6]), "a.root").values.tolist() == [[4.0]]


def test_columns_without_names_take_those_that_are_asked_for() -> None:
    plain = {"0": F8, "1": F8, "2": F8}
    recipe = Recipe(columns=["Q2", "y"], weight="w", cuts=["Q2 > 2"])
    assert recipe.needed(plain, "a.npy") == ("0", "1", "2")
    prepared = recipe.apply(Chunk(0, {"0": np.array([1.0, 3.0]), "1": np.array([0.5, 0.6]), "2": np.array([7.0, 8.0])}), "a.npy")
    np.testing.assert_allclose(prepared.values, [[3, 0.6]], rtol=1e-6)
    assert prepared.weights is not None
    assert prepared.weights.tolist() == [8.0]
    assert Recipe(columns={"Q2": "2"}).needed(plain, "a.npy") == ("2",)


@given(
    table=arrays.arrays(
        np.float64, st.tuples(st.integers(1, 40), st.just(3)), elements=st.sampled_from([0.0, 1.0, -1.0, 2.5, np.nan, np.inf])
    )
)
def test_kept_cut_and_dropped_rows_are_all_rows(table: np.ndarray) -> None:
    columns = {"a": table[:, 0], "b": table[:, 1], "w": np.abs(table[:, 2])}
    prepared = Recipe(columns=["a", "b"], weight="w", cuts=["a >= 0"], not_finite="drop").apply(Chunk(0, columns), "a.npy")
    keep = [[a, b, abs(w)] for a, b, w in table.tolist() if a >= 0 and np.isfinite([a, b, w]).all()]  # the law, row by row
    assert prepared.values.tolist() == [row[:2] for row in keep]
    assert prepared.weights is not None
    assert prepared.weights.tolist() == [row[2] for row in keep]
    assert prepared.cut == sum(not a >= 0 for a in table[:, 0])
    assert len(prepared.values) + prepared.cut + prepared.dropped == len(table)


def test_rows_that_a_cut_removes_may_hold_anything() -> None:
    recipe = Recipe(columns={"x": "Q2 / y"}, cuts=["y > 0"])
    assert recipe.apply(chunk(Q2=[1, np.nan, 4], y=[0, np.nan, 2]), "a.root").values.tolist() == [[2.0]]


def test_flag_that_is_missing_is_not_true() -> None:
    recipe = Recipe(columns=["x"], cuts=["good"])
    assert recipe.apply(chunk(x=[1, 2, 3], good=[1, np.nan, 0]), "a.root").values.tolist() == [[1.0]]


def test_faults_name_the_row_of_the_file_the_column_and_its_formula() -> None:
    recipe = Recipe(columns={"x": "Q2 / y", "Q2": "Q2"}, cuts=["Q2 > 0"])
    with pytest.raises(EventsError, match=r"1 of 2 events in 'a.root' has [\s\S]*Column 'x = Q2 / y' has 1, the first in row 102: inf"):
        recipe.apply(chunk(100, Q2=[0, 1, 1], y=[0, 1, 0]), "a.root")
    with pytest.raises(EventsError, match=r"1 of 2 weights 'w' in 'a.root' are negative, the first in row 11: -1"):
        Recipe(columns=["y"], weight="w").apply(chunk(10, y=[1, 1], w=[1, -1]), "a.root")


def test_values_too_large_for_the_precision_are_an_error_even_if_others_are_dropped() -> None:
    recipe = Recipe(columns={"x": "exp(y)"}, not_finite="drop")
    with pytest.raises(EventsError, match=r"column 'x = exp\(y\)' in 'a.root' does not fit into torch.float32: row 6 is 7.22597e\+86"):
        recipe.apply(chunk(5, y=[1, 200.0]), "a.root")


def test_faults_of_chunks_add_up_to_those_of_the_file() -> None:
    recipe, rows = Recipe(columns=["a"], weight="w"), np.array([1, np.nan, 2, np.inf, np.nan])
    whole = recipe.prepare(chunk(a=rows, w=[1, 1, -1, 1, -2]), "f")[1]
    parts = [recipe.prepare(chunk(first, a=rows[first : first + 2], w=[[1, 1], [-1, 1], [-2]][first // 2]), "f")[1] for first in (0, 2, 4)]
    total = Faults()
    for part in parts:
        total += part
    assert str(total) == str(whole)


def test_events_are_contiguous_column_by_column() -> None:
    for cuts in ((), ("a > 1",)):
        recipe = Recipe(columns=["a", "b"], cuts=cuts, not_finite="drop")
        assert recipe.apply(chunk(a=[1, 2, 3], b=[3, 4, np.nan]), "f").values.T.flags.c_contiguous


def test_one_column_of_the_file_may_become_several_and_the_weight_too() -> None:
    recipe = Recipe(columns={"a": "x", "b": "x"}, weight="x")
    prepared = recipe.apply(chunk(x=[1, 2]), "f")
    assert prepared.values.tolist() == [[1, 1], [2, 2]]
    assert prepared.weights is not None
    assert prepared.weights.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"cuts": "y > 0"}, r"Write cuts=\['y > 0'\]"), ({"constants": {"s": float("nan")}}, "constant 's' must be a finite number")],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Recipe(**settings)


@pytest.mark.parametrize(
    ("settings", "other", "same"),
    [
        ({"cuts": ["x > 0", "y < s"]}, {"cuts": ["2 > y and 0 < x"]}, True),
        ({"cuts": ["x > s"]}, {"cuts": ["x > s"], "constants": {"s": 3.0}}, False),
        ({"cuts": ["x > 0"], "columns": {"x": "a"}}, {"cuts": ["a > 0"]}, True),
        ({"cuts": ["x > 0"], "columns": {"x": "Q2 / y"}}, {"cuts": ["Q2/y > 0"]}, False),
        ({"cuts": ["x > 0"], "columns": {"x": "Q2 / y"}}, {"cuts": ["x > 0"]}, False),
        ({"cuts": ["x > 0"], "columns": {"x": "x * 2"}}, {"cuts": ["x > 0"], "columns": {"x": "2 * x"}}, False),
        ({"cuts": ["is good"]}, {"cuts": ["is good"]}, True),
    ],
)
def test_conditions_are_what_names_mean(settings: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    one, two = Recipe(**{"constants": {"s": 2.0}, **settings}), Recipe(**other)
    assert (one.conditions() == two.conditions()) is same


def test_conditions_over_columns_made_of_one_another_do_not_grow_with_their_depth() -> None:
    # Far too deep for formulas in the places of names: their text would double with every column.
    columns = {"c0": "a"} | {f"c{i}": f"c{i - 1} * c{i - 1}" for i in range(1, 400)}
    (said,) = Recipe(columns=columns, cuts=["c399 > 0"]).conditions()
    assert len(said) < 100
    (other,) = Recipe(columns={**columns, "c0": "b"}, cuts=["c399 > 0"]).conditions()
    (same,) = Recipe(columns=dict(reversed(columns.items())), cuts=["0 < c399"]).conditions()
    assert other != said
    assert same == said


@pytest.mark.parametrize("columns", [{"x": "z + 1", "z": "x + 1"}, {"x": "x + y", "y": "y + x"}, {"x": "y", "y": "x"}])
def test_conditions_over_columns_that_go_in_circles_are_there_and_depend_on_them(columns: dict[str, str]) -> None:
    said = Recipe(columns=columns, cuts=["x > 0"]).conditions()
    assert said == Recipe(columns=columns, cuts=["0 < x"]).conditions()
    assert said != Recipe(columns={**columns, "x": "2 * x"}, cuts=["x > 0"]).conditions()
