"""The run directory: the one class that knows every path."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from unscatter.errors import CheckpointError, RunError
from unscatter.files import TEMPORARY_SUFFIX, Table, missing_path, quoted, write_failure, write_json, write_table, write_text
from unscatter.runs.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from unscatter.runs.locking import locked
from unscatter.runs.metrics import append_record, read_records, truncate_records

#: Bytes of a name that is proposed: with a number behind it, every file system takes it.
_LONGEST_STEM = 100


@dataclass(frozen=True)
class RunDirectory:
    """Everything that a run leaves behind.

    ====================  ============================================================================
    path                  content
    ====================  ============================================================================
    ``run.json``          kind and version of the format, time of creation, and what ``resolved.yaml`` was at the start
    ``runcard.yaml``      the runcard as it was given
    ``resolved.yaml``     the runcard with every default filled in
    ``provenance.json``   one entry per start and resume: versions, seeds, git, machine, command
    ``metrics.jsonl``     metrics as they come, one record per line
    ``checkpoints/``      the last checkpoints; those of other ranks than the first in ``rank1/``, ...
    ``result/``           tables of the result, each as Parquet and JSON
    ``report.html``       the report
    ``figures/``          its figures, each as PDF, PNG and SVG
    ``logs/``             one log per rank
    ``lock``              who is writing here
    ====================  ============================================================================

    Make one with :meth:`create` or :meth:`open`.

    Example:
        >>> import tempfile, torch
        >>> run = RunDirectory.create(Path(tempfile.mkdtemp()) / "fit")
        >>> _ = run.save_checkpoint(100, {"weights": torch.zeros(3)}, {"skipped": 0})
        >>> RunDirectory.open(run.path).load_checkpoint().step
        100
    """

    path: Path

    FORMAT_VERSION: ClassVar[int] = 1
    _KIND: ClassVar[str] = "unscatter-run"

    @classmethod
    def create(cls, path: str | Path) -> RunDirectory:
        """Make a new run directory, with the directories above it.

        Raises:
            RunError: there is something at ``path`` already, or it cannot be written.
        """
        run = cls(_usable(path))
        run._refuse_existing()
        try:
            for directory in (run.path, run.checkpoints, run.result, run.logs):
                directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(write_failure(run.path, error)) from error
        created = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(run._marker, {"kind": cls._KIND, "version": cls.FORMAT_VERSION, "created": created})
        return run

    @classmethod
    def check_free(cls, path: str | Path) -> None:
        """Refuse a path where a new run cannot be made because something is there, or the system cannot look at it.

        Raises:
            RunError: a run, a file, a directory that is not empty, or an impossible path.
        """
        path = _usable(path)
        # The working directory has no name as '.', and the message proposes another name beside it.
        cls(path if path.name else path.absolute())._refuse_existing()

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """Open an existing run directory.

        Raises:
            RunError: it is missing, not a run directory, or was made by a newer version.
        """
        run = cls(_usable(path))
        if not run.path.exists():
            raise RunError(missing_path(run.path))
        if not run._marker.is_file():
            raise RunError(f"'{run.path}' is not a run directory: it has no run.json.{_runs_inside(run.path)}")
        run._check_version()
        return run

    def _refuse_existing(self) -> None:
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise RunError(f"'{self.path}' is a file. Choose another directory for the run, for instance '{_free_name(self.path)}'.")
        if self._marker.exists():
            raise RunError(
                f"'{self.path}' holds a run already, and nothing is written over.\n"
                f"Choose another directory, for instance '{_free_name(self.path)}', or go on with this run: "
                f"unscatter resume {quoted(self.path)}"
            )
        if any(self.path.iterdir()):
            raise RunError(f"the directory '{self.path}' is not empty. Choose another one, for instance '{_free_name(self.path)}'.")

    def _check_version(self) -> None:
        marker = _read_json(self._marker)
        if not isinstance(marker, dict) or marker.get("kind") != self._KIND or not isinstance(marker.get("version"), int):
            raise RunError(f"'{self.path}' is not a run directory: run.json does not say so.")
        if marker["version"] > self.FORMAT_VERSION:
            raise RunError(
                f"the run directory '{self.path}' has the format version {marker['version']}, but this unscatter reads up to version "
                f"{self.FORMAT_VERSION}.\nUpdate unscatter: pip install --upgrade unscatter"
            )

    @property
    def _marker(self) -> Path:
        return self.path / "run.json"

    @property
    def runcard(self) -> Path:
        """The runcard as it was given."""
        return self.path / "runcard.yaml"

    @property
    def resolved_runcard(self) -> Path:
        """The runcard with every default filled in."""
        return self.path / "resolved.yaml"

    @property
    def provenance(self) -> Path:
        """Versions, seeds, git, machine and command of each start."""
        return self.path / "provenance.json"

    @property
    def metrics(self) -> Path:
        """Metrics, one record per line."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Directory of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def result(self) -> Path:
        """Directory of the result tables."""
        return self.path / "result"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """Figures of the report, each as PDF, PNG and SVG."""
        return self.path / "figures"

    @property
    def logs(self) -> Path:
        """Directory of the logs."""
        return self.path / "logs"

    def log(self, rank: int) -> Path:
        """The log of one rank."""
        return self.logs / f"rank{rank}.log"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only process that writes here; the first rank of a run holds this from start to end.

        Raises:
            RunError: another process holds it; the message says which.
        """
        with locked(self.path / "lock"):
            self._remove_leftovers()
            yield

    def _remove_leftovers(self) -> None:
        """Remove what writers that were killed left unfinished."""
        for directory in (self.path, self.checkpoints, *self.checkpoints.glob("rank*"), self.result):
            for leftover in directory.glob(f".*{TEMPORARY_SUFFIX}"):
                leftover.unlink(missing_ok=True)

    def write_runcard(self, text: str, resolved: str) -> None:
        """Store the runcard as it was given and with every default filled in."""
        write_text(self.runcard, text)
        write_text(self.resolved_runcard, resolved)
        # A second copy: people edit the first one, and a resumed run has to notice.
        write_json(self._marker, _read_json(self._marker) | {"resolved": resolved})

    def read_original_runcard(self) -> str | None:
        """The text of ``resolved.yaml`` at the start of the run; None where that was not kept, as by older versions."""
        return _read_json(self._marker).get("resolved")

    def read_runcard(self, *, resolved: bool = False) -> str:
        """The text of the runcard.

        Raises:
            RunError: there is none.
        """
        path = self.resolved_runcard if resolved else self.runcard
        if not path.is_file():
            raise RunError(f"the run directory '{self.path}' holds no {path.name}.")
        return path.read_text(encoding="utf-8")

    def add_provenance(self, record: Mapping[str, Any]) -> None:
        """Add the entry of one start or resume, see :func:`~unscatter.runs.collect_provenance`."""
        write_json(self.provenance, [*self.read_provenance(), record])

    def read_provenance(self) -> list[dict[str, Any]]:
        """One entry per start and resume, the oldest first."""
        return _read_json(self.provenance) if self.provenance.exists() else []

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Append one record to the metrics; it needs a ``step``, and values that are not finite become null.

        Raises:
            RunError: the disk is full; the records so far are intact.
        """
        assert "step" in record, "a record of metrics needs a step, or it could not be dropped on resume"
        append_record(self.metrics, record)

    def read_metrics(self) -> list[dict[str, Any]]:
        """All records of the metrics, without a last line that a crash cut short."""
        return read_records(self.metrics)

    def truncate_metrics(self, last_step: int) -> None:
        """Drop the records after ``last_step``, which a resumed run writes again."""
        truncate_records(self.metrics, last_step)

    def write_table(self, name: str, table: Table) -> tuple[Path, Path]:
        """Write a table of the result as ``result/name.parquet`` and ``result/name.json``."""
        return write_table(self.result / name, table)

    def write_result(self, name: str, value: Any) -> Path:
        """Write one more fact of the result as ``result/name.json``."""
        write_json(self.result / f"{name}.json", value)
        return self.result / f"{name}.json"

    def read_result(self, name: str) -> Any:
        """What ``result/name.json`` holds; a table is a list of rows.

        Raises:
            RunError: there is no such result.
        """
        path = self.result / f"{name}.json"
        if not path.is_file():
            raise RunError(f"{missing_path(path)}\nHas the run finished? If not: unscatter resume {quoted(self.path)}")
        return _read_json(path)

    def write_report(self, html: str) -> Path:
        """Write the report; an older one is replaced."""
        write_text(self.report, html)
        return self.report

    def checkpoints_of(self, rank: int) -> Path:
        """Directory of the checkpoints of one rank."""
        return self.checkpoints if rank == 0 else self.checkpoints / f"rank{rank}"

    def checkpoint_files(self, rank: int = 0) -> list[Path]:
        """The checkpoints of a rank, the oldest first."""
        return sorted(self.checkpoints_of(rank).glob("step-*.safetensors"), key=_step_of)

    def save_checkpoint(
        self, step: int, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any], *, keep: int = 2, rank: int = 0
    ) -> Path:
        """Write a checkpoint of a rank, then remove all but its last ``keep``.

        Checkpoints of later steps go too: they belong to a course that was given up when the run was resumed from an earlier one.

        Raises:
            RunError: the disk is full; the earlier checkpoints are intact.
        """
        path = self.checkpoints_of(rank) / f"step-{step:09d}.safetensors"
        path.parent.mkdir(exist_ok=True)
        write_checkpoint(path, step, tensors, scalars)
        later = [file for file in self.checkpoint_files(rank) if _step_of(file) > step]
        earlier = [file for file in self.checkpoint_files(rank) if _step_of(file) <= step]
        for file in later + earlier[: -max(keep, 1)]:
            file.unlink(missing_ok=True)
        return path

    def load_checkpoint(self, file: str | Path | None = None) -> Checkpoint:
        """Read the newest checkpoint, or the one in ``file`` (a path, or a name inside ``checkpoints/``).

        A damaged checkpoint is never passed over in silence: the error names the newest good one and how to go on from it.

        Raises:
            CheckpointError: there is none, or it is cut short, damaged or of another version.
        """
        files = self.checkpoint_files()
        if file is None and not files:
            raise CheckpointError(f"the run '{self.path}' has no checkpoint yet: there is nothing to resume. Start it from its runcard.")
        path = files[-1] if file is None else self._checkpoint_path(Path(file))
        try:
            return read_checkpoint(path)
        except CheckpointError as error:
            raise CheckpointError(f"{error}\n{self._way_on(path)}") from error

    def load_rank_checkpoint(self, first: Checkpoint, rank: int, *, in_step: bool) -> Checkpoint:
        """The checkpoint that a rank goes on from, where the first rank would go on from ``first``.

        Ranks that make their steps together go back to the last step of which all of them have one.  Where the number of ranks has
        changed, those that are new go on from what another one had.

        Args:
            first: of the first rank.
            rank: which.
            in_step: whether all ranks have to be at the same step.

        Raises:
            CheckpointError: the file is damaged.
        """
        num_ranks = int(first.tensors.get("num_ranks", torch.tensor(1)))
        files = {r: {_step_of(file): file for file in self.checkpoint_files(r)} for r in range(num_ranks)}
        saved = [r for r in files if files[r]]
        if num_ranks == 1 or not saved:
            # One process left nothing but the first checkpoint, which may have been asked for by its path and lie anywhere.
            return first
        steps = files[rank if rank in saved else saved[rank % len(saved)]]
        if not in_step:
            return read_checkpoint(steps.get(first.step, steps[max(steps)]))
        common = [step for step in steps if step <= first.step and all(step in files[r] for r in saved)]
        return read_checkpoint(steps[max(common)]) if common else first

    def _checkpoint_path(self, file: Path) -> Path:
        inside = self.checkpoints / file
        return file if file.exists() or not inside.exists() else inside

    def _way_on(self, damaged: Path) -> str:
        """What to type instead of resuming from a damaged checkpoint."""
        for file in reversed(self.checkpoint_files()):
            if file != damaged and _is_good(file):
                command = f"unscatter resume {quoted(self.path)} --checkpoint {file.name}"
                return f"The checkpoint of step {_step_of(file)} is good. Go on from it: {command}"
        return "No other checkpoint of this run is good. Start it from its runcard."


def _usable(path: str | Path) -> Path:
    """The path, if the system can look at it: not with a name that is too long, or a NUL in it, or behind a closed directory."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass  # Whether that is right is for the caller to say.
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RunError(f"{str(path)!r} cannot be a run directory: {reason}. Choose another one, for instance runs/fit.") from error
    return Path(path)


def _step_of(checkpoint: Path) -> int:
    digits = checkpoint.stem.removeprefix("step-")
    return int(digits) if digits.isdecimal() else -1


def _is_good(file: Path) -> bool:
    try:
        read_checkpoint(file)
    except CheckpointError:
        return False
    return True


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read '{path}': {error}.") from error


def _free_name(path: Path) -> Path:
    """The first of ``path-2``, ``path-3``, ... that does not exist; of ``runs/fit-2``, ... where the path ends without a name, as ``/``."""
    path, number = path if path.name not in ("", "..") else Path("runs/fit"), 2
    # The cut may go through a character of several bytes; what is left of it is dropped.
    stem = os.fsencode(path.name)[:_LONGEST_STEM].decode(sys.getfilesystemencoding(), "ignore")
    while os.path.lexists(candidate := path.with_name(f"{stem}-{number}")):
        number += 1
    return candidate


def _runs_inside(path: Path) -> str:
    runs = sorted(str(marker.parent) for marker in path.glob("*/run.json"))[:5]
    return f" Did you mean one of {runs}?" if runs else ""
