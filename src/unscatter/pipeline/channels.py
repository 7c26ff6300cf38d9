"""Names of channels, which become names of files and of columns in tables."""

from __future__ import annotations

import os

from unscatter.errors import SettingsError

#: Bytes of the longest name: with an ending behind it, every file system takes it.
_LONGEST = 100


def check_channel_name(name: str) -> str:
    r"""Refuse a name that could not be, or would lead elsewhere as, the name of a file; return any other.

    Raises:
        SettingsError: empty or very long, a separator of directories, a dot in front as in ``..``, or characters that do not print.

    Example:
        >>> check_channel_name("proton, 18x275 GeV")
        'proton, 18x275 GeV'
    """
    # In this order: only what prints can be encoded.
    if not name.strip() or name.startswith(".") or not name.isprintable() or set(name) & {"/", "\\"} or _too_long(name):
        shown = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
        raise SettingsError(
            f"{shown!r} is no name for a channel, after which files of events are named: it needs 1 to {_LONGEST} bytes of characters that "
            "print, none of them / or \\, and no dot in front. Write for example proton_nc."
        )
    return name


def _too_long(name: str) -> bool:
    return len(os.fsencode(name)) > _LONGEST
