"""From the columns of files to those of events."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal, NamedTuple

import numpy as np

from unscatter.errors import ColumnError, SettingsError
from unscatter.events.casting import Rows, kept_rows
from unscatter.events.expressions import Expression
from unscatter.events.faults import Faults
from unscatter.events.formats.messages import positional
from unscatter.events.formats.protocol import Chunk
from unscatter.events.scope import Scope, named_positions

#: A column of the file by itself.
_COLUMN = re.compile(r"`[^`]*`")


class Prepared(NamedTuple):
    """Events made from a chunk of a file."""

    values: np.ndarray
    """``[rows, columns]``; in memory column after column."""
    weights: np.ndarray | None
    """``[rows]``, or None for unit weights."""
    dropped: int
    """Rows left out because a value was NaN or infinite."""
    cut: int
    """Rows left out by the cuts."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Which columns events have, and which rows of a file are events.

    Columns, weight and cuts are names of columns of the file or formulas over them, see :class:`~unscatter.events.Expression`; formulas may
    also name constants, and columns that the recipe makes.

    Raises:
        SettingsError: a setting is impossible.

    Example:
        >>> recipe = Recipe(columns={"x": "Q2 / (s * y)"}, cuts=["y > 0.05"], constants={"s": 100.0})
        >>> chunk = Chunk(0, {"Q2": np.array([4.0, 9.0, 1.0]), "y": np.array([0.1, 0.5, 0.01])})
        >>> recipe.apply(chunk, "events.root")
        Prepared(values=array([[0.4 ],
           [0.18]], dtype=float32), weights=None, dropped=0, cut=1)
    """

    columns: Mapping[str, str] | Sequence[str] | None = None
    """``{our name: column or formula}``, or names; None for all columns of the file."""
    weight: str | None = None
    """Column or formula of the weights; None for unit weights."""
    cuts: Sequence[str] = ()
    """Conditions; a row is kept where all are true. A condition with a missing value is not true."""
    constants: Mapping[str, float] = field(default_factory=dict)
    """Numbers that formulas may name."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Units of our columns, kept beside them."""
    not_finite: Literal["fail", "drop"] = "fail"
    """What happens to rows that no cut removes and whose values are NaN or infinite."""
    dtype: Literal["float32", "float64"] = "float32"
    """Precision of the events; formulas are computed in double precision before."""

    def __post_init__(self) -> None:
        _check_columns(self.columns)
        if isinstance(self.cuts, str):
            raise SettingsError(f"'cuts' must be a list of conditions, got the text '{self.cuts}'. Write cuts=['{self.cuts}'].")
        for name, value in self.constants.items():
            if not math.isfinite(value):
                raise SettingsError(f"the constant '{name}' must be a finite number, got {value}.")
        if self.not_finite not in ("fail", "drop"):
            raise SettingsError(f"'not_finite' must be 'fail' or 'drop', got '{self.not_finite}'.")
        if self.dtype not in ("float32", "float64"):
            raise SettingsError(f"'dtype' must be 'float32' or 'float64', got '{self.dtype}'.")

    @property
    def wanted(self) -> dict[str, str]:
        """``{our name: column or formula}``; empty for all columns."""
        if self.columns is None:
            return {}
        return dict(self.columns) if isinstance(self.columns, Mapping) else {name: name for name in self.columns}

    def names(self, available: Mapping[str, Any]) -> tuple[str, ...]:
        """Columns that the events have, for a file with the columns ``available``."""
        return tuple(self._made_of(self._places(tuple(available), "the file")))

    def needed(self, available: Mapping[str, Any], location: str) -> tuple[str, ...]:
        """Columns of the file that have to be read.

        Args:
            available: columns of the file, as :meth:`~unscatter.events.formats.EventReader.columns` gives them.
            location: the file, for messages.

        Raises:
            ColumnError: one is missing.
            SettingsError: a formula is wrong, or a name in it has two meanings.
        """
        places = self._places(tuple(available), location)
        made_of = self._made_of(places)
        if not made_of:
            but = f" but the weight '{self.weight}'" if places else ""
            raise ColumnError(f"'{location}' has no columns{but}: nothing is left to be an event.")
        scope = self._scope(tuple(places), location)
        found = [name for own, text in made_of.items() for name in scope.needed(text, (own,))]
        found += [name for text in (*([] if self.weight is None else [self.weight]), *self.cuts) for name in scope.needed(text)]
        if not found:
            raise scope.no_column(next(iter(made_of.values())))
        return tuple(dict.fromkeys(places.get(name, name) for name in found))

    def conditions(self) -> frozenset[str]:
        """What the cuts say, each part in one spelling; of two recipes, one that says all that the other one says keeps no other rows.

        Example:
            >>> Recipe(cuts=["x>s", "y > 0"], constants={"s": 1}).conditions() == Recipe(cuts=["0 < y and 1 < x"]).conditions()
            True
        """
        meanings = self._meanings()
        return frozenset(said for cut in self.cuts for said in self._said(cut, meanings))

    def _meanings(self) -> dict[str, str]:
        """What names in cuts stand for where it is no column of the file by the same name: a number, such a column, or a formula's digest.

        A digest, since formulas put in the places of their names double with every column that names an earlier one twice.
        """
        formulas = {name: text for name, text in self.wanted.items() if text != name}
        meanings = {name: repr(float(value)) for name, value in self.constants.items() if name not in formulas}
        try:
            order = tuple(
                TopologicalSorter({name: _names(text) & formulas.keys() - {name} for name, text in formulas.items()}).static_order()
            )
        except CycleError:
            # Columns that are made of one another; reading will say so.
            return meanings | {name: _digest([text]) for name, text in formulas.items()}
        for name in order:
            # Inside its own formula, a name is the file's, or a constant.
            own = {name: repr(float(self.constants[name]))} if name in self.constants else {}
            said = self._said(formulas[name], meanings | own)
            first, *more = said
            meanings[name] = first if not more and _COLUMN.fullmatch(first) else _digest(said)
        return meanings

    def _said(self, text: str, meanings: Mapping[str, str]) -> frozenset[str]:
        try:
            return Expression(text).conditions(lambda name: meanings.get(name, f"`{name.strip('`')}`"))
        except SettingsError:
            # A column whose name is no identifier, or no formula at all, as reading will say.
            return frozenset([f"`{text}`"])

    def apply(self, chunk: Chunk, location: str) -> Prepared:
        """Make events of a chunk that holds the :meth:`needed` columns.

        Args:
            chunk: rows of the file.
            location: the file, for messages.

        Raises:
            EventsError: values are not finite and are not to be dropped, do not fit into ``dtype``, or weights are negative.
        """
        prepared, faults = self.prepare(chunk, location)
        faults.check(location, self.weight)
        return prepared

    def prepare(self, chunk: Chunk, location: str) -> tuple[Prepared, Faults]:
        """As :meth:`apply`, with the rows that cannot be events counted instead of refused: the sum over all chunks is that of the file."""
        places = self._places(tuple(chunk.columns), location)
        columns = {name: chunk.columns[place] for name, place in places.items()}
        scope = self._scope(tuple(columns), location)
        made = [(label(own, text), scope.value(text, columns, (own,))) for own, text in self._made_of(places).items()]
        if self.weight is not None:
            made.append((self.weight, scope.value(self.weight, columns)))
        num_rows = len(next(iter(columns.values())))
        rows = kept_rows([scope.value(cut, columns) for cut in self.cuts], num_rows)
        kept = Rows(chunk.first_row, num_rows, rows, location)
        values = kept.cast(made, np.dtype(self.dtype))
        faults, finite = kept.faults(values, [name for name, _ in made], self.weight, drop=self.not_finite == "drop")
        if finite is not None:
            values = np.compress(finite, values.T, axis=1).T
        weights = None if self.weight is None else values[:, -1]
        events = values if weights is None else values[:, :-1]
        return Prepared(events, weights, len(kept) - len(values), num_rows - len(kept)), faults

    def _made_of(self, places: Mapping[str, str]) -> dict[str, str]:
        """``{our name: column or formula}``, without the weight."""
        return self.wanted or {name: name for name in places if name != self.weight}

    def _places(self, names: Sequence[str], location: str) -> dict[str, str]:
        """The name in the file for every name that formulas may use: another one only where the file has positions instead of names."""
        if not positional(names):
            return {name: name for name in names}
        given = named_positions(names, tuple(self.wanted.values()), self.weight, location)
        return {name: place for place, name in given.items()}

    def _scope(self, names: Sequence[str], location: str) -> Scope:
        return Scope(names, self.wanted, self.constants, location)


def _names(text: str) -> set[str]:
    """Names in a formula; none where it is none."""
    try:
        return set(Expression(text).names)
    except SettingsError:
        return set()


def _digest(said: Iterable[str]) -> str:
    """What stands for conditions or a formula, in a length that does not depend on theirs."""
    return f"({hashlib.sha256(' and '.join(sorted(said)).encode(errors='surrogatepass')).hexdigest()})"


def label(name: str, text: str) -> str:
    """A column in messages: as the file calls it, or our name with its formula."""
    return text if text == name or not set(text) & set("+-*/%()<>= ") else f"{name} = {text}"


def _check_columns(columns: Mapping[str, str] | Sequence[str] | None) -> None:
    if isinstance(columns, str):
        raise SettingsError(f"'columns' must be a list of names, got the text '{columns}'. Write columns=['{columns}'].")
    if columns is not None and not columns:
        raise SettingsError("'columns' is empty. Name at least one column, or leave it out to read all of them.")
    if columns is not None and not isinstance(columns, Mapping) and len(set(columns)) != len(columns):
        raise SettingsError(f"'columns' names a column twice: {list(columns)}.")
