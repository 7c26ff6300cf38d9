"""Exit codes, and how errors become one message and one of them."""

from __future__ import annotations

import signal
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process says when it ends; also in ``unscatter --help``."""

    FINE = 0
    """Done; a fit has converged."""
    CRASHED = 1
    """An error inside unscatter, shown with its traceback."""
    BAD_INPUT = 2
    """Wrong usage, runcard, events or files: the message says which."""
    NOT_GOOD_ENOUGH = 3
    """A fit ran out of rounds before it had converged, or a check found problems."""
    GAVE_UP = 4
    """A fit was given up, since too many of its steps were not finite."""
    INTERRUPTED = 128 + signal.SIGINT
    """Stopped by Ctrl-C; a fit has left a checkpoint."""
    TERMINATED = 128 + signal.SIGTERM
    """Stopped by SIGTERM; a fit has left a checkpoint."""


#: For the end of ``unscatter --help``.
EPILOG = (
    "Exit codes: 0 done, and a fit has converged; 2 wrong usage, runcard, events or files; 3 a fit ran out of rounds before it had "
    "converged, or a check found problems; 4 a fit was given up, since too many of its steps were not finite; 130 and 143 stopped by "
    "Ctrl-C or SIGTERM (a fit leaves a checkpoint: go on with 'unscatter resume'); 1 an error inside unscatter."
)


def code_of_fit(stop_reason: str, interrupted_by: str | None = None) -> ExitCode:
    """The exit code for the end of a fit.

    Example:
        >>> code_of_fit("interrupted", "SIGTERM").name
        'TERMINATED'
    """
    match stop_reason:
        case "interrupted":
            return ExitCode.TERMINATED if interrupted_by == "SIGTERM" else ExitCode.INTERRUPTED
        case "out of rounds":
            return ExitCode.NOT_GOOD_ENOUGH
        case _:
            return ExitCode.FINE
