"""What is wrong with a file of events, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from unscatter.errors import ColumnError, EventsFileError, UnscatterError, first_line
from unscatter.events.locations import reached, sends_whole_files, suffix
from unscatter.files import did_you_mean


@contextmanager
def readable(location: str, *damage: type[Exception]) -> Iterator[None]:
    """Turn whatever a reader raises into one message that names the file; ``damage`` are errors that only this format knows."""
    try:
        with reached(location):
            yield
    except UnscatterError:
        raise
    except (OSError, ValueError, EOFError, NotImplementedError, *damage) as error:
        kind = suffix(location)
        if sends_whole_files(location):
            raise EventsFileError(
                f"cannot read '{location}': its server sends whole files only, and {kind} files are read in parts. Download it first, "
                f"for example: curl -O '{location}'"
            ) from error
        raise EventsFileError(f"'{location}' is damaged, cut short or not a {kind} file: {first_line(error)}") from error


def missing_column(
    name: str, names: Sequence[str], location: str, why: str = "", constants: Sequence[str] | None = None, others: Sequence[str] = ()
) -> ColumnError:
    """The error for a column that is not there, with those that are.

    Args:
        name: the column.
        names: columns of the file.
        location: the file.
        why: where the name comes from.
        constants: those that there are, where the name could be one as well.
        others: what else may have been meant.
    """
    hint = did_you_mean(name, [*names, *(constants or ()), *others]) + _headless(names)
    if constants is None:
        return ColumnError(f"there is no column '{name}' in '{location}'{why}. It has {listed(names)}.{hint}")
    known = f"the constants are {', '.join(map(repr, constants))}" if constants else "there are no constants"
    return ColumnError(
        f"there is no column '{name}' in '{location}'{why}. It has {listed(names)}; {known}.{hint}\n"
        f"If '{name}' is a number, write constants: {{{name}: ...}}."
    )


def listed(names: Sequence[str], longest: int = 20) -> str:
    """Names of columns in words, the first ones where there are many."""
    shown = ", ".join(f"'{name}'" for name in names[:longest])
    more = f", ... ({len(names)} in all)" if len(names) > longest else ""
    return f"{'the column' if len(names) == 1 else 'the columns'} {shown}{more}" if names else "no columns"


def _headless(names: Sequence[str]) -> str:
    """A hint where what should be names looks like a comment, or names between other separators."""
    if len(names) == 1 and names[0].startswith("#"):
        return "\nThe first line seems to be a comment: the file must begin with the names of the columns."
    if len(names) == 1 and any(separator in names[0] for separator in ";\t "):
        return "\nThe names seem to be separated by something else: separate the columns by commas."
    return ""


def positional(names: Sequence[str]) -> bool:
    """Whether columns have no names but positions, as those of a plain array."""
    return bool(names) and list(names) == [str(i) for i in range(len(names))]


def is_number(text: str) -> bool:
    """Whether a text reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def text_message(name: str, location: str, row: int, value: str) -> str:
    """A column of text, with the first row that is no number."""
    return (
        f"column '{name}' in '{location}' holds text: row {row} is '{value}'. (Rows are counted from 0.)\n"
        "Correct these rows, or leave the column out of 'columns'."
    )
