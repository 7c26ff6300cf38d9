"""What the names in formulas stand for: columns of the file, columns of the events, constants."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unscatter.errors import ColumnError, SettingsError
from unscatter.events.expressions import NUMBERS, Expression
from unscatter.events.formats.messages import listed, missing_column

#: What a name of a column may look like that is not meant as a formula, even as one of Python that is none of ours.
_NAME = re.compile(r"(?!.* if .* else )[\w .:\[\]]+")

_ELEMENT = re.compile(r"(.+)\[\d+\]")


@dataclass(frozen=True)
class Scope:
    """The names that a file and a recipe offer to formulas.

    A name is a column of the file, or a column that the recipe makes, or a constant.  One that could be two of them is an error; between
    backquotes it is always the file's.

    Args:
        available: columns of the file.
        derived: the recipe's columns, each with what it is made of.
        constants: numbers by name.
        location: the file, for messages.
    """

    available: Sequence[str]
    derived: Mapping[str, str]
    constants: Mapping[str, float]
    location: str

    def has(self, name: str) -> bool:
        """Whether a text is just the name of a column of the file, or of an element of one that holds lists."""
        element = _ELEMENT.fullmatch(name)
        return name in self.available or (element is not None and element[1] in self.available)

    def needed(self, text: str, inside: tuple[str, ...] = ()) -> Iterator[str]:
        """Columns of the file that a column or formula needs.

        Raises:
            ColumnError: one is not there.
            SettingsError: the text is no formula, or a name has two meanings.
        """
        if self.has(text):
            yield text
            return
        for name in self._formula(text).names:
            match self._meaning(name, text, inside):
                case ("file", column):
                    yield column
                case ("derived", column):
                    yield from self.needed(self.derived[column], (*inside, column))

    def value(self, text: str, columns: Mapping[str, np.ndarray], inside: tuple[str, ...] = ()) -> Any:
        """A column as the file has it, or the value of a formula, ``[rows]``."""
        if text in columns:
            return columns[text]
        formula = self._formula(text)
        return formula({name: self._named(name, text, columns, inside) for name in formula.names})

    def _named(self, name: str, text: str, columns: Mapping[str, np.ndarray], inside: tuple[str, ...]) -> Any:
        match self._meaning(name, text, inside):
            case ("file", column):
                return columns[column]
            case ("derived", column):
                return self.value(self.derived[column], columns, (*inside, column))
            case (_, constant):
                return self.constants[constant] if constant in self.constants else NUMBERS[constant]

    def _formula(self, text: str) -> Expression:
        try:
            formula = Expression(text)
        except SettingsError as error:
            if _NAME.fullmatch(text):
                raise missing_column(text, self.available, self.location) from error
            raise
        if not formula.names:
            raise missing_column(text, self.available, self.location) if _NAME.fullmatch(text) else self.no_column(text)
        return formula

    def no_column(self, text: str) -> ColumnError:
        """The error for a formula that is the same number for every event."""
        return ColumnError(f"'{text}' names no column of '{self.location}', which has {listed(self.available)}.")

    def _meaning(self, name: str, text: str, inside: tuple[str, ...]) -> tuple[str, str]:
        """Where a name of a formula comes from, and what it is called there; ``inside`` are the recipe's columns that it is part of."""
        plain = name.strip("`")
        if plain != name:
            found = ["file"] if self.has(plain) else []
        else:
            own = self.derived.get(plain) not in (None, plain) and plain not in inside
            found = [where for where, is_there in (("file", plain in self.available), ("derived", own)) if is_there]
            found += ["constant"] if plain in self.constants or (not found and plain in NUMBERS) else []
        if len(found) > 1:
            if "derived" in found:
                # A misspelt column of the file makes the name look like two: that it is missing is the cause.
                list(self.needed(self.derived[plain], (*inside, plain)))
            raise SettingsError(self._ambiguous(plain, text, found))
        if not found:
            raise self._missing(name, text, inside)
        return found[0], plain

    def _missing(self, name: str, text: str, inside: tuple[str, ...]) -> ColumnError:
        """The error for a name of a formula that nothing has; only between backquotes, or alone, it cannot be a constant."""
        plain = name.strip("`")
        if plain == text:
            return missing_column(plain, self.available, self.location)
        why = f", which '{text}' names"
        if plain != name or plain in self.derived or not plain.isidentifier():
            return missing_column(plain, self.available, self.location, why)
        own = [column for column, made_of in self.derived.items() if made_of != column and column not in inside]
        return missing_column(plain, self.available, self.location, why, constants=tuple(self.constants), others=(*own, *NUMBERS))

    def _ambiguous(self, name: str, text: str, found: Sequence[str]) -> str:
        words = {
            "file": f"a column of '{self.location}'",
            "derived": f"the column that you make from '{self.derived.get(name)}'",
            "constant": "a constant",
        }
        way_out = f" Write `{name}` between backquotes for the column of the file, or" if "file" in found else ""
        return (
            f"'{name}' in '{text}' has two meanings: {' and '.join(words[where] for where in found)}.\n"
            f"{way_out.strip()} {'rename' if way_out else 'Rename'} your own."
        ).replace("\n ", "\n")


def named_positions(names: Sequence[str], asked: Sequence[str], weight: str | None, location: str) -> dict[str, str]:
    """Names for columns that have none, by position: the ones asked for in their order, the weight last; else their positions.

    Raises:
        ColumnError: other than all columns are named.
    """
    everything = [*asked, *([weight] if weight is not None else [])]
    if not asked or all(name.isdecimal() for name in everything):
        last = names[-1] if weight is None or weight.isdecimal() else weight
        return dict(zip(names, [*names[:-1], last], strict=True))
    if len(everything) != len(names):
        raise ColumnError(
            f"'{location}' has {len(names)} {'column' if len(names) == 1 else 'columns'} without names, "
            f"but {len(everything)} are named: {everything}.\n"
            f"Name all of them in their order, or choose by position: columns={{'{asked[0]}': '0'}}."
        )
    return dict(zip(names, everything, strict=True))
