"""One place where the benchmarks make exchanges by name."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Literal

import _references
from _ranks import find_mpiexec, run_mpi_ranks, run_ranks

from unscatter.exchange.async_ring import AsyncRing
from unscatter.exchange.board import Board
from unscatter.exchange.collectives import AllReduce, Grouped, LocalSteps, Quorum, RingAllReduce
from unscatter.exchange.groups import ring_distances
from unscatter.exchange.protocol import Exchange, NoExchange
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.transports import join_transport

_REFERENCES: dict[str, Callable[[Rendezvous], _references.Engine]] = {
    "gloo": _references.gloo,
    "horovod-bare": _references.horovod,
    "torchft": _references.torchft,
}

#: What each name is; the last three are other packages used without any of our code between.
EXCHANGES = {
    "none": "no exchange",
    "allreduce": "fused all-reduce over gloo",
    "late": "the same, gradients applied one step late",
    "ring": "the published ring, every hop waits",
    "grouped": "rings in groups of 4, leaders every 16 steps",
    "quorum": "waits for nine ranks in ten",
    "localsteps": "averages weights every 16 steps",
    "rma": "one-sided, through MPI windows",
    "async-ring": "asynchronous ring through shared memory",
    "async-ring-tcp": "the same over TCP",
    "async-ring-plain": "the same through shared memory, ring distance 1 only",
    "horovod": "Horovod through our adapter",
    "gloo": "torch.distributed over gloo, bare",
    "horovod-bare": "Horovod, bare",
    "torchft": "torchft, bare",
}

#: Their ranks have to come from mpiexec.
_MPI = {"rma"}

_NEEDS = {"horovod": "horovod", "horovod-bare": "horovod", "torchft": "torchft", "rma": "mpi4py"}


def why_not(name: str) -> str | None:
    """Why an exchange cannot be measured here; None if it can."""
    if name in _OPTIONAL and importlib.util.find_spec(_OPTIONAL[name][0]) is None:
        return f"{name}: skipped, this version of unscatter has no such exchange"
    package = _NEEDS.get(name)
    if package is not None and importlib.util.find_spec(package) is None:
        return f"{name}: skipped, {package} is not installed (see benchmarks/exchange/README.md)"
    if name in _MPI and find_mpiexec() is None:
        return f"{name}: skipped, there is no mpiexec (pip install mpich)"
    return None


def available(names: list[str]) -> list[str]:
    """Those that can be measured here; says why about the others."""
    reasons = {name: why_not(name) for name in names}
    for reason in filter(None, reasons.values()):
        print(reason, flush=True)
    return [name for name in names if reasons[name] is None]


def launcher(name: str) -> Callable[..., list]:
    """How the ranks of an exchange are started."""
    return run_mpi_ranks if name in _MPI else run_ranks


def make_exchange(name: str, rendezvous: Rendezvous, num_parameters: int) -> Exchange:
    """Make an exchange on the calling rank; all ranks call it with the same name."""
    if name in _REFERENCES:
        return _references.ReferenceExchange(rendezvous.world, _REFERENCES[name](rendezvous))
    if name.startswith("async-ring"):
        kind = "tcp" if name.endswith("tcp") else "auto"
        distances = (1,) if name.endswith("plain") else ring_distances(rendezvous.world.size)
        return _async_ring(rendezvous, num_parameters, kind, distances)
    if name in _OPTIONAL:
        module, class_name = _OPTIONAL[name]
        return getattr(importlib.import_module(module), class_name)(rendezvous)
    if name not in _OURS:
        raise ValueError(f"no exchange '{name}': choose from {', '.join(EXCHANGES)}")
    return _OURS[name](rendezvous)


_OURS: dict[str, Callable[[Rendezvous], Exchange]] = {
    "none": lambda rendezvous: NoExchange(),
    "allreduce": AllReduce,
    "late": partial(AllReduce, late=True),
    "ring": RingAllReduce,
    "grouped": Grouped,
    "quorum": Quorum,
    "localsteps": LocalSteps,
}

#: Imported where they are used: their packages may be missing.
_OPTIONAL = {"horovod": ("unscatter.exchange.horovod", "Horovod"), "rma": ("unscatter.exchange.rma", "Rma")}


def _async_ring(rendezvous: Rendezvous, num_parameters: int, kind: Literal["auto", "tcp"], distances: tuple[int, ...]) -> Exchange:
    if rendezvous.world.size == 1:
        return NoExchange()
    transport = join_transport(rendezvous, num_lanes=len(distances), num_parameters=num_parameters, kind=kind)
    return AsyncRing(transport, Board(rendezvous), distances=distances)
