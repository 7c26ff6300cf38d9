"""Metrics of a run: one JSON object per line, written as they come."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unscatter.errors import RunError
from unscatter.files import as_json, write_failure, write_text


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Append one record; after a failure (full disk) the file ends where it ended before.

    Raises:
        RunError: the file cannot be written.
    """
    line = json.dumps(as_json(record), allow_nan=False) + "\n"
    size = path.stat().st_size if path.is_file() else None
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        if size is not None:
            os.truncate(path, size)
        raise RunError(write_failure(path, error)) from error


def read_records(path: Path) -> list[dict[str, Any]]:
    """All records; none where there is no file, and without a last line that was cut short by a crash.

    Raises:
        RunError: a line that is not the last one is damaged.
    """
    return list(_records(path))


def _records(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    lines = path.read_bytes().split(b"\n")
    complete, torn = lines[:-1], lines[-1]
    for number, line in enumerate(complete, start=1):
        try:
            yield _record(line)
        except ValueError as error:
            # A crash may also leave the last line torn but with its end.
            if number == len(complete) and not torn:
                return
            raise RunError(f"line {number} of '{path}' is damaged: {line[:60]!r}. Remove this line.") from error


def _record(line: bytes) -> dict[str, Any]:
    record = json.loads(line)
    if not isinstance(record, dict) or not isinstance(record.get("step"), int):
        raise ValueError("a record is a mapping with a step")
    return record


def truncate_records(path: Path, last_step: int) -> None:
    """Keep only the records whose ``step`` is at most ``last_step``, so that a resumed run does not write them twice."""
    if path.exists():
        kept = [record for record in read_records(path) if record["step"] <= last_step]
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
