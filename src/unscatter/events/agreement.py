"""Whether several files hold the same kind of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from unscatter.errors import EventsError


class Agreement:
    """Compares the columns of files with those of the first one that it was shown.

    Example:
        >>> agreement = Agreement()
        >>> agreement.check("a.csv", {"x": np.dtype("f8")}, ["x"], ["x"])
        >>> agreement.check("b.npy", {"x": np.dtype("f4")}, ["x"], ["x"])
        Traceback (most recent call last):
        ...
        unscatter.errors.EventsError: column 'x' is float32 in 'b.npy', but float64 in 'a.csv'.
        Events of one channel are of one kind: convert one of the files, or read them as two channels.
    """

    def __init__(self) -> None:
        self._first = ""
        self._dtypes: dict[str, np.dtype] = {}
        self.names: tuple[str, ...] = ()

    @property
    def is_first(self) -> bool:
        """Whether no file has been shown yet."""
        return not self._first

    def check(self, location: str, available: Mapping[str, np.dtype], needed: Sequence[str], names: Sequence[str]) -> None:
        """Compare one more file; the first one is remembered.

        Args:
            location: the file.
            available: its columns with their dtypes.
            needed: those that are read.
            names: what the events' columns will be called.

        Raises:
            EventsError: the columns, or the dtype of one that is read, are not those of the first file.
        """
        dtypes = {name: available[name] for name in needed if name in available}
        if self.is_first:
            self._first, self._dtypes, self.names = location, dtypes, tuple(names)
            return
        if tuple(names) != self.names:
            raise EventsError(_other_columns(location, names, self._first, self.names))
        for name, dtype in dtypes.items():
            if self._dtypes.get(name, dtype) != dtype:
                raise EventsError(
                    f"column '{name}' is {dtype} in '{location}', but {self._dtypes[name]} in '{self._first}'.\n"
                    "Events of one channel are of one kind: convert one of the files, or read them as two channels."
                )


def _other_columns(location: str, names: Sequence[str], first: str, first_names: Sequence[str]) -> str:
    more, fewer = [n for n in names if n not in first_names], [n for n in first_names if n not in names]
    facts = [f"more are {more}"] * bool(more) + [f"missing are {fewer}"] * bool(fewer) or [f"their order is {list(names)}"]
    both = [n for n in first_names if n in names]
    advice = f"Name the columns that both have, for example columns: {both}." if both else "They have none in common: read one of them."
    return f"'{location}' has other columns than '{first}': {'; '.join(facts)}.\n{advice}"
