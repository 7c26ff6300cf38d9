"""What the ranks of the MPI tests do."""

from __future__ import annotations

import os
import signal
from typing import Any

import torch

from tests.exchange.collectives.workers import PARAMETERS, REPLICAS, gradient, trace
from unscatter.exchange.mpi import Rma
from unscatter.exchange.rendezvous import Rendezvous


def rma(rendezvous: Rendezvous) -> dict[str, Any]:
    exchange = Rma(rendezvous, timeout_s=30.0)
    found: dict[str, Any] = {
        "trace": trace(exchange),
        "stops": trace(exchange, steps=8, bad=False, stop_at=(exchange.num_ranks - 1, 1)).stops,
    }
    other = torch.full((1, 5), float(exchange.rank))
    found["other length"] = exchange.before_step(other).numpy()
    exchange.close()
    return found


def rma_killed(rendezvous: Rendezvous, victim: str) -> str:
    exchange = Rma(rendezvous, timeout_s=8.0)
    exchange.start({"weights": torch.zeros(REPLICAS, PARAMETERS)})
    try:
        for step in range(1000):
            if step == 4 and exchange.rank == int(victim):
                os.kill(os.getpid(), signal.SIGKILL)
            exchange.before_step(gradient(step, exchange.rank))
    except ConnectionError as error:
        return str(error)
    finally:
        exchange.close()
    return "no error"
