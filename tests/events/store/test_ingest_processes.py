"""Ingests in real processes that are killed, and on disks that fill up."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unscatter.errors import EventsError, StoreError
from unscatter.events.recipe import Recipe
from unscatter.events.store import EventStore, Progress, crew, ingest, plan, verify

ROWS_PER_FILE = 150_000
#: Nobody knows beforehand how many events are left.
RECIPE = Recipe(cuts=["x > 0.25"], dtype="float64")

#: A store of many shards.
small_ingest = partial(ingest, recipe=RECIPE, rows_per_block=1024, blocks_per_shard=16)

_CHILD = """
import sys
from unscatter.events.recipe import Recipe
from unscatter.events.store import crew, ingest, plan
crew.BYTES_PER_PROCESS, plan.PIECE_ROWS = 0, 30_000
ingest(sys.argv[1], sys.argv[2], Recipe(cuts=["x > 0.25"], dtype="float64"), workers=int(sys.argv[3]), shuffle=eval(sys.argv[4]),
       rows_per_block=1024, blocks_per_shard=16, progress=lambda state: print(state.done, flush=True))
"""

needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for number in range(2):
        rng = np.random.default_rng(number)
        table = {"x": rng.uniform(size=ROWS_PER_FILE), "y": rng.normal(size=ROWS_PER_FILE), "row": np.arange(ROWS_PER_FILE)}
        pq.write_table(pa.table(table), folder / f"run{number}.parquet", row_group_size=10_000)
    return folder


def start(source: Path, store: Path, workers: int, seed: int | None = None, **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _CHILD, str(source), str(store), str(workers), repr(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def await_rows(process: subprocess.Popen[str], number: int) -> int:
    assert process.stdout is not None
    return next(done for done in map(int, process.stdout) if done >= number)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_same(one: EventStore, other: EventStore) -> None:
    assert one.manifest.shards == other.manifest.shards
    assert (one.manifest.columns, one.manifest.sources) == (other.manifest.columns, other.manifest.sources)
    for record in one.manifest.shards:
        assert (one.path / "shards" / record.file).read_bytes() == (other.path / "shards" / record.file).read_bytes()
    assert sorted(path.name for path in one.path.rglob("*")) == sorted(path.name for path in other.path.rglob("*"))


@needs_proc
@pytest.mark.parametrize("seed", [None, 5])
def test_an_ingest_that_is_killed_goes_on_with_the_same_bits_and_its_workers_die_with_it(
    files: Path, seed: int | None, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    process = start(files, store, 2, seed)
    done = await_rows(process, 60_000)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(alive, workers))
    assert (tmp_path / "store.partial" / "journal.jsonl").exists()
    assert not store.exists()
    seen: list[int] = []
    resumed = small_ingest(files, store, shuffle=seed, workers=1, progress=lambda state: seen.append(state.done))
    assert seen[0] >= done, "what had been reported was done again"
    assert_same(resumed, small_ingest(files, tmp_path / "whole", shuffle=seed, workers=1))
    assert verify(resumed).ok


def test_a_worker_ends_when_its_parent_is_gone_whatever_it_does_at_the_moment() -> None:
    ours, theirs = socket.socketpair()
    code = f"from unscatter.events.store.process_worker import main; main({theirs.fileno()})"
    worker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, pass_fds=[theirs.fileno()])
    with ours, theirs, worker:
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(3)
        assert worker.stdin is not None
        # As the system does it for a parent that was killed; the connection stays open.
        worker.stdin.close()
        assert worker.wait(20) == 1


@needs_proc
def test_a_worker_that_is_killed_is_told_about_and_the_same_command_goes_on(files: Path, tmp_path: Path) -> None:
    process = start(files, tmp_path / "store", 2)
    await_rows(process, 1)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "StoreError: a worker of the ingest was killed or has crashed (exit code -9)" in errors
    assert "--workers 1" in errors
    assert small_ingest(files, tmp_path / "store", workers=2).num_rows > 0


WORKERS = [pytest.param(1 << 40, id="threads"), pytest.param(0, id="processes")]


@pytest.mark.parametrize("bytes_per_process", WORKERS)
def test_the_number_and_kind_of_workers_does_not_change_a_bit(
    files: Path, bytes_per_process: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "BYTES_PER_PROCESS", bytes_per_process)
    monkeypatch.setattr(plan, "PIECE_ROWS", 20_000)
    for seed in (None, 3):
        alone = small_ingest(files, tmp_path / f"alone{seed}", shuffle=seed, workers=1)
        assert_same(alone, small_ingest(files, tmp_path / f"together{seed}", shuffle=seed, workers=3))
        assert alone.num_rows == sum(source.rows_read - source.rows_cut for source in alone.manifest.sources)


@pytest.mark.parametrize("bytes_per_process", WORKERS)
def test_what_a_worker_finds_wrong_is_told_as_if_there_were_none(
    files: Path, bytes_per_process: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "BYTES_PER_PROCESS", bytes_per_process)
    table = {"x": np.ones(50_000), "y": np.ones(50_000), "row": np.arange(50_000)}
    table["y"][[40_000, 45_000]] = np.inf
    pq.write_table(pa.table(table), tmp_path / "bad.parquet")
    sources = [files / "run0.parquet", tmp_path / "bad.parquet"]
    messages = []
    for workers in (1, 2):
        with pytest.raises(EventsError) as error:
            small_ingest(sources, tmp_path / "store", workers=workers)
        messages.append(str(error.value))
        # Nobody writes any more where the directory has been removed.
        assert not [thread for thread in threading.enumerate() if thread.name == "ingest worker"]
        assert not (tmp_path / "store.partial").exists()
    assert messages[0] == messages[1]
    assert "Column 'y' has 2, the first in row 40000: inf." in messages[0]


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))


@pytest.mark.parametrize(("workers", "seed"), [(2, None), (1, 3)])
def test_a_file_system_that_takes_no_more_ends_in_one_message_and_nothing_is_lost(
    files: Path, workers: int, seed: int | None, tmp_path: Path
) -> None:
    process = start(files, tmp_path / "store", workers, seed, preexec_fn=limit_file_size)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    message = errors[errors.index("StoreError") :]
    assert "cannot write" in message
    assert "File too large" in message
    assert "The same command goes on where it stopped." in message
    assert not (tmp_path / "store").exists()
    assert_same(
        small_ingest(files, tmp_path / "store", workers=1, shuffle=seed), small_ingest(files, tmp_path / "whole", workers=1, shuffle=seed)
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_too_small_is_refused_before_anything_is_read(files: Path, small_disk: Path) -> None:
    seen: list[Progress] = []
    with pytest.raises(StoreError, match=r"the store will need 7.2 MB more, but only 3.\d+ MB are free on the disk of") as error:
        ingest(files, small_disk / "store", Recipe(dtype="float64"), progress=seen.append)
    assert "choose a directory on another disk" in str(error.value)
    assert seen == []
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_ends_in_one_message_and_freeing_space_lets_it_go_on(files: Path, small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "other").write_bytes(bytes(1 << 20))
    with pytest.raises(StoreError, match=r"no space left \(\d.\d MB free of 3.1 MB(.|\n)*The same command goes on where it stopped"):
        small_ingest(files, small_disk / "store", workers=2)
    assert not (small_disk / "store").exists()
    (small_disk / "other").unlink()
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    assert_same(small_ingest(files, small_disk / "store", workers=1), small_ingest(files, tmp_path / "whole", workers=1))
