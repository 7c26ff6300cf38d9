"""What a rank of a job shows and logs: one progress display per job, one log per rank."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from unscatter.cli.progress import PlainLines, progress_display
from unscatter.launch.joining import Rank
from unscatter.launch.process import LOG_DESCRIPTOR
from unscatter.runs import RunDirectory
from unscatter.solve import Observer


@contextmanager
def rank_display(rank: Rank, run: Path, console: Console, *, quiet: bool) -> Iterator[list[Observer]]:
    """Observers of one rank.

    A process alone shows its progress.  A rank writes plain lines into its log; the launcher of `unscatter` shows how they go on, and under
    other launchers the first rank does.

    Args:
        rank: which.
        run: the run directory.
        console: where progress is shown.
        quiet: show and log nothing.
    """
    if rank.health is None:
        with progress_display(console, quiet=quiet) as observers:
            yield observers
        return
    logged: list[Observer] = [rank.health]
    if rank.world.launcher == "unscatter":
        with _own_log() as log:
            yield logged if quiet else [*logged, PlainLines(_plain(log))]
        return
    with LateFile(RunDirectory(run).log(rank.world.rank)) as log:
        lines = [] if quiet else [PlainLines(_plain(log))]
        with progress_display(console, quiet=quiet or rank.world.rank > 0) as observers:
            yield [*logged, *lines, *observers]


def _plain(file: Any) -> Console:
    return Console(file=file, force_terminal=False, color_system=None, highlight=False)


@contextmanager
def _own_log() -> Iterator[IO[str]]:
    """The log that the launcher has opened for this rank."""
    descriptor = os.environ.get(LOG_DESCRIPTOR)
    if descriptor is None:
        yield sys.stderr
        return
    with os.fdopen(int(descriptor), "a", encoding="utf-8", closefd=False) as file:
        yield file


class LateFile:
    """A log in a directory that another rank makes; keeps what is written until then.

    Args:
        path: of the log.
    """

    encoding = "utf-8"

    def __init__(self, path: Path) -> None:
        self.path, self._kept = path, ""

    def write(self, text: str) -> int:
        """Append to the file, or keep the text."""
        self._kept += text
        if self.path.parent.is_dir():
            with self.path.open("a", encoding="utf-8") as file:
                file.write(self._kept)
            self._kept = ""
        return len(text)

    def flush(self) -> None:
        """Nothing is held back that could be written."""

    def isatty(self) -> bool:
        """Never."""
        return False

    def __enter__(self) -> LateFile:
        """Open nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is left."""
        self.write("")
