"""The journal of an ingest: what was planned, and every report; a killed ingest goes on from it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Any

from unscatter.errors import StoreError
from unscatter.events.store.layout import JOURNAL_NAME, SHARDS_NAME
from unscatter.events.store.plan import Piece, Plan, identity_words
from unscatter.events.store.reports import Finished, Report, from_json, to_json
from unscatter.events.store.sinks import SCATTERED_NAME, refusals
from unscatter.files import as_json, quoted

_FORMAT = {"format": "unscatter ingest journal", "version": 1}


class Journal:
    """An open journal, locked against other ingests into the same store.

    Args:
        partial: directory of the unfinished store.
        file: the journal, open for reading and appending, without a buffer: what a full disk refuses would be written again on closing.
    """

    def __init__(self, partial: Path, file: FileIO) -> None:
        self.partial, self._file = partial, file

    def begin(self, plan: Plan) -> tuple[Plan, list[Report]]:
        """The plan to follow, and what has been done: those of the journal where it has begun, else the ``plan`` given and nothing.

        Raises:
            StoreError: it was begun with other settings, or a source has changed since.
        """
        lines = list(self._lines())
        if not lines:
            self._file.truncate(0)
            self._append({**_FORMAT, "terms": plan.terms(), "sources": as_json(plan.sources), "pieces": as_json(plan.pieces),
                          "buckets": plan.buckets, "created": plan.created})  # fmt: skip
            return plan, []
        self._check_same(lines[0], plan)
        header = lines[0]
        pieces = tuple(Piece(**piece) for piece in header["pieces"])
        begun = replace(plan, pieces=pieces, buckets=header["buckets"], created=header["created"])
        return begun, [report for report in map(from_json, lines[1:]) if self._stands(report)]

    def enter(self, report: Report) -> None:
        """Add a report; it stands when the process is killed right after."""
        self._append(to_json(report))

    def _stands(self, report: Report) -> bool:
        """Whether a shard that was finished is there: when the power fails, a renamed file may have its old name again."""
        if not isinstance(report, Finished):
            return True
        record = report.description.record
        path = self.partial / SHARDS_NAME / record.file
        return path.exists() and path.stat().st_size == record.bytes

    def _append(self, line: dict[str, Any]) -> None:
        with refusals(self.partial / JOURNAL_NAME):
            data = json.dumps(line).encode() + b"\n"
            while data:
                data = data[self._file.write(data) :]

    def _lines(self) -> Iterator[dict[str, Any]]:
        """The lines that are whole; one that was being written at the end is cut off."""
        self._file.seek(0)
        end = 0
        for line in self._file.readall().splitlines(keepends=True):
            try:
                content = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                content = None
            if not isinstance(content, dict):
                break
            end += len(line)
            yield content
        self._file.seek(end)
        self._file.truncate(end)

    def _check_same(self, header: dict[str, Any], plan: Plan) -> None:
        if any(header.get(key) != value for key, value in _FORMAT.items()):
            raise StoreError(f"'{self.partial}' was begun by another version of unscatter. {_start_anew(self.partial)}")
        self._check_terms(header["terms"], plan.terms())
        then = {source["location"]: source["identity"] for source in header["sources"]}
        now = {source["location"]: source["identity"] for source in as_json(plan.sources)}
        if list(then) != list(now):
            differing = next((name for name in [*now, *then] if (name in now) != (name in then)), "their order")
            raise StoreError(
                f"'{self.partial}' was begun from {len(then)} files, now there are {len(now)}; '{differing}' is one that differs.\n"
                f"Go on with the same ones. {_start_anew(self.partial)}"
            )
        for location, identity in now.items():
            if identity != then[location]:
                raise StoreError(
                    f"'{location}' has changed since the ingest into '{self.partial}' began: it was {identity_words(then[location])}, "
                    f"now {identity_words(identity)}.\nWhat was read of it is not what it holds. {_start_anew(self.partial)}"
                )

    def _check_terms(self, then: dict[str, Any], now: dict[str, Any]) -> None:
        flat_then, flat_now = {**then, **then["recipe"]}, {**now, **now["recipe"]}
        for name, value in flat_now.items():
            if name != "recipe" and flat_then.get(name) != value:
                raise StoreError(
                    f"'{self.partial}' was begun with other settings: '{name}' was {flat_then.get(name)!r}, now it is {value!r}.\n"
                    f"Go on with the same settings. {_start_anew(self.partial)}"
                )


@contextmanager
def open_journal(partial: Path) -> Iterator[Journal]:
    """Make the directory of an unfinished store, or go on in it, alone.

    Raises:
        StoreError: another process is at work there, it is something else, or it cannot be written.
    """
    with refusals(partial):
        partial.mkdir(exist_ok=True)
    journal = partial / JOURNAL_NAME
    if not journal.exists() and any(partial.iterdir()):
        raise StoreError(f"'{partial}' exists, but is not the beginning of an ingest.\nMove it away, or choose another name for the store.")
    with refusals(journal):
        file = journal.open("a+b", buffering=0)
    with file:
        _lock(file, partial)
        with refusals(partial):
            (partial / SHARDS_NAME).mkdir(exist_ok=True)
            (partial / SCATTERED_NAME).mkdir(exist_ok=True)
        yield Journal(partial, file)


def _lock(file: FileIO, partial: Path) -> None:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StoreError(
            f"another process is writing into '{partial}'.\nWait until it has come to its end, or choose another name for the store."
        ) from error
    if not (partial / JOURNAL_NAME).exists() or os.fstat(file.fileno()).st_ino != (partial / JOURNAL_NAME).stat().st_ino:
        raise StoreError(f"another process has just completed '{partial}'. Look at the store: unscatter inspect")


def _start_anew(partial: Path) -> str:
    return f"To start anew: rm -r {quoted(partial)}"
