"""MPI as the exchanges need it: imported when it is used, and a communicator of the ranks that share a generator."""

from __future__ import annotations

import atexit
import importlib
import os
import sys
from typing import Any

from unscatter.errors import ExchangeError, MissingExtraError
from unscatter.exchange.rendezvous import Rendezvous


def import_mpi() -> Any:
    """The module ``mpi4py.MPI``; its import initialises MPI.

    Raises:
        MissingExtraError: mpi4py or the MPI library is missing.
        ExchangeError: the MPI library cannot be called from several threads.
    """
    try:
        mpi = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:
        raise MissingExtraError(
            f"this needs MPI, which cannot be imported: {(str(error).splitlines() or ['unknown'])[0]}\n"
            "Install it: pip install 'unscatter[mpi]', or load the MPI module of the cluster and: pip install mpi4py."
        ) from error
    if mpi.Query_thread() < mpi.THREAD_MULTIPLE:
        raise ExchangeError(
            "this MPI library was started without support for threads (MPI_THREAD_MULTIPLE).\n"
            "Import mpi4py without setting mpi4py.rc.thread_level, or use exchange 'async-ring' over TCP."
        )
    return mpi


def communicator(mpi: Any, board: Rendezvous) -> Any:
    """A communicator of the ranks of a rendezvous, with their numbers; all of them have to call this.

    Raises:
        ExchangeError: the processes do not belong to one MPI job.
    """
    world = board.world
    board.put(f"mpi/{world.rank}", str(mpi.COMM_WORLD.Get_rank()).encode())
    numbers = [int(board.get(f"mpi/{rank}", of=f"rank {rank}")) for rank in range(world.size)]
    if len(set(numbers)) < world.size or max(numbers) >= mpi.COMM_WORLD.Get_size():
        raise ExchangeError(
            f"the {world.size} ranks do not belong to one MPI job (they have the MPI ranks {numbers} "
            f"in a job of {mpi.COMM_WORLD.Get_size()}).\nStart them together: mpiexec -n {world.size} unscatter solve RUNCARD."
        )
    made = mpi.COMM_WORLD.Create_group(mpi.COMM_WORLD.Get_group().Incl(numbers))
    made.Set_errhandler(mpi.ERRORS_RETURN)
    return made


def leave_without_finalize() -> None:
    """Make this process end, when it ends, without waiting in ``MPI_Finalize`` for ranks that are gone.

    The exit code is 1 after an exception that nobody caught, otherwise 0.
    """
    atexit.register(_exit)


def _exit() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(hasattr(sys, "last_value")))
