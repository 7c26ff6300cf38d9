"""One place where the benchmarks make exchanges by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import _references
from _ranks import find_mpiexec, run_mpi_ranks, run_ranks

from unscatter.exchange.build import join_exchange
from unscatter.exchange.protocol import Exchange, NoExchange
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.settings import ExchangeSettings

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


def make_exchange(name: str, rendezvous: Rendezvous) -> Exchange:
    """Make an exchange on the calling rank, as a runcard would; all ranks call it with the same name."""
    if name == "none":
        return NoExchange()
    if name in _REFERENCES:
        return _references.ReferenceExchange(rendezvous.world, _REFERENCES[name](rendezvous))
    return join_exchange(_SETTINGS.get(name) or ExchangeSettings.model_validate({"name": name}), rendezvous.world)


#: Names that are not those of an exchange alone.
_SETTINGS = {
    "late": ExchangeSettings(name="allreduce", late=True),
    "async-ring-tcp": ExchangeSettings(transport="tcp"),
    "async-ring-plain": ExchangeSettings(distances="plain"),
}
