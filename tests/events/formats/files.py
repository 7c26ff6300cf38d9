"""The same few events in every format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import uproot

Columns = dict[str, np.ndarray]
Writer = Callable[[Path, Columns], Path]

#: Dtypes of the columns of :func:`some_events`, which CSV reads in double precision.
DTYPES = {"x": np.dtype(np.float32), "Q2": np.dtype(np.float64), "n": np.dtype(np.int32)}


def some_events(num_events: int = 1000, seed: int = 1) -> Columns:
    random = np.random.default_rng(seed)
    return {
        "x": random.random(num_events).astype(np.float32),
        "Q2": 1 + 100 * random.random(num_events),
        "n": random.integers(0, 9, num_events).astype(np.int32),
    }


def structured(columns: Columns) -> np.ndarray:
    rows = np.empty(len(columns["x"]), dtype=[(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        rows[name] = column
    return rows


def parquet(folder: Path, columns: Columns) -> Path:
    pq.write_table(pa.table(columns), folder / "events.parquet", row_group_size=300)
    return folder / "events.parquet"


def csv(folder: Path, columns: Columns) -> Path:
    rows = zip(*(column.astype(float) for column in columns.values()), strict=True)
    lines = [",".join(columns), *(",".join(f"{float(value)!r}" for value in row) for row in rows)]
    (folder / "events.csv").write_text("\n".join(lines) + "\n")
    return folder / "events.csv"


def npy(folder: Path, columns: Columns) -> Path:
    np.save(folder / "events.npy", structured(columns))
    return folder / "events.npy"


def npz(folder: Path, columns: Columns) -> Path:
    np.savez(folder / "events.npz", **columns)  # pyright: ignore[reportArgumentType]
    return folder / "events.npz"


def arrow(folder: Path, columns: Columns) -> Path:
    table = pa.table(columns)
    with pa.ipc.new_file(str(folder / "events.arrow"), table.schema) as file:
        file.write_table(table, max_chunksize=300)
    return folder / "events.arrow"


def arrow_stream(folder: Path, columns: Columns) -> Path:
    table = pa.table(columns)
    with pa.ipc.new_stream(str(folder / "stream.arrow"), table.schema) as file:
        file.write_table(table, max_chunksize=300)
    return folder / "stream.arrow"


def feather(folder: Path, columns: Columns) -> Path:
    pyarrow.feather.write_feather(pa.table(columns), str(folder / "events.feather"), compression="lz4", chunksize=300)
    return folder / "events.feather"


def hdf5_columns(folder: Path, columns: Columns) -> Path:
    with h5py.File(folder / "events.h5", "w") as file:
        for name, column in columns.items():
            file.create_dataset(f"run/events/{name}", data=column)
    return folder / "events.h5"


def hdf5_compound(folder: Path, columns: Columns) -> Path:
    with h5py.File(folder / "events.hdf5", "w") as file:
        file.create_dataset("events", data=structured(columns), maxshape=(None,), chunks=(300,))
    return folder / "events.hdf5"


def ttree(folder: Path, columns: Columns) -> Path:
    with uproot.recreate(folder / "tree.root") as file:
        tree = file.mktree("events", {name: column.dtype for name, column in columns.items()})
        for start in range(0, len(columns["x"]), 300):
            tree.extend({name: column[start : start + 300] for name, column in columns.items()})
    return folder / "tree.root"


def rntuple(folder: Path, columns: Columns) -> Path:
    with uproot.recreate(folder / "ntuple.root") as file:
        file.mkrntuple("events", columns)
    return folder / "ntuple.root"


WRITERS: tuple[Writer, ...] = (
    parquet, csv, npy, npz, arrow, arrow_stream, feather, hdf5_columns, hdf5_compound, ttree, rntuple,
)  # fmt: skip
