"""ROOT files: TTrees and RNTuples."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from unscatter.errors import EventsError
from unscatter.events.formats.extras import library
from unscatter.events.formats.file_reader import FileReader, Piece
from unscatter.events.formats.messages import readable
from unscatter.events.formats.trees import choose

_CLASSES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple", "ROOT::Experimental::RNTuple")

#: What the types of C++ are to NumPy.
_TYPES = {
    "bool": "?", "float": "f4", "double": "f8", "Float16_t": "f4", "Double32_t": "f8", "half": "f2",
    **{f"int{bits}_t": f"i{bits // 8}" for bits in (8, 16, 32, 64)}, **{f"uint{bits}_t": f"u{bits // 8}" for bits in (8, 16, 32, 64)},
    "char": "i1", "unsigned char": "u1", "short": "i2", "unsigned short": "u2", "int": "i4", "unsigned int": "u4",
    "long": "i8", "unsigned long": "u8", "long long": "i8", "unsigned long long": "u8", "Long64_t": "i8", "ULong64_t": "u8",
}  # fmt: skip

#: A list per event: ``T[]``, ``T[4]``, ``vector<T>``, ``array<T,4>``, ``ROOT::VecOps::RVec<T>``.
_LIST = re.compile(r"(?P<plain>[\w :]+)\[\d*\]|(?:std::)?(?:vector|array|ROOT::VecOps::RVec)<(?P<inner>[\w :]+)(?:,\s*\d+)?>")

_ELEMENT = re.compile(r"(.+)\[(\d+)\]")


class RootReader(FileReader):
    """One tree of a ROOT file.

    A branch with a list per event is no column, but ``E[0]`` is: the first element of each list, NaN where the list is too short.

    Args:
        location: the file.
        tree: name of the tree; needed where there are several.
    """

    # What a bent file makes of uproot: it trusts the numbers that it reads.
    damage = (LookupError, ArithmeticError, AssertionError, AttributeError, TypeError, RuntimeError, MemoryError, struct.error, zlib.error)

    def __init__(self, location: str, tree: str | None = None) -> None:
        self.location = location
        uproot = library("uproot", "ROOT files")
        self.damage = (*self.damage, uproot.deserialization.DeserializationError)
        with readable(location, *self.damage):
            self._open(uproot, tree)

    def _open(self, uproot: Any, tree: str | None) -> None:
        # As a mapping, so that a colon in a path is not taken for the name of a tree.
        self._file = uproot.open({self.location: None})
        classes = self._file.classnames(cycle=False)
        self._name = choose([name for name, kind in classes.items() if kind in _CLASSES], tree, self.location, "tree")
        self._tree = self._file[self._name]
        self._types: dict[str, str] = dict(self._tree.typenames())
        self.part = f"the tree '{self._name}' of "

    def columns(self) -> dict[str, np.dtype]:
        """Names and dtypes of the branches; dtype object for those with lists, texts or objects."""
        return {name: _number(kind) or np.dtype(object) for name, kind in self._types.items()}

    def num_rows(self) -> int:
        """Number of entries."""
        return int(self._tree.num_entries)

    def _has(self, name: str) -> bool:
        element = _ELEMENT.fullmatch(name)
        return name in self._types or (element is not None and element[1] in self._types)

    def _read(self, columns: tuple[str, ...], first_row: int, rows_per_chunk: int) -> Iterator[Piece]:
        elements = {name: self._element(name) for name in columns if name not in self._types}
        for name in columns:
            if name in self._types and _number(self._types[name]) is None:
                raise EventsError(self._not_a_number(name))
        flat = [name for name in columns if name in self._types]
        branches = {*flat, *(branch for branch, _ in elements.values())}
        steps = self._tree.iterate(
            filter_name=lambda name: name in branches, entry_start=first_row, step_size=rows_per_chunk, how=dict,
            library="ak" if elements else "np",
        )  # fmt: skip
        for step in steps:
            yield {name: _elements(step, *elements[name]) if name in elements else np.asarray(step[name]) for name in columns}

    def _element(self, name: str) -> tuple[str, int]:
        match = _ELEMENT.fullmatch(name)
        assert match is not None
        if _list_of(self._types[match[1]]) is None:
            raise EventsError(
                f"branch '{match[1]}' of '{self.location}' holds {self._types[match[1]]}, not a list of numbers per event: "
                f"there is no '{name}'."
            )
        return match[1], int(match[2])

    def _not_a_number(self, name: str) -> str:
        kind = self._types[name]
        if _list_of(kind):
            return (
                f"branch '{name}' of '{self.location}' holds {kind}, a list of numbers per event, not one number.\n"
                f"Choose an element, '{name}[0]' for the first one (NaN where there is none), for example columns: "
                f"{{{name}: '{name}[0]'}}, or leave the branch out of 'columns'."
            )
        return f"branch '{name}' of '{self.location}' holds {kind or 'an object'}, not one number per event. Leave it out of 'columns'."

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _number(kind: str) -> np.dtype | None:
    """The dtype of a type of C++; None where it is not one number."""
    code = _TYPES.get(kind.removeprefix("std::"))
    return None if code is None else np.dtype(code)


def _list_of(kind: str) -> np.dtype | None:
    """The dtype of the elements; None where it is no list of numbers."""
    match = _LIST.fullmatch(kind)
    return None if match is None else _number(match["plain"] or match["inner"])


def _elements(step: dict[str, Any], branch: str, index: int) -> np.ndarray:
    """One element of every list, NaN where there are fewer."""
    awkward = library("awkward", "lists in ROOT files")
    padded = awkward.pad_none(step[branch], index + 1, axis=1)[:, index]
    return awkward.to_numpy(awkward.fill_none(awkward.values_astype(padded, np.float64), np.nan))
