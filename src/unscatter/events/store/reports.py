"""What workers report; the journal of an ingest is the list of these, and all that is known about it follows from them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeAlias

from unscatter.events.store.describing import Description
from unscatter.events.store.manifest import ShardRecord
from unscatter.events.store.statistics import Moments


@dataclass(frozen=True)
class Written:
    """Rows of a piece that are on the disk: ``rows_kept`` events, from row ``at`` of the unshuffled store on."""

    piece: int
    first_row: int
    rows_read: int
    rows_kept: int
    rows_cut: int
    rows_dropped: int
    at: int
    buckets: tuple[int, ...] = ()


@dataclass(frozen=True)
class Counted:
    """A piece has been read to its end: its rows, and how many of them are events."""

    piece: int
    rows_read: int
    rows_kept: int


@dataclass(frozen=True)
class Gathered:
    """A bucket of the shuffle is in its place: ``rows`` events, from row ``at`` of the store on."""

    bucket: int
    at: int
    rows: int


@dataclass(frozen=True)
class Finished:
    """A shard is complete and on the disk."""

    shard: int
    description: Description


Report: TypeAlias = Written | Counted | Gathered | Finished

_KINDS = {kind.__name__: kind for kind in (Written, Counted, Gathered, Finished)}


def to_json(report: Report) -> dict[str, Any]:
    """A report as a line of the journal.

    Example:
        >>> to_json(Counted(3, 100, 90))
        {'report': 'Counted', 'piece': 3, 'rows_read': 100, 'rows_kept': 90}
    """
    return {"report": type(report).__name__, **dataclasses.asdict(report)}


def from_json(line: dict[str, Any]) -> Report:
    """The report of a line of the journal.

    Example:
        >>> from_json(to_json(Counted(3, 100, 90)))
        Counted(piece=3, rows_read=100, rows_kept=90)
    """
    values = dict(line)
    kind = _KINDS[values.pop("report")]
    if kind is Finished:
        return Finished(values["shard"], _description(values["description"]))
    if kind is Written:
        values["buckets"] = tuple(values["buckets"])
    return kind(**values)


def _description(values: dict[str, Any]) -> Description:
    record = {**values["record"], "blocks": tuple(values["record"]["blocks"])}
    return Description(ShardRecord(**record), tuple(Moments(**moments) for moments in values["moments"]))
