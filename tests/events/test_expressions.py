"""Formulas: what they are worth, and what they refuse."""

from __future__ import annotations

import unicodedata
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unscatter.errors import ColumnError, SettingsError
from unscatter.events.expressions import FUNCTIONS, Expression

X = np.array([0.5, -2.0, 3.0, np.nan])
Y = np.array([2.0, 0.0, -1.0, 1.0])


def value(text: str) -> np.ndarray:
    return np.asarray(Expression(text)({"x": X, "y": Y, "s": 100.0}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x / (s * y)", [0.0025, -np.inf, -0.03, np.nan]),
        ("-x + 2 * y ** 2 - 7 % 4", -X + 2 * Y**2 - 3),
        ("x > 0", X > 0),
        ("0 < x < 1", [True, False, False, False]),
        ("x > 0 and y > 0", [True, False, False, False]),
        ("x > 0 or y == 0", [True, True, True, False]),
        ("not x > 0", [False, True, False, True]),
        ("(x > 0) + (y > 0)", [2.0, 0.0, 1.0, 1.0]),
        ("y and 1", [True, False, True, True]),
        ("x and 1", [True, True, True, False]),
        ("not x", [False, False, False, True]),
        ("where(y > 0, x, -1)", [0.5, -1, -1, np.nan]),
        ("maximum(abs(x), y)", [2, 2, 3, np.nan]),
        ("arctan2(y, x) + pi", np.arctan2(Y, X) + np.pi),
        ("isfinite(x) and not y == 0", [True, False, True, False]),
        ("1e3 * x", 1000 * X),
    ],
)
def test_formula_is_elementwise_what_numpy_computes(text: str, expected: object) -> None:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        np.testing.assert_array_equal(value(text), np.asarray(expected))


@given(
    a=st.floats(-1e3, 1e3),
    b=st.floats(-1e3, 1e3),
    c=st.floats(0.1, 1e3),
    one=st.sampled_from("+-*"),
    two=st.sampled_from(["<", "<=", "!="]),
)
def test_numbers_come_out_as_in_python(a: float, b: float, c: float, one: str, two: str) -> None:
    text = f"(a {one} b / c) {two} c ** 2 or a > b and not a < c"
    names = {"a": a, "b": b, "c": c}
    assert bool(Expression(text)(names)) == bool(eval(text, {}, names))


def test_single_precision_columns_are_computed_in_double_precision() -> None:
    single = np.array([0.1, 0.95], np.float32)
    result = Expression("x * 3")({"x": single})
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, single.astype(float) * 3)
    assert Expression("n * n")({"n": np.array([200], np.uint8)}).tolist() == [40000]


def test_names_are_told_in_the_order_of_their_first_use() -> None:
    assert Expression("sqrt(b) + a / b * pi - `jet pt` + E[0]").names == ("b", "a", "pi", "`jet pt`", "`E[0]`")
    assert Expression("`jet pt` + E[0]")({"jet pt": 1.0, "E[0]": 2.0}) == 3


def test_powers_overflow_instead_of_growing() -> None:
    assert Expression("9 ** 9 ** 9 ** 9 + 0 * x")({"x": 1.0}) == np.inf


def test_infinite_results_give_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isinf(Expression("1 / x")({"x": np.zeros(2)})).all()
        assert np.isnan(Expression("log(-1 + x)")({"x": np.zeros(2)})).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_takes_columns(name: str) -> None:
    number, _ = FUNCTIONS[name]
    assert value(f"{name}({', '.join(['x'] * number)})").shape == (4,)


@pytest.mark.parametrize(
    "text",
    [
        "x.real", "x.__class__", "x[0:1]", "(x)[0]", "[x, y]", "{x}", "{'a': x}", "(x, y)", "'text'", "f'{x}'", "b'a'", "None", "...", "1j",
        "lambda: x", "x if y else s", "x := 3", "x = 3", "x; y",
        "import os", "__import__('os')", "eval(x)", "open(x)", "sqrt", "sqrt(x, y)",
        "sqrt(x, out=y)", "sqrt(*x)", "sqrt(**x)", "abs()", "x.sqrt(y)", "[a for a in x]", "x in y", "x is y", "x & y", "x | y", "x ^ y",
        "~x", "x << 2", "x // y", "x @ y", "", "   ", "x +", "(" * 300 + "x" + ")" * 300, "-" * 1500 + "x", "x" * 3000,
        "9" * 500, "await x", "+".join(["x"] * 900), "*".join(["x"] * 900), "not " * 400 + "x",
    ],
)  # fmt: skip
def test_everything_but_formulas_is_refused(text: str) -> None:
    with pytest.raises((SettingsError, ColumnError)) as caught:
        value(text)
    assert len(str(caught.value)) < 3500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x & y", "& \\(write 'and'\\) cannot be used. Write for example Q2 / \\(s \\* y\\)"),
        ("sqr(x)", "there is no function 'sqr'. Did you mean 'sqrt'"),
        ("minimum(x)", "'minimum' takes 2 values without names, got 1"),
        ("x if y else s", "if \\(write where\\(condition, then, otherwise\\)\\) cannot be used"),
        ("+".join(["x"] * 900), "more than 150 operations inside one another. Make columns of its parts"),
        ("jet.pt", "a dot \\(write a name with dots between backquotes\\)"),
    ],
)
def test_refusal_says_what_to_write_instead(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Expression(text)


def test_missing_name_is_an_error_with_the_nearest() -> None:
    with pytest.raises(ColumnError, match=r"'Q22' in 'Q22 / y' is no column. Known are \['Q2', 'y'\]. Did you mean 'Q2'\?"):
        Expression("Q22 / y")({"Q2": X, "y": Y})


@given(st.text(st.characters(categories=["L", "M", "Nd", "No"]), min_size=1, max_size=3).map("x".__add__))
def test_names_are_those_that_are_written_even_where_python_takes_them_for_others(name: str) -> None:
    twins = {unicodedata.normalize("NFKC", name): 1.0, name: 2.0}
    for text in (f"{name} + 0", f"0 + `{name}`", f"0+{name}<5"):
        formula = Expression(text)
        assert [found.strip("`") for found in formula.names] == [name]
        assert formula(twins) == (1.0 if "<" in text else 2.0)


@pytest.mark.parametrize(
    "text", ["`a b` + 0 * _column_0", "_column_0 * 0 + `a b` + 0 * __column_0", "0 * _column_1 + `a b` + 0 * `_column_1`"]
)
def test_no_name_is_taken_for_one_between_backquotes(text: str) -> None:
    columns = {"a b": 100.0, "_column_0": 7.0, "_column_1": 8.0, "__column_0": 9.0}
    assert Expression(text)(columns) == 100.0
    with pytest.raises(ColumnError, match="'_*column_[01]' in .* is no column"):
        Expression(text)({"a b": 100.0})


@pytest.mark.parametrize("formula", ["{0}+{1}", "-({0}*{1})", "not {0}", "({0} and ({1} or {0}))", "where({0}, {1}, 0)", "{1} > ({0})"])
def test_formulas_that_are_not_refused_for_their_depth_can_be_evaluated(formula: str) -> None:
    deepest, text = None, "x"
    for _ in range(200):
        text = formula.format(text, "y")
        try:
            deepest = Expression(text)
        except SettingsError:
            break
    assert deepest is not None
    assert deepest({"x": X, "y": Y}).shape == X.shape
    assert deepest.conditions()


@pytest.mark.parametrize(
    ("one", "other"),
    [("x>0", "x > 0"), ("x>0", "(0.0 < x)"), ("`x` <= 1e1", "10 >= x"), ("0 < x < y", "x > 0 and x < y"), ("x > 0 or y", "0<x  or  y")],
)
def test_conditions_are_the_same_however_they_are_written(one: str, other: str) -> None:
    assert Expression(one).conditions(lambda name: name.strip("`")) == Expression(other).conditions()
    assert Expression(one).conditions() != Expression("x > 0.5").conditions()
