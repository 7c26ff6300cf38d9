"""Random batches from a store against a plain sequential read of the same files, peak memory, and waiting of a fit.

A store of ``--rows`` events with four columns of float32 is made in ``--directory`` and removed at the end.  Reads start cold (the pages of
the files are dropped before each), as they are for data larger than memory, and once more with the files in the page cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from unscatter.arrays import RandomStream
from unscatter.events import StoredEvents, StreamedEvents
from unscatter.events.store import EventStore, write_store

COLUMNS = ("x", "Q2", "y", "phi")
PORTION = 4_194_304


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=1e8, help="events; 1e8 are 1.6 GB, 1e9 are 16 GB")
    parser.add_argument("--batch", type=int, default=8192, help="events per step")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement, interleaved")
    parser.add_argument("--window-blocks", type=int, default=16)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--keep", action="store_true", help="keep the store, and use it if it is there")
    parser.add_argument("--no-fit", action="store_true", help="leave out the fit")
    parser.add_argument("--no-warm", action="store_true", help="leave out the reads from the page cache")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = arguments.directory / f"unscatter-streaming-{int(arguments.rows)}"
    try:
        store = EventStore.open(path) if path.exists() else make(path, int(arguments.rows))
        print(
            f"{store.num_rows:,} rows, {size(path) / 1e9:.2f} GB, batches of {arguments.batch}, windows of {arguments.window_blocks} blocks"
        )
        compare("cold", path, arguments, drop)
        if not arguments.no_warm:
            compare("in the page cache", path, arguments, lambda path: None)
        if not arguments.no_fit:
            fit(path, arguments.window_blocks)
    finally:
        if not arguments.keep:
            shutil.rmtree(path, ignore_errors=True)


def make(path: Path, num_rows: int) -> EventStore:
    began = time.perf_counter()
    store = write_store(path, portions(num_rows))
    print(f"made in {time.perf_counter() - began:.0f} s")
    return store


def portions(num_rows: int) -> Iterator[dict[str, np.ndarray]]:
    """Events of proxy2d's kind: numbers between 0 and 1 in random order."""
    random = np.random.Generator(np.random.PCG64(1))
    for first in range(0, num_rows, PORTION):
        count = min(PORTION, num_rows - first)
        yield {name: random.random(count, dtype=np.float32) * 0.8 + 0.1 for name in COLUMNS}


def compare(label: str, path: Path, arguments: argparse.Namespace, before: Callable[[Path], None]) -> None:
    """Time three ways through the files, in an order that changes from repeat to repeat."""
    waited: list[float] = []
    ways: dict[str, Callable[[], object]] = {
        "plain sequential read": lambda: read_plainly(path),
        "blocks and checksums": lambda: read_blocks(path),
        "random batches": lambda: waited.append(one_epoch(path, arguments.batch, arguments.window_blocks)),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    peak = 0
    for repeat in range(arguments.repeats):
        for name in (list(ways) * 2)[repeat % 3 : repeat % 3 + 3]:
            before(path)
            reset_peak()
            times[name].append(timed(ways[name]))
            peak = max(peak, peak_memory() if name == "random batches" else 0)
    print(f"{label}:")
    for name, found in times.items():
        print(f"  {name:21} {size(path) / statistics.median(found) / 1e9:6.2f} GB/s   s: " + " ".join(f"{value:.2f}" for value in found))
    plain, streamed = times["plain sequential read"], times["random batches"]
    pairs = statistics.median(one / other for one, other in zip(plain, streamed, strict=True))
    print(f"  random batches over plain read: {statistics.median(plain) / statistics.median(streamed):.2f}, median of pairs {pairs:.2f}")
    print(f"  batches waited for data {statistics.median(waited):.2f} s; peak resident memory {peak / 1e6:.0f} MB")


def timed(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def read_plainly(path: Path) -> None:
    """What ``cat`` does: one piece after the other into the same memory."""
    buffer = bytearray(1 << 20)
    for file in sorted((path / "shards").iterdir()):
        with file.open("rb", buffering=0) as content:
            os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while content.readinto(buffer):
                pass


def read_blocks(path: Path) -> None:
    store = EventStore.open(path)
    for number in range(store.num_blocks):
        store.check(number)
        store.release(number)


def one_epoch(path: Path, batch: int, window_blocks: int) -> float:
    source = StreamedEvents({"events": StoredEvents(path)}, window_blocks=window_blocks)
    stream = RandomStream(1)
    for step in range(int(source.counts[0, 0]) // batch):
        source.batch(step, batch, stream)
    return source.waited_s


def fit(path: Path, window_blocks: int) -> None:
    """A fit that draws from the store, ensemble and bootstrap included."""
    from unscatter.problems import proxy2d
    from unscatter.solve import SolveSettings, solve

    settings = SolveSettings(steps=300, max_rounds=1, replicas=5, diagnose=False)
    drop(path)
    reset_peak()
    found = solve(proxy2d(), {"events": StoredEvents(path, window_blocks=window_blocks)}, settings=settings)
    share, speed = found.summary["waited_share"], found.summary["steps_per_second"]
    print(f"fit of proxy2d, 5 replicas: {speed:.1f} steps/s, waiting {share:.2%} of the step time, peak {peak_memory() / 1e6:.0f} MB")


def drop(path: Path) -> None:
    """Take the files out of the page cache."""
    for file in (path / "shards").iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in (path / "shards").iterdir())


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    return _status("VmHWM")


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


if __name__ == "__main__":
    main()
