"""The books of an ingest: from the reports of the workers to what is left to do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np

from unscatter.errors import EventsFileError
from unscatter.events.store.describing import Description
from unscatter.events.store.plan import Plan
from unscatter.events.store.reports import Counted, Finished, Gathered, Report, Written


@dataclass(frozen=True)
class ReadPiece:
    """Read a piece from ``first_row`` of the file on, ``kept_before`` of its events being written already.

    ``start`` is the piece's first row in the store; None where the pieces before it have to be counted first.
    """

    piece: int
    first_row: int
    kept_before: int
    start: int | None


@dataclass(frozen=True)
class GatherBucket:
    """Shuffle a bucket and put it in its place: of each scattered file (known by its ``at``) the rows from ``first`` to ``last``."""

    bucket: int
    start: int
    parts: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class FinishShard:
    """Make a shard of ``rows`` rows complete, all of which are written."""

    shard: int
    rows: int


Task: TypeAlias = ReadPiece | GatherBucket | FinishShard


@dataclass
class _PieceState:
    """How far a piece is."""

    next_row: int
    kept: int = 0
    read: int = 0
    cut: int = 0
    dropped: int = 0
    counted: Counted | None = None

    @property
    def done(self) -> bool:
        return self.counted is not None and self.counted.rows_read == self.read


@dataclass
class Books:
    """What has been done, from the reports in any order that workers make, and what is to be done next.

    Nothing here depends on time or on which worker did what, so that the same reports read from a journal lead on from there.
    """

    plan: Plan
    finished: dict[int, Description] = field(default_factory=dict)
    _gathered: set[int] = field(default_factory=set)
    _filled: Counter[int] = field(default_factory=Counter)
    _scattered: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _handed_out: set[tuple[type, int]] = field(default_factory=set)
    _starts: list[int] = field(default_factory=lambda: [0])
    _next_piece: int = 0

    def __post_init__(self) -> None:
        self.pieces = [_PieceState(piece.first_row) for piece in self.plan.pieces]
        self._count_on()

    def take(self, report: Report) -> None:
        """Enter a report.

        Raises:
            EventsFileError: a source has another number of rows than it promised.
        """
        match report:
            case Written():
                self._written(report)
            case Counted():
                self._check_count(report)
                self.pieces[report.piece].counted = report
                self._count_on()
            case Gathered():
                self._gathered.add(report.bucket)
                self._fill(report.at, report.rows)
            case Finished():
                self.finished[report.shard] = report.description

    def next_task(self) -> Task | None:
        """Something that nobody does yet; None where everything else has to wait for what is being done."""
        task = self._shard_to_finish() or self._piece_to_read() or self._bucket_to_gather()
        if task is not None:
            self._handed_out.add(_key(task))
        return task

    def start(self, piece: int) -> int | None:
        """The first row of a piece in the unshuffled store, once it is known."""
        return self._starts[piece] if piece < len(self._starts) else None

    @property
    def num_rows(self) -> int | None:
        """Events of the store, once they are known."""
        return self.start(len(self.pieces))

    @property
    def complete(self) -> bool:
        """Whether all shards are finished."""
        return self._all_read and len(self.finished) == len(self.plan.layout.shard_rows(self.num_rows or 0))

    @property
    def rows_read(self) -> int:
        """Rows of the sources that are done with."""
        return sum(piece.read for piece in self.pieces)

    @property
    def rows_gathered(self) -> int:
        """Rows that are shuffled and in their place."""
        return sum(self._filled.values()) if self.plan.shuffle is not None else 0

    @property
    def _all_read(self) -> bool:
        return all(piece.done for piece in self.pieces)

    def _written(self, report: Written) -> None:
        piece = self.pieces[report.piece]
        piece.next_row = report.first_row + report.rows_read
        piece.read += report.rows_read
        piece.kept += report.rows_kept
        piece.cut += report.rows_cut
        piece.dropped += report.rows_dropped
        if self.plan.shuffle is None:
            self._fill(report.at, report.rows_kept)
        elif report.rows_kept:
            self._scattered[report.at] = report.buckets

    def _fill(self, at: int, rows: int) -> None:
        for stretch in self.plan.layout.stretches(at, rows):
            self._filled[stretch.shard] += stretch.num_rows

    def _check_count(self, report: Counted) -> None:
        expected, source = self.plan.pieces[report.piece].num_rows, self.plan.sources[self.plan.pieces[report.piece].source]
        if expected is not None and report.rows_read != expected:
            raise EventsFileError(
                f"'{source.location}' gave {report.rows_read:,} rows where {expected:,} were promised: it is damaged, or changed while it "
                "was read."
            )

    def _count_on(self) -> None:
        """The start of a piece is known once all pieces before it are counted, or have a known number of events."""
        while len(self._starts) <= len(self.pieces):
            number = len(self._starts) - 1
            counted = self.pieces[number].counted if number < len(self.pieces) else None
            kept = counted.rows_kept if counted else self.plan.expected(number) if number < len(self.pieces) else None
            if kept is None:
                break
            self._starts.append(self._starts[-1] + kept)

    def _shard_to_finish(self) -> FinishShard | None:
        for shard, filled in self._filled.items():
            if shard not in self.finished and filled == self._shard_rows(shard) and (FinishShard, shard) not in self._handed_out:
                return FinishShard(shard, filled)
        return None

    def _shard_rows(self, shard: int) -> int:
        full = self.plan.layout.rows_per_shard
        return full if self.num_rows is None else min(full, self.num_rows - shard * full)

    def _piece_to_read(self) -> ReadPiece | None:
        while self._next_piece < len(self.pieces):
            number, piece = self._next_piece, self.pieces[self._next_piece]
            if not piece.done and (ReadPiece, number) not in self._handed_out:
                return ReadPiece(number, piece.next_row, piece.kept, self.start(number))
            self._next_piece += 1
        return None

    def _bucket_to_gather(self) -> GatherBucket | None:
        if self.plan.shuffle is None or not self._all_read:
            return None
        for bucket in range(self.plan.buckets):
            if bucket not in self._gathered and (GatherBucket, bucket) not in self._handed_out:
                return self._gathering(bucket)
        return None

    def _gathering(self, bucket: int) -> GatherBucket:
        ends = self._bucket_ends[:, bucket].tolist()
        firsts = self._bucket_ends[:, bucket - 1].tolist() if bucket else [0] * len(ends)
        parts = zip(sorted(self._scattered), firsts, ends, strict=True)
        return GatherBucket(bucket, sum(firsts), tuple(part for part in parts if part[1] < part[2]))

    @cached_property
    def _bucket_ends(self) -> np.ndarray:
        """Where each bucket ends in each scattered file, ``[file, bucket]``; to be asked for when all is read."""
        return np.array([self._scattered[at] for at in sorted(self._scattered)]).cumsum(axis=1)


def _key(task: Task) -> tuple[type, int]:
    match task:
        case ReadPiece():
            return ReadPiece, task.piece
        case GatherBucket():
            return GatherBucket, task.bucket
        case FinishShard():
            return FinishShard, task.shard
