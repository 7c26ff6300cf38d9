"""Which of several tables of a file is meant."""

from __future__ import annotations

from collections.abc import Sequence

from unscatter.errors import EventsFileError, SettingsError
from unscatter.files import did_you_mean, quoted


def choose(names: Sequence[str], wanted: str | None, location: str, kind: str) -> str:
    """The table that was asked for, or the only one.

    Args:
        names: tables of the file.
        wanted: the one that was asked for.
        location: the file.
        kind: what the format calls a table.

    Raises:
        EventsFileError: there is none, or none of that name.
        SettingsError: there are several, and none was asked for.

    Example:
        >>> choose(["events"], None, "run.root", "tree")
        'events'
    """
    if not names:
        raise EventsFileError(f"'{location}' holds no {kind}, so there are no events in it.")
    if wanted is None and len(names) > 1:
        raise SettingsError(
            f"'{location}' holds the {kind}s {_listed(names)}. Say which one: tree: {names[0]} beside path: in a runcard, "
            f"--tree {quoted(names[0])} on the command line, tree={names[0]!r} in Python."
        )
    if wanted is not None and wanted not in names:
        raise EventsFileError(f"there is no {kind} '{wanted}' in '{location}'. It has {_listed(names)}.{did_you_mean(wanted, names)}")
    return names[0] if wanted is None else wanted


def _listed(names: Sequence[str], longest: int = 20) -> str:
    return ", ".join(f"'{name}'" for name in names[:longest]) + (f", ... ({len(names)} in all)" if len(names) > longest else "")
