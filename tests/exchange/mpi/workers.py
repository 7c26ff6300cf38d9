"""What the ranks of the MPI tests do; one start of MPI for worlds of several sizes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from tests.exchange.collectives.workers import PARAMETERS, REPLICAS, gradient, trace
from unscatter.exchange.mpi import Rma
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.transports import Header, Transport
from unscatter.exchange.transports.mpi import MpiTransport
from unscatter.exchange.transports.mpi_messages import MpiMessages

WORLDS = [1, 2, 3, 5, 8]
TRANSPORTS: dict[str, Callable[..., Transport]] = {"windows": MpiTransport, "messages": MpiMessages}
SIZE, VERSIONS = 50_000, 40


def everything(rendezvous: Rendezvous) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for size in WORLDS:
        if rendezvous.world.rank < size:
            found[f"rma {size}"] = rma(_part(rendezvous, size))
    for name in TRANSPORTS:
        if rendezvous.world.rank < 3:
            found[name] = mailboxes(_part(rendezvous, 3), name)
    # A rank that has nothing to do any more must not end, and wait in MPI for the others without serving them, before they have done.
    rendezvous.put(f"done/{rendezvous.world.rank}", b"")
    for rank in range(rendezvous.world.size):
        rendezvous.get(f"done/{rank}", timeout_s=60.0)
    return found


def _part(rendezvous: Rendezvous, size: int) -> Rendezvous:
    """The first ranks as a world of their own."""
    world = replace(rendezvous.world, size=size, local_size=size)
    return replace(rendezvous.below(f"part of {size}"), world=world)


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
        # mpiexec ends the others when the first one exits: all have to have said what they found.
        for rank in sorted({0, 1, 2} - {int(victim), exchange.rank}):
            rendezvous.put(f"found by {exchange.rank}", b"")
            rendezvous.get(f"found by {rank}", timeout_s=15.0)
        return str(error)
    finally:
        exchange.close()
    return "no error"


def payload(source: int, lane: int, version: int) -> torch.Tensor:
    """Differs by rank, lane, version and element."""
    return torch.arange(SIZE, dtype=torch.float32).remainder(101) + 1000 * source + 100 * lane + version


def mailboxes(rendezvous: Rendezvous, name: str) -> dict[str, Any]:
    """Every rank publishes to its right on lane 0 and to its left on lane 1, and reads what it gets until the last version has come."""
    transport = TRANSPORTS[name](rendezvous, num_lanes=2, num_parameters=SIZE)
    rank, size = transport.rank, transport.num_ranks
    targets, sources = [(rank + 1) % size, (rank - 1) % size], [(rank - 1) % size, (rank + 1) % size]
    versions: list[list[int]] = [[], []]
    wrong, end = 0, time.monotonic() + 20.0

    def look() -> None:
        nonlocal wrong
        for lane, source in enumerate(sources):
            message = transport.poll(source, lane)
            if message is not None:
                versions[lane].append(message.header.version)
                wrong += int(not torch.equal(message.payload, payload(source, lane, message.header.version)))
                transport.confirm(source, lane, message.header.transfer)

    for version in range(1, VERSIONS + 1):
        for lane, target in enumerate(targets):
            values = payload(rank, lane, version)
            check = float(values.sum(dtype=torch.float64))
            transport.publish(target, lane, Header(version, version, version, 0.5, check), values)
        transport.beat(version)
        look()

    def unfinished() -> bool:
        last = all(seen and seen[-1] == VERSIONS for seen in versions)
        return not (last and all(transport.confirmed(target, lane) == VERSIONS for lane, target in enumerate(targets)))

    while unfinished() and time.monotonic() < end:
        look()
        transport.beat(VERSIONS)
        time.sleep(0.001)
    rendezvous.put(f"{name} read/{rank}", b"")
    while not all(rendezvous.has(f"{name} read/{other}") for other in range(size)) and time.monotonic() < end:
        look()
    # Last, a payload that is not what its header says.
    transport.publish(targets[0], 0, Header(99, 99, 99, 0.5, 1.0), torch.full((SIZE,), 3.0))
    while transport.statistics()["messages_refused"] == 0 and time.monotonic() < end:
        look()
    healths = [transport.health(other) for other in range(size) if other != rank]
    refused = transport.statistics()["messages_refused"]
    confirmed = [transport.confirmed(target, lane) for lane, target in enumerate(targets)]
    done = [False]
    while rank == 0 and not all(done) and time.monotonic() < end:
        done = [transport.health(other).done for other in range(1, size)]
    transport.close()
    return {
        "versions": versions,
        "wrong": wrong,
        "confirmed": confirmed,
        "refused": refused,
        "steps": [health.step for health in healths],
        "alive": [health.alive for health in healths],
        "done": done,
        "statistics": transport.statistics(),
    }
