"""What an ingest will do, decided before the first row is read: the sources, and the pieces in which they are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from unscatter.errors import EventsFileError
from unscatter.events.agreement import Agreement
from unscatter.events.formats import EventReader, open_events
from unscatter.events.locations import find_files, identity, is_remote
from unscatter.events.recipe import Recipe
from unscatter.events.store.describing import check_units
from unscatter.events.store.layout import Layout
from unscatter.events.store.shuffling import num_buckets
from unscatter.files import as_json

#: Rows of a piece of a file, as far as the file can be entered there: what a worker reads at a time.
PIECE_ROWS = 1 << 20


@dataclass(frozen=True)
class Source:
    """One file: where it is, what it was like when the ingest began, its rows where the file says them."""

    location: str
    identity: Mapping[str, Any]
    num_rows: int | None


@dataclass(frozen=True)
class Piece:
    """Rows ``[first_row, last_row)`` of a source; up to its end where ``last_row`` is None."""

    source: int
    first_row: int
    last_row: int | None

    @property
    def num_rows(self) -> int | None:
        """Rows of the file, where they are known."""
        return None if self.last_row is None else self.last_row - self.first_row


@dataclass(frozen=True)
class Plan:
    """Everything that workers need to know.

    Args:
        sources: the files in their order.
        pieces: their parts in the order of the rows; what the store holds does not depend on how the sources are cut.
        needed: columns of the files that are read.
        recipe: how events are made of them.
        layout: geometry of the shards.
        weight: the store's column of the weights, or None.
        tree: which tree of the files.
        shuffle: seed of the order of the rows, or None.
        buckets: into how many parts the rows are scattered before they are shuffled.
        created: when the ingest was begun.
    """

    sources: tuple[Source, ...]
    pieces: tuple[Piece, ...]
    needed: tuple[str, ...]
    recipe: Recipe
    layout: Layout
    weight: str | None
    tree: str | None
    shuffle: int | None
    buckets: int
    created: str

    @cached_property
    def keeps_all(self) -> bool:
        """Whether every row becomes an event, else the ingest fails."""
        return not self.recipe.cuts and self.recipe.not_finite == "fail"

    def expected(self, piece: int) -> int | None:
        """Events of a piece, where they are known beforehand."""
        return self.pieces[piece].num_rows if self.keeps_all else None

    @cached_property
    def rows_to_read(self) -> int | None:
        """Rows of all sources, where they say how many."""
        rows = [source.num_rows for source in self.sources]
        return None if None in rows else sum(row for row in rows if row is not None)

    def terms(self) -> dict[str, Any]:
        """What two ingests must have in common for the one to go on where the other stopped."""
        return as_json({
            "recipe": dataclasses.asdict(self.recipe), "tree": self.tree, "shuffle": self.shuffle,
            "rows_per_block": self.layout.rows_per_block, "blocks_per_shard": self.layout.blocks_per_shard,
        })  # fmt: skip


def make_plan(
    sources: str | Path | Sequence[str | Path],
    recipe: Recipe,
    *,
    tree: str | None,
    shuffle: int | None,
    rows_per_block: int,
    blocks_per_shard: int,
) -> Plan:
    """Open every source, check that they fit together, and cut them into pieces.

    Raises:
        EventsFileError: a source is missing, damaged or empty.
        EventsError: two sources differ in their columns.
        SettingsError: a unit is none of a column's.
    """
    found, pieces, agreement, needed = [], [], Agreement(), ()
    for number, location in enumerate(map(_absolute, find_files(sources))):
        seen = identity(location)._asdict()
        with open_events(location, tree=tree) as reader:
            available = reader.columns()
            needed_here = recipe.needed(available, location)
            needed = needed or needed_here
            agreement.check(location, available, needed_here, recipe.names(available))
            found.append(Source(location, seen, reader.num_rows()))
            pieces.extend(_pieces(number, reader))
    weight = None if recipe.weight is None else _free_name(agreement.names)
    columns = agreement.names + (() if weight is None else (weight,))
    check_units(columns, recipe.units)
    sizes = [(source.num_rows, source.identity["size"]) for source in found]
    return Plan(
        sources=tuple(found), pieces=tuple(pieces), needed=needed, recipe=recipe,
        layout=Layout(columns, recipe.dtype, rows_per_block, blocks_per_shard), weight=weight, tree=tree, shuffle=shuffle,
        buckets=1 if shuffle is None else num_buckets(sizes), created=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip


def identity_words(identity: Mapping[str, Any]) -> str:
    """What a file was like, for messages.

    Example:
        >>> identity_words({"size": 1200, "version": "W/3"})
        '1,200 bytes (version W/3)'
    """
    size = identity.get("size")
    return f"{f'{size:,} bytes' if size is not None else 'of unknown size'} ({_when(identity.get('version'))})"


def _when(version: Any) -> str:
    """The time of the last change of a local file, or the version as a server calls it."""
    if str(version).isdecimal():
        return f"changed {datetime.fromtimestamp(int(version) / 1e9, UTC).isoformat(timespec='milliseconds')}"
    return f"version {version}"


def _absolute(location: str) -> str:
    return location if is_remote(location) else str(Path(location).absolute())


def _free_name(names: Sequence[str]) -> str:
    """``weight``, or something like it where the events have a column of that name."""
    name = "weight"
    while name in names:
        name += "_"
    return name


def _pieces(number: int, reader: EventReader) -> Iterator[Piece]:
    rows = reader.num_rows()
    if rows is None:
        yield Piece(number, 0, None)
        return
    if rows == 0:
        raise EventsFileError(f"'{reader.location}' has columns but no events (0 rows).")
    edges = [0, *_entrances(reader, rows), rows]
    yield from (Piece(number, first, last) for first, last in zip(edges, edges[1:], strict=False))


def _entrances(reader: EventReader, rows: int) -> Iterator[int]:
    """Rows inside a file, about a piece apart, where reading can begin: where the file says that it is cheap, or anywhere."""
    entrances, latest = reader.entrances(), 0
    for row in range(PIECE_ROWS, rows, PIECE_ROWS) if entrances is None else entrances:
        if row - latest >= PIECE_ROWS and rows - row >= PIECE_ROWS // 2:
            yield row
            latest = row
