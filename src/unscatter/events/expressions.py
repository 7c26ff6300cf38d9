"""Formulas over the columns of a file, as ``Q2 / (s * y)``: elementwise, in double precision, and never run as Python."""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, reduce
from typing import Any, NamedTuple

import numpy as np
from simpleeval import SimpleEval

from unscatter.errors import ColumnError, SettingsError
from unscatter.files import did_you_mean

_LONGEST = 2000
#: Operations inside one another: each takes a few calls of Python, which allows a thousand.
_DEEPEST = 150


def _doubles(function: np.ufunc) -> Callable[..., Any]:
    """The function in double precision, so that comparisons count as 0 and 1, and powers overflow instead of growing."""
    return lambda *arguments: function(*arguments, dtype=np.float64)


def _true(value: Any) -> Any:
    """What a condition takes for true: anything but zero, and not a missing value."""
    return (value != 0) & (value == value)


_OPERATORS = {
    ast.Add: _doubles(np.add), ast.Sub: _doubles(np.subtract), ast.Mult: _doubles(np.multiply), ast.Div: _doubles(np.true_divide),
    ast.Mod: _doubles(np.mod), ast.Pow: _doubles(np.power), ast.USub: _doubles(np.negative), ast.UAdd: _doubles(np.positive),
    ast.Eq: np.equal, ast.NotEq: np.not_equal, ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal,
    ast.Not: lambda value: ~_true(value),
}  # fmt: skip

_ONE = {
    "sqrt": np.sqrt, "exp": np.exp, "log": np.log, "log10": np.log10, "abs": np.abs, "sign": np.sign, "floor": np.floor, "ceil": np.ceil,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "arcsin": np.arcsin, "arccos": np.arccos, "arctan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
}  # fmt: skip
_TWO = {"minimum": np.minimum, "maximum": np.maximum, "arctan2": np.arctan2, "hypot": np.hypot}

#: Functions by name: how many arguments they take, and what they do.
FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    **{name: (1, _doubles(function)) for name, function in _ONE.items()},
    **{name: (2, _doubles(function)) for name, function in _TWO.items()},
    "isfinite": (1, np.isfinite),
    "where": (3, lambda condition, then, otherwise: np.where(_true(condition), then, otherwise)),
}

#: Numbers that expressions may name without being given them.
NUMBERS = {"pi": np.pi}

#: Names that are not identifiers: anything between backquotes, and elements of lists, ``E[0]``; then identifiers, but those of functions.
_NAME = re.compile(r"`([^`]+)`|([A-Za-z_]\w*(?:\.\w+)*\[\d+\])|((?!\d)\w(?:\w|[^\x00-\x7f\s])*+)(?!\s*\()")

_NODES = (ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.And, ast.Or, *_OPERATORS)

#: Parts of Python that people try, in words.
_WORDS: dict[type, str] = {
    ast.Attribute: "a dot (write a name with dots between backquotes)", ast.Subscript: "a bracket", ast.BitAnd: "& (write 'and')",
    ast.BitOr: "| (write 'or')", ast.BitXor: "^ (write ** for powers)", ast.Invert: "~ (write 'not')",
    ast.IfExp: "if (write where(condition, then, otherwise))", ast.FloorDiv: "// (write floor(a / b))",
}  # fmt: skip


#: Comparisons that say the same with their sides exchanged.
_MIRRORED: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Gt: ast.Lt, ast.GtE: ast.LtE}


class _Parsed(NamedTuple):
    source: str
    tree: ast.expr
    names: tuple[str, ...]
    placeholders: dict[str, str]

    @property
    def written(self) -> dict[str, str]:
        """Names as they were written, by what stands for them."""
        return {placeholder: name for name, placeholder in self.placeholders.items()}


class Expression:
    """A formula over columns: numbers, names, ``+ - * / % **``, comparisons, ``and or not`` and functions.

    The functions are sqrt, exp, log, log10, abs, sign, floor, ceil, sin, cos, tan, arcsin, arccos, arctan, sinh, cosh, tanh, isfinite;
    minimum, maximum, arctan2, hypot of two values; ``where(condition, then, otherwise)``.  ``pi`` is known.

    Everything is elementwise and in double precision; ``0.01 < y < 0.95`` means both.  A name between backquotes may hold anything;
    ``E[0]`` is a name too.  Nothing else of Python is understood: no attributes, no assignments, no texts, no calls of other functions.

    Args:
        text: the formula.

    Raises:
        SettingsError: the text is not such a formula.

    Example:
        >>> formula = Expression("Q2 / (s * y)")
        >>> formula.names
        ('Q2', 's', 'y')
        >>> formula({"Q2": np.array([4.0, 9.0]), "y": np.array([0.1, 0.5]), "s": 100.0})
        array([0.4 , 0.18])
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._parsed = _parse(text)

    @property
    def names(self) -> tuple[str, ...]:
        """Names that need values, in the order of their first use; those that were written between backquotes with them."""
        return self._parsed.names

    def __call__(self, columns: Mapping[str, Any]) -> Any:
        """The value for every row, ``[rows]``; a single number where no column is named.

        Division by zero, logarithms of zero and the like give infinity or NaN, without a warning.

        Args:
            columns: arrays ``[rows]`` or numbers, by name.

        Raises:
            ColumnError: a name has no value.
        """
        _, tree, names, placeholders = self._parsed
        values = {placeholders.get(name, name): np.asarray(_value(name, columns, self.text), np.float64) for name in names}
        with np.errstate(all="ignore"):
            return _Elementwise(values).eval(self.text, previously_parsed=tree)

    def conditions(self, meaning: Callable[[str], str] = str) -> frozenset[str]:
        """What has to be true for the formula to be true, each part in one spelling, however it is written.

        Args:
            meaning: the text that stands for a name.

        Example:
            >>> Expression("0 < x<=1 and (y)>2").conditions() == Expression("2.0 < y and x <= 1 and x > 0").conditions()
            True
        """
        written = self._parsed.written
        tree = _Spelled(lambda name: meaning(written.get(name, name))).visit(ast.parse(self._parsed.source, mode="eval").body)
        return frozenset(map(ast.unparse, _parts(tree)))

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def _value(name: str, columns: Mapping[str, Any], text: str) -> Any:
    plain = name.strip("`")
    for known in (name, plain):
        if known in columns:
            return columns[known]
    if plain in NUMBERS:
        return NUMBERS[plain]
    raise ColumnError(f"'{plain}' in '{text}' is no column. Known are {list(columns)}.{did_you_mean(plain, list(columns))}")


class _Elementwise(SimpleEval):
    """simpleeval with conditions for every row instead of one."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        functions = {name: function for name, (_, function) in FUNCTIONS.items()}
        super().__init__(operators=_OPERATORS, functions=functions, names=dict(values))

    def _eval_boolop(self, node: ast.BoolOp) -> Any:
        join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        return reduce(join, [_true(self._eval(value)) for value in node.values])

    def _eval_compare(self, node: ast.Compare) -> Any:
        sides = [self._eval(side) for side in (node.left, *node.comparators)]
        pairs = zip(node.ops, sides[:-1], sides[1:], strict=True)
        return reduce(np.logical_and, [self.operators[type(compare)](left, right) for compare, left, right in pairs])

    @staticmethod
    def _eval_constant(node: ast.Constant) -> Any:
        return np.asarray(node.value, np.float64)[()]


class _Spelled(ast.NodeTransformer):
    """One spelling: what names mean in their place, numbers in double precision, chains of comparisons taken apart, none with ``>``."""

    def __init__(self, meaning: Callable[[str], str]) -> None:
        self._meaning = meaning

    def visit_Name(self, node: ast.Name) -> ast.Name:
        # What a name means may be a number, or hold any characters: nothing evaluates this tree, it is only written as text again.
        return ast.Name(node.id if node.id in FUNCTIONS else self._meaning(node.id))

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant(float(node.value))  # pyright: ignore[reportArgumentType] - formulas hold no other constants

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        left, *others = [self.visit(side) for side in (node.left, *node.comparators)]
        parts = [_compared(*part) for part in zip([left, *others], node.ops, others, strict=False)]
        return parts[0] if len(parts) == 1 else ast.BoolOp(ast.And(), parts)


def _compared(left: ast.expr, compare: ast.cmpop, right: ast.expr) -> ast.expr:
    mirrored = _MIRRORED.get(type(compare))
    return ast.Compare(left, [compare], [right]) if mirrored is None else ast.Compare(right, [mirrored()], [left])


def _parts(tree: ast.expr) -> Iterator[ast.expr]:
    """The conditions that a condition joins by ``and``."""
    if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And):
        for value in tree.values:
            yield from _parts(value)
    else:
        yield tree


@lru_cache(maxsize=1024)
def _parse(text: str) -> _Parsed:
    if len(text) > _LONGEST:
        raise SettingsError(f"an expression of {len(text)} characters is too long: {_LONGEST} are allowed. It begins '{text[:40]}'.")
    placeholders: dict[str, str] = {}
    beginning = _unused("_column_", text)
    source = " ".join(_NAME.sub(lambda match: _placeholder(match, placeholders, beginning), text).split())
    try:
        tree = ast.parse(source, mode="eval").body
        _check_depth(tree)
        found = list(dict.fromkeys(_names(tree)))
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        raise SettingsError(f"'{text}' is not a formula: {reason}. Write for example Q2 / (s * y), or 0.01 < y and y < 0.95.") from error
    parsed = _Parsed(source, tree, (), placeholders)
    return parsed._replace(names=tuple(parsed.written.get(name, name) for name in found))


def _unused(beginning: str, text: str) -> str:
    """A beginning of names that no name in a text has."""
    while beginning in text:
        beginning = f"_{beginning}"
    return beginning


def _placeholder(match: re.Match[str], placeholders: dict[str, str], beginning: str) -> str:
    """An identifier that stands for a name which is none, or which Python would take for another one: it compares them as NFKC."""
    name = match[3] or f"`{match[1] or match[2]}`"
    if name == match[3] == unicodedata.normalize("NFKC", name):
        return name
    return placeholders.setdefault(name, f"{beginning}{len(placeholders)}")


def _check_depth(tree: ast.expr) -> None:
    """A ValueError where operations stand too deeply inside one another to be evaluated."""
    level: list[ast.AST] = [tree]
    for _ in range(_DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise ValueError(f"it has more than {_DEEPEST} operations inside one another. Make columns of its parts")


def _names(node: ast.AST) -> Iterator[str]:
    """Names of columns in the order of the text; a ValueError for whatever is not part of a formula."""
    match node:
        case ast.Name(id=name):
            yield name
        case ast.Constant(value=value):
            if not isinstance(value, int | float):
                raise ValueError(f"it holds {value!r}, which is not a number")
            float(value)
        case ast.Call(args=arguments):
            _check_call(node)
            for argument in arguments:
                yield from _names(argument)
        case _ if isinstance(node, _NODES):
            for child in ast.iter_child_nodes(node):
                yield from _names(child)
        case _:
            raise ValueError(f"{_WORDS.get(type(node), type(node).__name__)} cannot be used")


def _check_call(node: ast.Call) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    if name not in FUNCTIONS:
        hint = did_you_mean(name, list(FUNCTIONS))
        raise ValueError(f"there is no function '{name}'.{hint} Known are {', '.join(FUNCTIONS)}")
    wanted, given = FUNCTIONS[name][0], len(node.args) + len(node.keywords)
    if node.keywords or given != wanted:
        raise ValueError(f"'{name}' takes {wanted} {'value' if wanted == 1 else 'values'} without names, got {given}")
