"""Ranks that mpiexec starts; every wait has an end."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
import time
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from tests.exchange.ranks import Outcome, values
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.world import World

_BESIDE_PYTHON = Path(sys.executable).parent / "mpiexec"
MPIEXEC = str(_BESIDE_PYTHON) if _BESIDE_PYTHON.exists() else shutil.which("mpiexec")

needs_mpi = pytest.mark.skipif(
    MPIEXEC is None or importlib.util.find_spec("mpi4py") is None, reason="MPI is not installed: pip install 'unscatter[mpi]'"
)


def run_mpi_ranks(
    directory: Path, num_ranks: int, worker: str, *args: str, timeout_s: float = 60.0, options: tuple[str, ...] = ()
) -> list[Outcome]:
    """Run ``worker(rendezvous, *args)``, given as 'module:function', on ranks started by mpiexec."""
    assert MPIEXEC is not None
    store = TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=timeout_s), wait_for_workers=False)
    command = [MPIEXEC, *options, "-n", str(num_ranks), sys.executable, "-m", "tests.exchange.mpi.launch"]
    process = subprocess.Popen(
        [*command, str(store.port), str(directory), worker, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate(timeout=10)
    return [_read(directory / f"{rank}.pickle") for rank in range(num_ranks)]


@cache
def everything() -> list[dict[str, Any]]:
    """What all checks that need no fault found on eight ranks: starting MPI is the slow part."""
    with TemporaryDirectory() as directory:
        return values(run_mpi_ranks(Path(directory), 8, "tests.exchange.mpi.workers:everything", timeout_s=100.0))


def _read(path: Path) -> Outcome:
    return pickle.loads(path.read_bytes()) if path.exists() else Outcome()


def _main(port: str, directory: str, worker: str, *args: str) -> None:
    mpi = importlib.import_module("mpi4py.MPI")
    rank, size = mpi.COMM_WORLD.Get_rank(), mpi.COMM_WORLD.Get_size()
    world = World(rank=rank, size=size, local_rank=rank, local_size=size, port=int(port), hosts_rendezvous=False, launcher="mpiexec")
    module, function = worker.split(":")
    path = Path(directory) / f"{rank}.pickle"
    try:
        value: Any = getattr(importlib.import_module(module), function)(Rendezvous.join(world, timeout_s=20.0), *args)
        path.write_bytes(pickle.dumps(Outcome(value=value)))
    except Exception as error:
        path.write_bytes(pickle.dumps(Outcome(error=f"{type(error).__name__}: {error}")))
        raise
    finally:
        # The first rank that exits after a fault makes mpiexec end the others: let them write, too.
        time.sleep(0.5)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    importlib.import_module("tests.exchange.mpi.launch")._main(*sys.argv[1:])
