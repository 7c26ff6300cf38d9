"""How fast an ingest is, next to reading alone with uproot or pyarrow.

    python benchmarks/events/ingest.py
    python benchmarks/events/ingest.py --rows 6e7 --rounds 7 --only parquet

Both read the same files in turn, round after round, and the medians are compared; the files are written before, and are in the page
cache.  Reading alone makes NumPy arrays of all columns, chunk by chunk, and lets them go; an ingest also checks, writes, synchronises and
describes them.  They have as many processes each: one, where pyarrow may use all its threads for both, and one per core.  The processes
that read alone are running already; those of an ingest have to start.  Parquet is compressed by snappy, ROOT is written by uproot with
zlib, four columns of float32 each.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uproot as _uproot

from unscatter.events.store import ingest

#: It says little about its types.
uproot: Any = _uproot

COLUMNS = ("x", "Q2", "E", "theta")
CHUNK = 1 << 20
FILES = 4


def columns(num_rows: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(num_rows, np.float32) for name in COLUMNS}


def write_parquet(path: Path, num_rows: int, seed: int) -> None:
    with pq.ParquetWriter(path, pa.schema([(name, pa.float32()) for name in COLUMNS]), compression="snappy") as writer:
        for first in range(0, num_rows, CHUNK):
            writer.write_table(pa.table(columns(min(CHUNK, num_rows - first), seed + first)))


def write_root(path: Path, num_rows: int, seed: int) -> None:
    with uproot.recreate(path, compression=uproot.ZLIB(1)) as file:
        for first in range(0, num_rows, CHUNK // 4):
            part = columns(min(CHUNK // 4, num_rows - first), seed + first)
            file["events"].extend(part) if first else file.mktree("events", dict.fromkeys(COLUMNS, np.float32)).extend(part)


def num_rows(step: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(step.values())))


def read_parquet(path: Path) -> int:
    with pq.ParquetFile(path) as file:
        return sum(num_rows({str(i): column.to_numpy() for i, column in enumerate(batch.columns)}) for batch in file.iter_batches(CHUNK))


def read_root(path: Path) -> int:
    with uproot.open(path) as file:
        return sum(map(num_rows, file["events"].iterate(step_size=CHUNK, library="np")))


WRITE: dict[str, Callable[[Path, int, int], None]] = {"parquet": write_parquet, "root": write_root}
READ: dict[str, Callable[[Path], int]] = {"parquet": read_parquet, "root": read_root}


def single_threaded() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    pa.set_cpu_count(1)


def read_all(kind: str, files: list[Path], pool: Pool | None) -> int:
    return sum(map(READ[kind], files) if pool is None else pool.imap_unordered(READ[kind], files))


def ingest_all(files: list[Path], store: Path, workers: int) -> int:
    # The start of a worker, which takes a second or two, is part of the time.
    try:
        return ingest(files, store, workers=workers).num_rows
    finally:
        shutil.rmtree(store, ignore_errors=True)


def timed(work: Callable[[], int]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(kind: str, files: list[Path], folder: Path, num_rows: int, workers: int, rounds: int) -> None:
    context = mp.get_context("spawn")
    pool = context.Pool(workers, single_threaded) if workers > 1 else None
    reading, ingesting = [], []
    for _ in range(rounds):
        reading.append(timed(partial(read_all, kind, files, pool)))
        ingesting.append(timed(partial(ingest_all, files, folder / "store", workers)))
    if pool is not None:
        pool.terminate()
    ratios = sorted(read / wrote for read, wrote in zip(reading, ingesting, strict=True))
    read, wrote = (num_rows / statistics.median(times) / 1e6 for times in (reading, ingesting))
    size = 4 * len(COLUMNS)
    print(
        f"{kind:<8} {workers} {'process ' if workers == 1 else 'processes'}  reading {read:6.1f} M rows/s ({read * size:5.0f} MB/s)   "
        f"ingest {wrote:6.1f} M rows/s ({wrote * size:5.0f} MB/s)   ratio {wrote / read:.2f}  (rounds {ratios[0]:.2f} to {ratios[-1]:.2f})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=3.2e7, help="events in all files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", choices=sorted(READ), default=None)
    parser.add_argument("--folder", type=Path, default=None, help="where the files are written; a temporary directory when left out")
    arguments = parser.parse_args()
    num_rows = int(arguments.rows)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        for kind in [arguments.only] if arguments.only else READ:
            files = [folder / f"run{number}.{kind}" for number in range(FILES)]
            for number, file in enumerate(files):
                WRITE[kind](file, num_rows // FILES, number)
            print(
                f"{kind:<8} {FILES} files, {sum(f.stat().st_size for f in files) / 1e6:.0f} MB, {num_rows // FILES * FILES:,} rows",
                flush=True,
            )
            for workers in sorted({1, arguments.workers}):
                compare(kind, files, folder, num_rows // FILES * FILES, workers, arguments.rounds)
            for file in files:
                file.unlink()


if __name__ == "__main__":
    sys.exit(main())
