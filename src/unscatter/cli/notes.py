"""How every command runs: warnings are notes, and a lack of memory is one message."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from unscatter.arrays.memory import is_out_of_memory
from unscatter.cli.messages import print_note
from unscatter.errors import SettingsError

P = ParamSpec("P")
R = TypeVar("R")


def as_command(command: Callable[P, R]) -> Callable[P, R]:
    """Show warnings as notes, and a lack of memory as one message."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with _notes(quiet=bool(kwargs.get("quiet"))):
            try:
                return command(*args, **kwargs)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                cause = (str(error).splitlines() or ["no memory left"])[0]
                raise SettingsError(f"out of memory: {cause}\nLower numbers of events, nodes, replicas or hidden columns.") from error

    return run


@contextmanager
def _notes(*, quiet: bool) -> Iterator[None]:
    """Show every warning once, without the line of the code that it came from."""
    shown: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if not quiet and str(message) not in shown:
            shown.add(str(message))
            print_note(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = show
        yield
