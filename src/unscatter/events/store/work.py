"""What a worker does with a task: read a piece, gather a bucket, finish a shard."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, Protocol, runtime_checkable

import numpy as np

from unscatter.errors import EventsError, EventsFileError
from unscatter.events.faults import Faults
from unscatter.events.formats import Chunk, open_events
from unscatter.events.locations import identity
from unscatter.events.recipe import Prepared
from unscatter.events.store.books import FinishShard, GatherBucket, ReadPiece, Task
from unscatter.events.store.finishing import finish_shard
from unscatter.events.store.plan import Piece, Plan, Source, identity_words
from unscatter.events.store.reports import Counted, Finished, Gathered, Report, Written
from unscatter.events.store.shuffling import shuffle
from unscatter.events.store.sinks import ScatterSink, ShardSink, Sink, read_scattered

#: Rows that are read and prepared at a time.
CHUNK_ROWS = 1 << 18
#: Rows or seconds after which what has been written is brought to the disk and reported.
COMMIT_ROWS, COMMIT_S = 1 << 20, 10.0
#: Events that a worker keeps in memory while it is not known where they go.
MAX_WAITING = 1 << 20


@runtime_checkable
class Starts(Protocol):
    """Tells the first row of the piece that a worker is reading."""

    def __call__(self, *, wait: bool) -> int | None:
        """The row, once it is known; None where it is not and shall not be waited for."""
        ...


@dataclass(frozen=True)
class Workshop:
    """Where tasks are done.

    Args:
        plan: what the ingest does.
        partial: directory of the unfinished store.
    """

    plan: Plan
    partial: Path

    def do(self, task: Task, starts: Starts) -> Iterator[Report]:
        """Do one task; what is reported is on the disk.

        Raises:
            EventsError: a source is damaged, has changed, or holds what cannot be events.
            StoreError: the store cannot be written.
        """
        match task:
            case ReadPiece():
                yield from self._read(task, starts)
            case GatherBucket():
                yield self._gather(task)
            case FinishShard():
                yield Finished(task.shard, finish_shard(self.partial, self.plan.layout, task.shard, task.rows))

    def _read(self, task: ReadPiece, starts: Starts) -> Iterator[Report]:
        with closing(self._sink()) as sink:
            yield from self._read_into(_Writer(task, sink), task, starts)

    def _read_into(self, writer: _Writer, task: ReadPiece, starts: Starts) -> Iterator[Report]:
        piece = self.plan.pieces[task.piece]
        source = self.plan.sources[piece.source]
        start = task.start
        for chunk in self._chunks(source, piece, task.first_row):
            writer.add(chunk, self._prepared(chunk, source))
            if start is None:
                start = starts(wait=writer.waiting > MAX_WAITING)
            if start is not None:
                yield from writer.write(start)
        _check_unchanged(source)
        yield Counted(task.piece, task.first_row - piece.first_row + writer.rows_read, task.kept_before + writer.rows_kept)
        start = starts(wait=True) if start is None else start
        assert start is not None
        yield from writer.write(start)
        yield from writer.commit()

    def _chunks(self, source: Source, piece: Piece, first_row: int) -> Iterator[Chunk]:
        """Chunks of a piece from ``first_row`` on."""
        if first_row == piece.last_row:
            return
        with open_events(source.location, tree=self.plan.tree) as reader:
            for chunk in reader.chunks(self.plan.needed, first_row=first_row, rows_per_chunk=CHUNK_ROWS):
                inside = chunk if piece.last_row is None else _up_to(chunk, piece.last_row)
                yield inside
                if inside.first_row + _rows(inside) == piece.last_row:
                    return

    def _prepared(self, chunk: Chunk, source: Source) -> Prepared:
        prepared, faults = self.plan.recipe.prepare(chunk, source.location)
        if faults.num_bad or faults.negative:
            self._refuse(source)
        return prepared

    def _refuse(self, source: Source) -> NoReturn:
        """Count what is wrong with all of a source, so that one message says it."""
        whole = self._chunks(source, Piece(0, 0, None), 0)
        faults = sum((self.plan.recipe.prepare(chunk, source.location)[1] for chunk in whole), Faults())
        try:
            faults.check(source.location, self.plan.recipe.weight)
        except EventsError as error:
            way_out = "\nIn this command: --not-finite drop" if faults.num_bad else ""
            raise EventsError(f"{error}{way_out}") from None
        raise EventsFileError(f"'{source.location}' changed while it was read.")

    def _sink(self) -> Sink:
        if self.plan.shuffle is None:
            return ShardSink(self.partial, self.plan.layout)
        return ScatterSink(self.partial, self.plan.shuffle, self.plan.buckets)

    def _gather(self, task: GatherBucket) -> Gathered:
        assert self.plan.shuffle is not None
        table = read_scattered(self.partial, task.parts, self.plan.layout)
        columns = np.ascontiguousarray(shuffle(table, self.plan.shuffle, task.bucket).T)
        if len(table):
            with closing(ShardSink(self.partial, self.plan.layout)) as sink:
                sink.write(task.start, list(columns))
                sink.commit()
        return Gathered(task.bucket, task.start, len(table))


class _Writer:
    """Events of one piece between reading and writing: they wait here until their place is known."""

    def __init__(self, task: ReadPiece, sink: Sink) -> None:
        self.task, self.sink = task, sink
        self.rows_read = self.rows_kept = self.waiting = 0
        self._waiting: deque[tuple[Chunk, Prepared]] = deque()
        self._written: Written | None = None
        self._next = task.kept_before
        self._committed_s = time.monotonic()

    def add(self, chunk: Chunk, prepared: Prepared) -> None:
        self._waiting.append((chunk, prepared))
        self.rows_read += _rows(chunk)
        self.rows_kept += len(prepared.values)
        self.waiting += len(prepared.values)

    def write(self, start: int) -> Iterator[Written]:
        """Write what waits, ``start`` being the first row of the piece; report what is on the disk."""
        while self._waiting:
            chunk, prepared = self._waiting.popleft()
            at = start + self._next
            self.sink.write(at, _columns(prepared))
            self._next += len(prepared.values)
            self._enter(chunk, prepared, at)
            if self._due():
                yield from self.commit()
        self.waiting = 0

    def commit(self) -> Iterator[Written]:
        """Bring to the disk what was written since the last time."""
        if self._written is not None:
            buckets = self.sink.commit()
            yield replace(self._written, buckets=buckets)
        self._written, self._committed_s = None, time.monotonic()

    def _enter(self, chunk: Chunk, prepared: Prepared, at: int) -> None:
        before = self._written or Written(self.task.piece, chunk.first_row, 0, 0, 0, 0, at)
        self._written = replace(
            before, rows_read=before.rows_read + _rows(chunk), rows_kept=before.rows_kept + len(prepared.values),
            rows_cut=before.rows_cut + prepared.cut, rows_dropped=before.rows_dropped + prepared.dropped,
        )  # fmt: skip

    def _due(self) -> bool:
        written = self._written
        return written is not None and (written.rows_read >= COMMIT_ROWS or time.monotonic() - self._committed_s > COMMIT_S)


def _columns(prepared: Prepared) -> list[np.ndarray]:
    columns = [*prepared.values.T, *(() if prepared.weights is None else (prepared.weights,))]
    return [np.ascontiguousarray(column) for column in columns]


def _rows(chunk: Chunk) -> int:
    return len(next(iter(chunk.columns.values())))


def _up_to(chunk: Chunk, last_row: int) -> Chunk:
    """The chunk without what lies behind ``last_row``."""
    if chunk.first_row + _rows(chunk) <= last_row:
        return chunk
    return Chunk(chunk.first_row, {name: column[: last_row - chunk.first_row] for name, column in chunk.columns.items()})


def _check_unchanged(source: Source) -> None:
    now = identity(source.location)._asdict()
    if now != source.identity:
        raise EventsFileError(
            f"'{source.location}' changed while it was read: it was {identity_words(source.identity)}, now {identity_words(now)}.\n"
            "Wait until it is complete, and start again."
        )
