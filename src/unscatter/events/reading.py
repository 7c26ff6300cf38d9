"""Events from files into memory."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch

from unscatter.arrays import Events
from unscatter.errors import EventsError, EventsFileError, SettingsError
from unscatter.events.agreement import Agreement
from unscatter.events.faults import Faults
from unscatter.events.formats import open_events
from unscatter.events.formats.messages import readable
from unscatter.events.locations import arrow_input, find_files, is_remote, suffix
from unscatter.events.recipe import Prepared, Recipe
from unscatter.events.store import EventStore, is_store
from unscatter.events.validation import check_events

#: Where the metadata of a Parquet file say which parameters its events were made with, as a JSON object.
PARAMETERS_KEY = b"unscatter.parameters"

#: Columns of these names are taken for forgotten weights when they are not asked for.
_WEIGHT_NAMES = ("weight", "weights")

_DTYPES: dict[torch.dtype, Literal["float32", "float64"]] = {torch.float32: "float32", torch.float64: "float64"}


def read_events(
    path: str | Path | Sequence[str | Path],
    columns: Mapping[str, str] | Sequence[str] | None = None,
    weight: str | None = None,
    dtype: torch.dtype = torch.float32,
    *,
    tree: str | None = None,
    cuts: Sequence[str] = (),
    constants: Mapping[str, float] | None = None,
    not_finite: Literal["fail", "drop"] = "fail",
) -> Events:
    r"""Read the events of one channel into memory.

    Files are told apart by their endings: ``.root`` (TTree or RNTuple), ``.parquet``, ``.arrow`` and ``.feather``, ``.h5`` and ``.hdf5``,
    ``.npy`` and ``.npz``, ``.csv`` (first line: column names), ``.hepmc`` and ``.hepmc3`` (also ``.gz``; see the list of their columns in
    :func:`~unscatter.events.formats.scattered.scattered_lepton`).  ROOT, HDF5 and HepMC need the extra ``io``, URLs the extra ``remote``.

    Args:
        path: a file, a URL, a pattern as ``run*.root``, a directory, or a list of these; several files are one after another.  Of an
            event store all events are read, with their weights.
        columns: the columns to read, or ``{our name: name in the file}``, or None for all; a formula over the file's columns makes a new
            one, ``{"x": "Q2 / (s * y)"}``, see :class:`~unscatter.events.Expression`.  The columns of a plain npy array have no names: give
            one per column, or choose by position with ``{our name: "0"}``.
        weight: the column or formula of the weights; in a plain npy array the last column, unless chosen by position.
        dtype: ``torch.float32`` or ``torch.float64``.
        tree: which tree of a ROOT file, or which group or data set of an HDF5 file, where there are several.
        cuts: conditions, ``["Q2 > 4", "0.01 < y < 0.95"]``; only events that fulfil all of them are kept.
        constants: numbers that formulas may name, ``{"s": 19800.0}``.
        not_finite: whether an event with NaN or infinity that no cut removes is an error, or dropped.

    Returns:
        Events ``[num_events, columns]``.

    Raises:
        EventsFileError: a file is missing, empty, unreadable or damaged, or a pattern finds none.
        ColumnError: a column is not there.
        EventsError: a value is text, NaN or infinite, or a weight is negative, with the first row of such; files differ in their columns.
        SettingsError: ``columns``, ``dtype`` or a formula is impossible.
        MissingExtraError: the library for this kind of file is not installed.

    Warns:
        UserWarning: the file has a column ``weight`` that is not used, or events were dropped.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "events.csv"
        >>> _ = path.write_text("Q2,y,w\n4,0.1,1\n9,0.2,0.5\n1,0.9,1\n")
        >>> events = read_events(path, {"x": "Q2 / (s * y)"}, weight="w", cuts=["Q2 > 2"], constants={"s": 100})
        >>> events.values, events.weights
        (tensor([[0.4000], [0.4500]]), tensor([1.0000, 0.5000]))
    """
    if dtype not in _DTYPES:
        raise SettingsError(f"'dtype' must be torch.float32 or torch.float64 for events, got {dtype}.")
    files, weight = _files_and_weight(path, weight)
    recipe = Recipe(
        columns=columns, weight=weight, cuts=cuts, constants=constants or {}, not_finite=not_finite, dtype=_DTYPES[dtype]
    )  # fmt: skip
    agreement = Agreement()
    parts = [_read_file(file, recipe, tree, agreement) for file in files]
    _warn_of_dropped({file: part for file, part in zip(files, parts, strict=True) if part.dropped})
    return _assembled(parts, recipe, files, tuple(agreement.names))


def _files_and_weight(path: str | Path | Sequence[str | Path], weight: str | None) -> tuple[list[str], str | None]:
    """What is read; of an event store its shards, and the weights that it holds unless others are asked for."""
    if not isinstance(path, str | Path) or is_remote(path) or not is_store(path):
        return find_files(path), weight
    store = EventStore.open(path)
    return [str(shard) for shard in store.shard_paths], weight or store.manifest.weight


class _Part(NamedTuple):
    """Events of one file."""

    values: list[np.ndarray]
    weights: list[np.ndarray]
    num_rows: int
    dropped: int


def _read_file(file: str, recipe: Recipe, tree: str | None, agreement: Agreement) -> _Part:
    with open_events(file, tree=tree) as reader:
        available = reader.columns()
        needed = recipe.needed(available, file)
        if agreement.is_first:
            warn_of_weights(tuple(available), needed, file)
        agreement.check(file, available, needed, recipe.names(available))
        prepared = [*_prepared(reader.chunks(needed), recipe, file)]
    weights = [part.weights for part in prepared if part.weights is not None]
    kept = [np.ascontiguousarray(part.values) for part in prepared]
    num_dropped, num_cut = sum(part.dropped for part in prepared), sum(part.cut for part in prepared)
    return _Part(kept, weights, sum(map(len, kept)) + num_dropped + num_cut, num_dropped)


def _prepared(chunks: Iterator[Any], recipe: Recipe, file: str) -> Iterator[Prepared]:
    """The events of all chunks, and at their end an error if some were faulty, so that it counts those of the whole file."""
    faults = Faults()
    for chunk in chunks:
        prepared, found = recipe.prepare(chunk, file)
        faults += found
        yield prepared
    faults.check(file, recipe.weight)


def _assembled(parts: Sequence[_Part], recipe: Recipe, files: Sequence[str], names: tuple[str, ...]) -> Events:
    source = f"'{files[0]}'" + (f" and {len(files) - 1} more files" if len(files) > 1 else "")
    values = _joined([array for part in parts for array in part.values])
    if len(values) == 0:
        num_rows = sum(part.num_rows for part in parts)
        reasons = [f"'{cut}'" for cut in recipe.cuts] + (["not_finite: drop"] if any(part.dropped for part in parts) else [])
        raise EventsError(f"nothing is left of the {num_rows} events in {source} after {', '.join(reasons)}. Compare the units.")
    weights = None if recipe.weight is None else torch.from_numpy(_joined([array for part in parts for array in part.weights]))
    return check_events(Events(torch.from_numpy(values), names, weights), source, weight_name=recipe.weight or "weight")


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.ascontiguousarray(arrays[0]) if len(arrays) == 1 else np.concatenate(arrays)


def warn_of_weights(names: Sequence[str], used: Sequence[str], location: str) -> None:
    """Say that weights are left out: events that count all the same are another measurement."""
    for name in names:
        if name.lower() in _WEIGHT_NAMES and name not in used:
            warnings.warn(
                f"the column '{name}' of '{location}' is not used, and every event counts as one. To use it as the events' weights, say "
                f"so: weight: {name} beside path: in a runcard, read_events(..., weight='{name}') in Python.",
                UserWarning,
                stacklevel=3,
            )


def _warn_of_dropped(parts: Mapping[str, _Part]) -> None:
    if not parts:
        return
    facts = ", ".join(f"{part.dropped} of {part.num_rows} in '{file}'" for file, part in parts.items())
    warnings.warn(f"events with values that are NaN or infinite were dropped: {facts}.", UserWarning, stacklevel=3)


def column_names(path: str | Path, *, tree: str | None = None) -> tuple[str, ...]:
    """Names of the columns of a file of events, read without its rows; ``"0", "1", ...`` for a plain npy array.

    Args:
        path: the file, or a URL.
        tree: which tree of a ROOT file, or which group or data set of an HDF5 file, where there are several.

    Raises:
        EventsFileError: the file is missing, empty, unreadable or damaged.
    """
    with open_events(path, tree=tree) as reader, readable(reader.location):
        return tuple(reader.columns())


def read_parameters(path: str | Path | Sequence[str | Path]) -> dict[str, float] | None:
    """Parameters that the events of a file were made with, by name; None where it does not say, as files of measured events.

    Only Parquet files that :func:`~unscatter.events.write_events` wrote with ``parameters`` say it; of several files all must say the same.

    Raises:
        EventsFileError: a file is missing, empty, unreadable or damaged.
    """
    said = [_parameters_of(file) for file in find_files(path)]
    return said[0] if all(other == said[0] for other in said) else None


def _parameters_of(file: str) -> dict[str, float] | None:
    if suffix(file) != ".parquet":
        return None
    with readable(file):
        text = (pq.read_schema(arrow_input(file)).metadata or {}).get(PARAMETERS_KEY)
        record = None if text is None else json.loads(text)
    if record is None:
        return None
    if not isinstance(record, dict) or not all(isinstance(value, int | float) for value in record.values()):
        raise EventsFileError(f"the metadata '{PARAMETERS_KEY.decode()}' of '{file}' are not a number per name, but {record!r}.")
    return {name: float(value) for name, value in record.items()}
