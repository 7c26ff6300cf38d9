"""Ranks that mpiexec starts; every wait has an end."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from tests.exchange.ranks import Outcome
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


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    importlib.import_module("tests.exchange.mpi.launch")._main(*sys.argv[1:])
