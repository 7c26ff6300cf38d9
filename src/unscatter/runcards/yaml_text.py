"""YAML to plain values, with the line of every key.

The dialect is the core schema of YAML 1.2: ``on``, ``off``, ``yes`` and ``no`` are words, ``1e-3`` is a number, ``010`` is ten, and dates
are text.  In YAML 1.1, which PyYAML speaks by itself, ``rates: on`` is a boolean and ``1e-3`` is a text.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from unscatter.errors import SettingsError
from unscatter.yaml_nodes import CheckedValues, UnreadableError, load_checked

#: Keys and positions from the top of the document to a value.
KeyPath = tuple[str | int, ...]

#: Longest excerpt of a line in a message.
_SHOWN = 120

_CORE_SCHEMA = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9](_?[0-9])*", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9](_?[0-9])*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+.0123456789"),
    ("merge", r"<<", "<"),
)


class _Loader(CheckedValues, yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (filled below; PyYAML wants a plain class attribute)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Numbers, with underscores between digits."""
        text = str(self.construct_scalar(node)).replace("_", "").lower()
        if text.endswith((".inf", ".nan")):
            return math.nan if text.endswith("nan") else math.copysign(math.inf, -1 if text.startswith("-") else 1)
        return int(text) if node.tag.endswith(":int") else float(text)


for _name, _pattern, _first in _CORE_SCHEMA:
    for _character in _first:
        _key = "" if _character == "\0" else _character
        _Loader.yaml_implicit_resolvers.setdefault(_key, []).append((f"tag:yaml.org,2002:{_name}", re.compile(rf"^(?:{_pattern})$")))
for _name in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_name}", _Loader.construct_number)


def parse(text: str, source: str) -> tuple[Any, dict[KeyPath, int]]:
    r"""Read a YAML document.

    Args:
        text: the document.
        source: its name in messages.

    Returns:
        The value, and the line (from 1) of each key and list item.

    Raises:
        SettingsError: the text is not YAML, a key stands twice in a mapping, a value holds itself, or aliases make too many values.

    Example:
        >>> parse("rates: on\nstart:\n  rate: 1e-3\n", "text")
        ({'rates': 'on', 'start': {'rate': 0.001}}, {('rates',): 1, ('start',): 2, ('start', 'rate'): 3})
    """
    try:
        value, node = load_checked(text, _Loader)
    except UnreadableError as error:
        raise SettingsError(f"'{source}' {error}") from error
    except yaml.MarkedYAMLError as error:
        raise SettingsError(_syntax_message(error, text, source)) from error
    except yaml.YAMLError as error:
        raise SettingsError(f"'{source}' is not YAML: {' '.join(str(error).split())}.") from error
    lines: dict[KeyPath, int] = {}
    if node is not None:
        _visit(node, (), lines, source)
    return value, lines


def parse_value(text: str, source: str) -> Any:
    """Read one value of YAML, as it stands behind the colon or on the command line."""
    return parse(text, source)[0]


def _visit(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], source: str) -> None:
    """Note the lines of all keys, and refuse repeated ones, of which YAML would silently keep the last."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*path, index)] = item.start_mark.line + 1
            _visit(item, (*path, index), lines, source)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen and name != "<<":
                place = f"line {line}" if line == seen[name] else f"lines {seen[name]} and {line}"
                raise SettingsError(f"'{source}' has the key '{_dotted((*path, name))}' twice ({place}). Remove one of the two.")
            seen[name] = line
            lines[(*path, name)] = line
            _visit(value, (*path, name), lines, source)


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))


def _syntax_message(error: yaml.MarkedYAMLError, text: str, source: str) -> str:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return f"'{source}' is not YAML: {error.problem}."
    lines = text.splitlines()
    shown = f"\n  {lines[mark.line][:_SHOWN]}\n  {' ' * mark.column}^" if mark.line < len(lines) and mark.column < _SHOWN else ""
    began = error.context_mark
    since = f" (begun in line {began.line + 1})" if began is not None and began.line != mark.line else ""
    context = f" {error.context}{since}:" if error.context else ""
    hint = "\nIndent with spaces, not tabs." if "\\t" in str(error.problem) else ""
    return f"'{source}' is not YAML: line {mark.line + 1}, column {mark.column + 1}:{context} {error.problem}.{shown}{hint}"
