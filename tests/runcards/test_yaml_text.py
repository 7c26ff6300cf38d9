"""The dialect of YAML, and where things stand in it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from unscatter.errors import SettingsError
from unscatter.runcards.yaml_text import parse, parse_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("-2E+4", -2e4), ("1.", 1.0), (".5", 0.5), ("100_000", 100_000), ("010", 10), ("+7", 7), ("-.inf", -math.inf),
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("NO", "NO"), ("true", True), ("False", False), ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"), ("~", None), ("", None), ("[1, 2e0]", [1, 2.0]), ("data.parquet", "data.parquet"), ("'1'", "1"),
        ("1_", "1_"), ("e3", "e3"), ("0x10", "0x10"), ("-", [None]),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    read = parse_value(text, "text")
    assert (read, type(read)) == (value, type(value))


def test_not_a_number_is_read() -> None:
    assert math.isnan(parse_value(".nan", "text"))


#: Text that does not fit its tag.
BAD_TAGS = ("int abc", "int ''", "float abc", "bool abc", "timestamp abc", "timestamp 2020-99-99")

#: Nine lists of nine aliases each, one inside the other.
BOMB = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))


def test_every_key_and_item_has_its_line() -> None:
    value, lines = parse("a:\n  b: 1\n  c:\n  - x\n  - {d: 2}\n", "text")
    assert value == {"a": {"b": 1, "c": ["x", {"d": 2}]}}
    assert lines == {("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", 0): 4, ("a", "c", 1): 5, ("a", "c", 1, "d"): 5}


def test_anchors_and_merge_keys_work() -> None:
    value, _ = parse("base: &base {x: 1}\nmore: {<<: *base, y: 2}\n", "text")
    assert value["more"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 1,\n  c: 2}\n", r"'card.yaml' has the key 'b.c' twice \(lines 2 and 3\)"),
        ("a: [1,\nb: 2\n", r"is not YAML: line 3, column 1: while parsing a flow sequence \(begun in line 1\): expected ',' or '\]'"),
        ("a: 1\n\tb: 2\n", r"line 2, column 1[\s\S]*Indent with spaces, not tabs"),
        ("a: b: c\n", r"line 1, column 5: mapping values are not allowed here.\n  a: b: c\n      \^"),
        ("a: !!python/object:os.system {}\n", r"could not determine a constructor"),
        ("a: 1\n---\nb: 2\n", r"expected a single document"),
        ("a: *nobody\n", r"found undefined alias"),
        ("a: \x00\n", r"'card.yaml' is not YAML"),
        ("a: &a {b: *a}\n", r"'card.yaml' holds a value inside itself"),
        *((f"a: 1\nb: !!{tag}\n", rf"line 2, column 4: this is not a value of the type '{tag.split()[0]}'") for tag in BAD_TAGS),
        ("a: " + "1" * 5000, r"line 1, column 4: this is not a value of the type 'int', or too long for one.\n  a: 1{117}\n     \^"),
        (BOMB, r"'card.yaml' holds 926,177,116 values when those behind aliases .* at most 1,000,000 are read"),
        (BOMB.replace("[x]", "{x: 1}").replace("[", "{<<: [").replace("]", "]}"), r"values when those behind aliases"),
        ("a: " + "[" * 2000 + "]" * 2000, r"nested too deeply"),
    ],
)
def test_bad_yaml_is_one_error_with_its_line(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse(text, "card.yaml")
