"""From files of events to a store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unscatter.errors import EventsError, SettingsError, StoreError, UnreachableError
from unscatter.events.hashing import MAX_KEY
from unscatter.events.recipe import Recipe
from unscatter.events.store.books import Books
from unscatter.events.store.crew import work_alone, work_together
from unscatter.events.store.journal import Journal, open_journal
from unscatter.events.store.layout import BLOCKS_PER_SHARD, JOURNAL_NAME, ROWS_PER_BLOCK, SHARDS_NAME, partial_path
from unscatter.events.store.manifest import Manifest, SourceRecord, write_manifest
from unscatter.events.store.plan import Plan, make_plan
from unscatter.events.store.reports import Report
from unscatter.events.store.sinks import SCATTERED_NAME, refusals
from unscatter.events.store.store import EventStore
from unscatter.events.store.work import Workshop
from unscatter.events.store.writing import manifest_of, refuse_existing
from unscatter.files import as_json, quoted, synchronise_directory


@dataclass(frozen=True)
class Progress:
    """How far an ingest is.

    Args:
        phase: ``reading`` or ``shuffling``.
        done: rows of the sources that are done with in this phase.
        total: of how many; None where a source does not say.
    """

    phase: str
    done: int
    total: int | None


def ingest(
    sources: str | Path | Sequence[str | Path],
    store: str | Path,
    recipe: Recipe | None = None,
    *,
    tree: str | None = None,
    workers: int | None = None,
    shuffle: int | None = None,
    rows_per_block: int = ROWS_PER_BLOCK,
    blocks_per_shard: int = BLOCKS_PER_SHARD,
    progress: Callable[[Progress], None] | None = None,
) -> EventStore:
    r"""Convert files of events to a store.

    The store is written beside its place, under the ending ``.partial``, and renamed when it is complete.  An ingest that was stopped, by
    whatever, goes on where it was when it is started again.  What the store holds does not depend on interruptions or the number of
    workers, bit for bit.

    Args:
        sources: files, patterns, directories or URLs; the events are stored in this order.
        store: the new directory.
        recipe: which columns, weights and cuts; all columns of the files when left out.
        tree: which tree of ROOT files, or group of HDF5 files.
        workers: how many work at a time, in threads or, for large files, in processes; one more than there are cores when left out.
        shuffle: a seed, to store the events in random order; needs twice the space on the disk while it works.
        rows_per_block: a multiple of 16.
        blocks_per_shard: blocks per file.
        progress: is called now and then.

    Raises:
        EventsError: sources are missing, damaged, differ in their columns, changed while they were read, or hold values that are not
            finite.
        StoreError: the store exists or cannot be written, or another ingest is writing it.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "events.csv").write_text("x,Q2\n0.1,4\n0.2,9\n0.3,1\n")
        >>> store = ingest(folder / "events.csv", folder / "store", Recipe(columns={"Q": "sqrt(Q2)"}, cuts=["Q2 > 2"]))
        >>> store.rows(0, 2)["Q"].tolist()
        [2.0, 3.0]
    """
    store, recipe = Path(store), recipe or Recipe()
    if workers is not None and workers < 1:
        raise SettingsError(f"'workers' must be at least 1, got {workers}.")
    if shuffle is not None and not 0 <= shuffle <= MAX_KEY:
        raise SettingsError(f"'shuffle' must be a seed from 0 to {MAX_KEY} (64 bits), got {shuffle}.")
    refuse_existing(store)
    _check_parent(store)
    plan = make_plan(
        sources, recipe, tree=tree, shuffle=shuffle, rows_per_block=rows_per_block, blocks_per_shard=blocks_per_shard
    )  # fmt: skip
    partial = partial_path(store)
    with refusals(partial):
        _check_space(partial, plan)
    with open_journal(partial) as journal:
        refuse_existing(store)
        try:
            _fill(journal, plan, workers, progress or (lambda _: None))
        except EventsError as error:
            # With sources as they are the same command would fail again, and others are another ingest: nothing of it is of use.
            if not isinstance(error, StoreError | UnreachableError):
                shutil.rmtree(partial)
            raise
        _put_in_place(partial, store)
    return EventStore.open(store)


def _fill(journal: Journal, plan: Plan, workers: int | None, progress: Callable[[Progress], None]) -> None:
    plan, done = journal.begin(plan)
    books = Books(plan)
    for report in done:
        books.take(report)

    def take(report: Report) -> None:
        books.take(report)
        journal.enter(report)
        progress(_progress(books))

    workshop, number = Workshop(plan, journal.partial), _num_workers(plan, workers)
    if number == 1:
        work_alone(workshop, books, take)
    else:
        work_together(number, workshop, books, take)
    assert books.complete or not books.num_rows
    _refuse_nothing(books)
    manifest = _manifest(books)
    if manifest.weight is not None and manifest.summary(manifest.weight).max == 0:
        raise EventsError(f"all weights '{plan.recipe.weight}' are zero as {manifest.dtype}: no event would count.")
    write_manifest(journal.partial, manifest)


def _progress(books: Books) -> Progress:
    if books.rows_gathered:
        return Progress("shuffling", books.rows_gathered, books.num_rows)
    return Progress("reading", books.rows_read, books.plan.rows_to_read)


def _num_workers(plan: Plan, asked: int | None) -> int:
    tasks = max(len(plan.pieces), 1 if plan.shuffle is None else plan.buckets)
    # One more than cores: there is always one that waits for the disk.
    return max(1, min(asked or _cores() + 1, tasks))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_parent(store: Path) -> None:
    if not store.parent.is_dir():
        raise StoreError(f"cannot write '{store}': there is no directory '{store.parent}'.\nMake it first: mkdir -p {quoted(store.parent)}")


def _check_space(partial: Path, plan: Plan) -> None:
    """Refuse at once what cannot fit, where it is known how many events there will be."""
    if plan.rows_to_read is None or not plan.keeps_all:
        return
    copies = 1 if plan.shuffle is None else 2
    there = sum(file.stat().st_blocks * 512 for file in partial.rglob("*") if file.is_file())
    needed, free = plan.rows_to_read * plan.layout.row_bytes * copies - there, shutil.disk_usage(partial.parent).free
    if needed > free:
        what = "the store" if copies == 1 else "the store and the scattered rows of the shuffle"
        raise StoreError(
            f"{what} will need {_size(needed)} more, but only {_size(free)} are free on the disk of '{partial.parent}'.\n"
            "Free some space, or choose a directory on another disk."
        )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.3g} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.3g} MB"


def _refuse_nothing(books: Books) -> None:
    if not books.num_rows:
        cut, dropped = sum(piece.cut for piece in books.pieces), sum(piece.dropped for piece in books.pieces)
        causes = ["the cuts"] * bool(cut) + ["the columns, of which one is NaN or infinite in every row that was dropped"] * bool(dropped)
        raise EventsError(
            f"no events are left: of {books.rows_read:,} rows {cut:,} were cut and {dropped:,} dropped.\nLook at {' and '.join(causes)}."
        )


def _manifest(books: Books) -> Manifest:
    plan = books.plan
    return manifest_of(
        plan.layout, [books.finished[shard] for shard in sorted(books.finished)], weight=plan.weight, units=dict(plan.recipe.units),
        sources=_sources(books), recipe=as_json(plan.terms()["recipe"] | {"tree": plan.tree}), shuffle=plan.shuffle, created=plan.created,
    )  # fmt: skip


def _sources(books: Books) -> tuple[SourceRecord, ...]:
    return tuple(_source(books, number) for number in range(len(books.plan.sources)))


def _source(books: Books, number: int) -> SourceRecord:
    source = books.plan.sources[number]
    parts = [state for state, piece in zip(books.pieces, books.plan.pieces, strict=True) if piece.source == number]
    return SourceRecord(
        location=source.location, identity=source.identity, rows_read=sum(part.read for part in parts),
        rows_kept=sum(part.kept for part in parts), rows_cut=sum(part.cut for part in parts),
        rows_dropped=sum(part.dropped for part in parts),
    )  # fmt: skip


def _put_in_place(partial: Path, store: Path) -> None:
    shutil.rmtree(partial / SCATTERED_NAME)
    with refusals(store):
        synchronise_directory(partial / SHARDS_NAME)
        os.rename(partial, store)
        synchronise_directory(store.parent)
        (store / JOURNAL_NAME).unlink()
