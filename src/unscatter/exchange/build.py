"""From settings and a world to an exchange: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from unscatter.exchange.address import own_address
from unscatter.exchange.async_ring import AsyncRing
from unscatter.exchange.board import Board
from unscatter.exchange.collectives import AllReduce, Grouped, LocalSteps, Quorum, RingAllReduce
from unscatter.exchange.groups import ring_distances
from unscatter.exchange.protocol import Exchange, NoExchange
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.settings import ExchangeSettings
from unscatter.exchange.transports import SharedMemoryTransport, TcpTransport, Transport
from unscatter.exchange.world import World

#: Transfers of one life of a rank: those of a later life have larger numbers.
_TRANSFERS_PER_LIFE = 2**32


def join_exchange(settings: ExchangeSettings, world: World, *, same: Mapping[str, str] | None = None) -> Exchange:
    """Meet the other ranks and build the exchange with them.

    Args:
        settings: which exchange.
        world: who takes part.
        same: what has to be the same on all ranks, by name: digests of the runcard, versions.

    Raises:
        ExchangeError: the ranks do not find one another.
        DisagreementError: something differs that has to be the same.
        MissingExtraError: the exchange needs a package that is not installed.

    Example:
        >>> join_exchange(ExchangeSettings(), World()).num_ranks
        1
    """
    if world.size == 1:
        return NoExchange()
    rendezvous = Rendezvous.join(world, timeout_s=settings.timeout_s)
    for what, value in {"exchange": settings.name, **(same or {})}.items():
        rendezvous.compare(what, value)
    return _build(settings, rendezvous)


def _build(settings: ExchangeSettings, rendezvous: Rendezvous) -> Exchange:
    timeout_s = settings.timeout_s
    match settings.name:
        case "async-ring":
            return _async_ring(settings, rendezvous)
        case "allreduce":
            return AllReduce(rendezvous, late=settings.late, timeout_s=timeout_s)
        case "ring":
            return RingAllReduce(rendezvous, timeout_s=timeout_s)
        case "grouped":
            return Grouped(rendezvous, group_size=settings.group_size, outer_every=settings.outer_every, timeout_s=timeout_s)
        case "localsteps":
            return LocalSteps(rendezvous, every=settings.every, timeout_s=timeout_s)
        case "quorum":
            return Quorum(rendezvous, quorum=settings.quorum, timeout_s=timeout_s)
        case "horovod":
            from unscatter.exchange.horovod import Horovod

            return Horovod(rendezvous, timeout_s=timeout_s)
        case "rma":
            raise NotImplementedError


def _async_ring(settings: ExchangeSettings, rendezvous: Rendezvous) -> AsyncRing:
    world = rendezvous.world
    life = rendezvous.count(f"lives of rank {world.rank}")
    board = Board(rendezvous, straggler_s=settings.straggler_s)
    if life > 1:
        board.catch_up()
    places = _places(rendezvous)

    def open_transport(num_parameters: int, dtype: torch.dtype, session: int) -> Transport:
        return _open_transport(settings, rendezvous, places, num_parameters, dtype, session)

    return AsyncRing(
        open_transport, world.rank, world.size, board,
        distances=(1,) if settings.distances == "plain" else None,
        max_staleness=settings.max_staleness,
        timeout_s=settings.timeout_s,
        first_transfer=(life - 1) * _TRANSFERS_PER_LIFE + 1,
    )  # fmt: skip


def _places(rendezvous: Rendezvous) -> tuple[int, ...]:
    """Node of every rank."""
    world = rendezvous.world
    rendezvous.put(f"node of rank {world.rank}", str(world.node).encode())
    return tuple(int(rendezvous.get(f"node of rank {rank}", of=f"rank {rank}")) for rank in range(world.size))


def _open_transport(
    settings: ExchangeSettings, rendezvous: Rendezvous, nodes: tuple[int, ...], num_parameters: int, dtype: torch.dtype, session: int
) -> Transport:
    world = rendezvous.world
    num_lanes = 1 if settings.distances == "plain" else len(ring_distances(world.size))
    job, silence_s = f"{world.job}-{session}", settings.silence_s
    neighbours = tuple(rank for rank, node in enumerate(nodes) if node == nodes[world.rank])
    near = far = None
    if settings.transport == "auto" and len(neighbours) > 1:
        near = SharedMemoryTransport(
            job, rank=world.rank, ranks=neighbours, num_lanes=num_lanes, num_parameters=num_parameters, dtype=dtype, silence_s=silence_s,
            timeout_s=settings.timeout_s,
        )  # fmt: skip
        if len(neighbours) == world.size:
            return near
    far = _open_tcp(rendezvous, job, num_lanes, num_parameters, dtype, silence_s)
    assert near is None, "hybrid"
    return far


def _open_tcp(rendezvous: Rendezvous, job: str, num_lanes: int, num_parameters: int, dtype: torch.dtype, silence_s: float) -> TcpTransport:
    world, board = rendezvous.world, rendezvous.below(job)

    def address_of(rank: int) -> tuple[str, int]:
        host, _, port = board.get(f"address of rank {rank}", of=f"rank {rank}").decode().rpartition(":")
        return host, int(port)

    transport = TcpTransport(
        rank=world.rank, num_ranks=world.size, num_lanes=num_lanes, num_parameters=num_parameters, dtype=dtype, silence_s=silence_s,
        secret=world.secret, addresses=address_of, host=own_address(world), job=job,
    )  # fmt: skip
    host, port = transport.address
    board.put(f"address of rank {world.rank}", f"{host}:{port}".encode())
    return transport
