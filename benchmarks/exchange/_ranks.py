"""Starts real ranks on this machine, cheaply enough for 32 of them: forked from a process that has imported torch already.

Ranks of an MPI exchange cannot be forked that way and come from ``mpiexec``, each with its own import of torch.
Every wait ends: when a rank fails or the time is over, all processes are stopped and the first error is raised.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.world import World

#: Runs on every rank, with the rendezvous of its world and what else the benchmark passes; returns numbers, text and NumPy arrays.
Work = Callable[..., Any]

_PRELOAD = ["numpy", "torch", "torch.distributed", "unscatter.exchange", "unscatter.exchange.rendezvous"]


class RankFailedError(Exception):
    """A rank raised, died or did not finish in time."""


def run_ranks(work: Work, num_ranks: int, *arguments: Any, timeout_s: float = 120.0, wait_s: float = 60.0) -> list[Any]:
    """Run ``work(rendezvous, *arguments)`` on each of ``num_ranks`` ranks of one node and return what they returned.

    Args:
        work: a function of a module, so that other processes can import it.
        num_ranks: how many.
        arguments: passed on.
        timeout_s: how long all of it may take.
        wait_s: how long a rank waits for another one.
    """
    with hosted_rendezvous() as port:
        worlds = local_worlds(num_ranks, port)
        return run_worlds(work, worlds, *arguments, timeout_s=timeout_s, wait_s=wait_s)


def local_worlds(num_ranks: int, port: int) -> list[World]:
    """The worlds of ranks that share this node."""
    job, secret = uuid.uuid4().hex[:12], uuid.uuid4().hex
    return [
        World(
            rank=rank,
            size=num_ranks,
            local_rank=rank,
            local_size=num_ranks,
            port=port,
            hosts_rendezvous=False,
            launcher="unscatter",
            job=job,
            secret=secret,
        )
        for rank in range(num_ranks)
    ]


@contextmanager
def hosted_rendezvous() -> Iterator[int]:
    """Keep the board of a job in this process, on any free port."""
    store = TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=60), wait_for_workers=False)
    yield store.port
    del store


def run_worlds(
    work: Work,
    worlds: Sequence[World],
    *arguments: Any,
    timeout_s: float,
    wait_s: float = 60.0,
    prepare: Callable[[World], None] | None = None,
) -> list[Any]:
    """As :func:`run_ranks` for given worlds; ``prepare`` runs first in each process, for instance to enter a network namespace."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    processes: list[BaseProcess] = []
    connections: list[Connection] = []
    try:
        for world in worlds:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_rank_process, args=(theirs, work, world, wait_s, prepare, arguments), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            connections.append(ours)
        return _collect(connections, time.monotonic() + timeout_s)
    finally:
        _stop(processes)


def _rank_process(
    connection: Connection, work: Work, world: World, wait_s: float, prepare: Callable[[World], None] | None, arguments: tuple[Any, ...]
) -> None:
    if prepare is not None:
        prepare(world)
    connection.send(_guarded(work, world, wait_s, arguments))


def _guarded(work: Work, world: World, wait_s: float, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    """What the work returns, or the text of its error."""
    # Everything stays on the loopback device, wherever the host's name points to.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    try:
        return True, work(Rendezvous.join(world, timeout_s=wait_s), *arguments)
    except Exception:  # noqa: BLE001 - told to the parent, which raises it
        return False, f"rank {world.rank} of {world.size}:\n{traceback.format_exc()}"


def _collect(connections: Sequence[Connection], end: float) -> list[Any]:
    results: dict[int, Any] = {}
    while len(results) < len(connections):
        pending = [connection for rank, connection in enumerate(connections) if rank not in results]
        ready = wait(pending, timeout=max(0.0, end - time.monotonic()))
        if not ready:
            missing = [rank for rank in range(len(connections)) if rank not in results]
            raise RankFailedError(f"ranks {missing} have not finished in time")
        for connection in ready:
            rank = connections.index(connection)  # pyright: ignore[reportArgumentType]
            results[rank] = _received(connections[rank], rank)
    return [results[rank] for rank in range(len(connections))]


def _received(connection: Connection, rank: int) -> Any:
    try:
        fine, result = connection.recv()
    except EOFError as error:
        raise RankFailedError(f"rank {rank} has died without a word") from error
    if not fine:
        raise RankFailedError(result)
    return result


def _stop(processes: Sequence[BaseProcess]) -> None:
    """Let ranks that have reported leave in peace, and kill what is left after that."""
    end = time.monotonic() + 5
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def run_mpi_ranks(work: Work, num_ranks: int, *arguments: Any, timeout_s: float = 240.0, wait_s: float = 60.0) -> list[Any]:
    """As :func:`run_ranks`, with ranks started by ``mpiexec``."""
    mpiexec = find_mpiexec()
    if mpiexec is None:
        raise RankFailedError("there is no mpiexec beside this Python or on the PATH")
    with hosted_rendezvous() as port, tempfile.TemporaryDirectory(prefix="unscatter-mpi-") as directory:
        job = Path(directory) / "job.pkl"
        job.write_bytes(pickle.dumps((sys.path, work.__module__, work.__qualname__, local_worlds(num_ranks, port), wait_s, arguments)))
        command = [mpiexec, "-n", str(num_ranks), sys.executable, __file__, str(job)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise RankFailedError(f"mpiexec has not finished within {timeout_s:g} s") from error
        finally:
            _terminate(process)
        return [_read_result(Path(directory) / f"{rank}.pkl", rank, output) for rank in range(num_ranks)]


def find_mpiexec() -> str | None:
    """The ``mpiexec`` of this Python environment, or else of the system."""
    beside = Path(sys.executable).parent / "mpiexec"
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def _terminate(process: subprocess.Popen[str]) -> None:
    # mpiexec stops its ranks when it is asked to, not when it is killed.
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
    process.kill()


def _read_result(path: Path, rank: int, output: str) -> Any:
    if not path.exists():
        raise RankFailedError(f"MPI rank {rank} has left no result: {output[-2000:]}")
    fine, result = pickle.loads(path.read_bytes())
    if not fine:
        raise RankFailedError(result)
    return result


def _mpi_rank(job: Path) -> None:
    """One rank under ``mpiexec``: the number comes from the launcher, everything else from the file of the job."""
    search, module, name, worlds, wait_s, arguments = pickle.loads(job.read_bytes())
    sys.path[:] = search
    rank = int(next(os.environ[key] for key in ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK") if key in os.environ))
    work = getattr(__import__(module), name)
    outcome = _guarded(work, replace(worlds[rank], launcher="mpiexec"), wait_s, arguments)
    (job.parent / f"{rank}.pkl").write_bytes(pickle.dumps(outcome))


if __name__ == "__main__":
    _mpi_rank(Path(sys.argv[1]))
