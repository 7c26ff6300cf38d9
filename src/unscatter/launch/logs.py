"""The logs of the ranks, from before the run directory exists."""

from __future__ import annotations

import re
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from unscatter.errors import RunError
from unscatter.files import write_failure
from unscatter.runs import RunDirectory

_MARK = "=== started"
#: Colours and movements of a terminal.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")


class JobLogs:
    """One log per rank: in a hidden directory beside the run directory at first, and inside of it as soon as the first rank has made it.

    Both are on the same file system, so that ranks go on writing into the files that are moved.

    Args:
        run: the run directory, which need not exist.

    Raises:
        RunError: nothing can be written there.
    """

    def __init__(self, run: str | Path) -> None:
        self.run = RunDirectory(Path(run).absolute())
        self.directory = self.run.logs
        if self._exists():
            self.directory.mkdir(exist_ok=True)
            return
        above = next(parent for parent in self.run.path.parents if parent.is_dir())
        try:
            self.directory = Path(tempfile.mkdtemp(prefix=f".{self.run.path.name}-logs-", dir=above))
        except OSError as error:
            raise RunError(write_failure(above, error)) from error

    def log(self, rank: int) -> Path:
        """The log of one rank, where it is now."""
        return self.directory / self.run.log(rank).name

    def begin(self, rank: int, title: str) -> None:
        """Write the line that parts what follows from what earlier starts have left."""
        with self.log(rank).open("a", encoding="utf-8") as file:
            file.write(f"{_MARK} {datetime.now(UTC).isoformat(timespec='seconds')} {title}\n")

    def note(self, text: str) -> None:
        """Keep what the launcher has to say about the job, too."""
        with (self.directory / "launcher.log").open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")

    def settle(self) -> None:
        """Move the logs into the run directory once it exists."""
        if self.directory == self.run.logs or not (self._exists() and self.run.logs.is_dir()):
            return
        before, self.directory = self.directory, self.run.logs
        for log in before.glob("*.log"):
            log.rename(self.directory / log.name)
        # How the ranks were before that is of no interest any more.
        shutil.rmtree(before, ignore_errors=True)

    def discard(self) -> None:
        """Remove logs that never came into a run directory."""
        if self.directory != self.run.logs:
            shutil.rmtree(self.directory, ignore_errors=True)

    def last_lines(self, rank: int, number: int = 12) -> list[str]:
        """The last lines of what one rank has printed since it was started, without colours and empty lines."""
        try:
            with self.log(rank).open("rb") as file:
                file.seek(0, 2)
                file.seek(max(file.tell() - 200 * number, 0))
                text = file.read().decode("utf-8", errors="replace")
        except OSError:
            return []
        text = text.rpartition(_MARK)[2].partition("\n")[2] if _MARK in text else text
        lines = [_CONTROL.sub("", line).rstrip() for line in text.splitlines()]
        return [line for line in lines if line][-number:]

    def _exists(self) -> bool:
        return (self.run.path / "run.json").is_file()
