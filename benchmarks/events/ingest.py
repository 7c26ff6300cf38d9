"""How fast an ingest is, next to reading alone with uproot or pyarrow.

    python benchmarks/events/ingest.py
    python benchmarks/events/ingest.py --rows 1e8 --rounds 7 --only parquet

Both read the same files in turn, round after round, and the medians are compared.  Reading alone makes NumPy arrays of all columns, chunk
by chunk, and lets them go; an ingest also checks, writes, synchronises and describes them.  Both have as many threads over the files: one,
and one more than cores, the default; pyarrow may use threads of its own in both.  "From the disk" means that the files were thrown out of
the page cache before, as files larger than memory are.  Next to the ratio of the rates stands that of the processor time, which says the
same where other programs share the cores.

Parquet is compressed by snappy, ROOT by uproot with zlib (level 1), four columns of float32 of random numbers, which hardly shrink.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

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
        tree = file.mktree("events", dict.fromkeys(COLUMNS, np.float32))
        for first in range(0, num_rows, CHUNK // 4):
            tree.extend(columns(min(CHUNK // 4, num_rows - first), seed + first))


def length(step: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(step.values())))


def read_parquet(path: Path) -> int:
    with pq.ParquetFile(path) as file:
        batches = file.iter_batches(CHUNK)
        return sum(length({name: batch.column(name).to_numpy() for name in COLUMNS}) for batch in batches)


def read_root(path: Path) -> int:
    with uproot.open(path) as file:
        return sum(map(length, file["events"].iterate(step_size=CHUNK, library="np")))


WRITE: dict[str, Callable[[Path, int, int], None]] = {"parquet": write_parquet, "root": write_root}
READ: dict[str, Callable[[Path], int]] = {"parquet": read_parquet, "root": read_root}


class Cost(NamedTuple):
    seconds: float
    processor_s: float


def read_all(kind: str, files: list[Path], threads: int) -> int:
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(READ[kind], files))


def ingest_all(files: list[Path], store: Path, workers: int) -> int:
    return ingest(files, store, workers=workers).num_rows


def forget(files: list[Path]) -> None:
    """Throw files out of the page cache."""
    for file in files:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cost(work: Callable[[], int]) -> Cost:
    start, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    return Cost(time.perf_counter() - start, sum(after[:4]) - sum(before[:4]))


def compare(kind: str, files: list[Path], folder: Path, num_rows: int, workers: int, rounds: int, *, cold: bool) -> None:
    reading, ingesting = [], []
    for _ in range(rounds):
        for work, found in (
            (partial(read_all, kind, files, workers), reading),
            (partial(ingest_all, files, folder / "store", workers), ingesting),
        ):
            if cold:
                forget(files)
            found.append(cost(work))
            shutil.rmtree(folder / "store", ignore_errors=True)
    read, wrote = (Cost(*(statistics.median(of_round) for of_round in zip(*costs, strict=True))) for costs in (reading, ingesting))
    ratios = sorted(r.seconds / i.seconds for r, i in zip(reading, ingesting, strict=True))
    print(
        f"{kind:<8} from the {'disk      ' if cold else 'page cache'} {workers} {'worker ' if workers == 1 else 'workers'}"
        f"  reading {num_rows / read.seconds / 1e6:6.1f}  ingest {num_rows / wrote.seconds / 1e6:6.1f} M rows/s"
        f"  ratio {read.seconds / wrote.seconds:.2f} (rounds {ratios[0]:.2f} to {ratios[-1]:.2f})"
        f"  of processor time {read.processor_s / wrote.processor_s:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=1 << 25, help="events in all files; the default fills eight shards")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)) + 1, help="as many threads read alone")
    parser.add_argument("--only", choices=sorted(READ), default=None)
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="where files are written and removed; best not in memory")
    arguments = parser.parse_args()
    num_rows = int(arguments.rows) // FILES * FILES
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        for kind in [arguments.only] if arguments.only else READ:
            files = [folder / f"run{number}.{kind}" for number in range(FILES)]
            for number, file in enumerate(files):
                WRITE[kind](file, num_rows // FILES, number)
            print(f"{kind}: {FILES} files, {sum(f.stat().st_size for f in files) / 1e6:.0f} MB, {num_rows:,} rows", flush=True)
            for cold in (True, False):
                for workers in sorted({1, arguments.workers}):
                    compare(kind, files, folder, num_rows, workers, arguments.rounds, cold=cold)
            for file in files:
                file.unlink()


if __name__ == "__main__":
    main()
