"""The exception tree.

Every error that a user can cause derives from :class:`UnscatterError` and from the built-in exception that it resembles, so that
``except ValueError`` keeps working.  Our own bugs are ``assert`` statements, not members of this tree.
"""

from __future__ import annotations


class UnscatterError(Exception):
    """Base of everything that `unscatter` raises on purpose."""


class ShapeError(UnscatterError, ValueError):
    """Two arrays do not fit together."""


class DensityError(UnscatterError, ValueError):
    """A density is negative, not finite or zero everywhere."""


class GridError(UnscatterError, ValueError):
    """The axes of a grid are not strictly increasing, too short or misnamed."""


class ParameterError(UnscatterError, ValueError):
    """A parameter lies outside its range, or a range is upside down."""


class SettingsError(UnscatterError, ValueError):
    """A setting is unknown, impossible or contradicts another one."""


class EventsError(UnscatterError, ValueError):
    """Events are unusable: not finite, negatively weighted, outside the grid, or none at all."""


class NoEventsLeftError(EventsError):
    """Cuts leave no event."""


class ColumnError(EventsError, KeyError):
    """A column that was asked for is not in the file."""

    def __str__(self) -> str:
        # KeyError would print the message in quotes, with escaped line ends.
        return str(self.args[0]) if self.args else ""


class EventsFileError(EventsError, OSError):
    """A file of events is missing, empty or cannot be read."""


class UnreachableError(EventsFileError):
    """A file of events may be in order, but cannot be had now: it is not there, may not be read, or its server does not deliver it."""


class StoreError(EventsFileError):
    """An event store is missing, incomplete, damaged or of another format version, or cannot be written."""


class TheoryError(UnscatterError, ValueError):
    """A theory returned the wrong shape, values that are not finite, or no gradient."""


class RunError(UnscatterError, OSError):
    """A run directory exists already, is missing or is damaged."""


class CheckpointError(RunError):
    """A checkpoint is cut short, damaged or of another format version."""


class DivergenceError(UnscatterError, ArithmeticError):
    """More steps than allowed were skipped because they were not finite."""


class MissingExtraError(UnscatterError, ImportError):
    """An optional dependency is not installed; the message holds the line that installs it."""


class TableError(UnscatterError, OSError):
    """A theory table is missing, damaged, of another version, or does not cover what was asked of it."""


class PdfGridError(UnscatterError, ValueError):
    """A grid of parton densities is malformed, or was asked outside its range."""


class DataError(UnscatterError, ValueError):
    """Published measurements are missing, malformed or do not fit together."""


class ExchangeError(UnscatterError, RuntimeError):
    """An exchange between ranks was set up wrongly, or cannot go on."""


class PeerLostError(ExchangeError, ConnectionError):
    """A rank that others wait for has not been heard of within the time-out."""


class DisagreementError(ExchangeError):
    """Ranks of one job run different code or different runcards."""


def first_line(error: BaseException) -> str:
    """What an exception of another library says, in one line; its kind where it says nothing.

    Example:
        >>> first_line(OSError("cannot open")), first_line(EOFError())
        ('cannot open', 'EOFError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
