"""From settings and a world to an exchange: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from unscatter.exchange.async_ring import AsyncRing
from unscatter.exchange.board import Board
from unscatter.exchange.collectives import AllReduce, Grouped, LocalSteps, Quorum, RingAllReduce
from unscatter.exchange.groups import ring_distances
from unscatter.exchange.horovod import Horovod
from unscatter.exchange.mpi.rma import Rma
from unscatter.exchange.protocol import Exchange, NoExchange
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.settings import ExchangeSettings
from unscatter.exchange.transports import Transport, join_transport
from unscatter.exchange.transports.mpi import MpiTransport
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
    if settings.name == "none":
        rendezvous.part()
    return build_exchange(settings, rendezvous)


def build_exchange(settings: ExchangeSettings, rendezvous: Rendezvous) -> Exchange:
    """The exchange among ranks that have met."""
    timeout_s = settings.timeout_s
    match settings.name:
        case "none":
            return NoExchange()
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
            return Quorum(rendezvous, quorum=settings.quorum, max_lag=settings.max_lag, timeout_s=timeout_s)
        case "horovod":
            return Horovod(rendezvous, timeout_s=timeout_s)
        case "rma":
            return Rma(rendezvous, timeout_s=timeout_s)


def _async_ring(settings: ExchangeSettings, rendezvous: Rendezvous) -> AsyncRing:
    world = rendezvous.world
    life = rendezvous.count(f"lives of rank {world.rank}")
    board = Board(rendezvous, straggler_s=settings.straggler_s)
    if life > 1:
        board.catch_up()

    def open_transport(num_parameters: int, dtype: torch.dtype, session: int, absent: frozenset[int]) -> Transport:
        # Mailboxes of another fit have another size: they need names and places on the board of their own.
        own_world = replace(world, job=f"{world.job}.{session}")
        own_board = replace(rendezvous.below(f"fit {session}"), world=own_world)
        return _open_transport(settings, own_board, num_parameters, dtype, absent)

    return AsyncRing(
        open_transport, world.rank, world.size, board,
        distances=(1,) if settings.distances == "plain" else None,
        max_staleness=settings.max_staleness,
        timeout_s=settings.timeout_s,
        first_transfer=(life - 1) * _TRANSFERS_PER_LIFE + 1,
    )  # fmt: skip


def _open_transport(
    settings: ExchangeSettings, rendezvous: Rendezvous, num_parameters: int, dtype: torch.dtype, absent: frozenset[int]
) -> Transport:
    num_lanes = 1 if settings.distances == "plain" else len(ring_distances(rendezvous.world.size))
    if settings.transport == "mpi":
        # A pulse is one per step there.
        silence_s = max(settings.silence_s, settings.timeout_s)
        return MpiTransport(rendezvous, num_lanes=num_lanes, num_parameters=num_parameters, dtype=dtype, silence_s=silence_s)
    return join_transport(
        rendezvous, num_lanes=num_lanes, num_parameters=num_parameters, dtype=dtype, kind=settings.transport, host=settings.host,
        silence_s=settings.silence_s, absent=absent,
    )  # fmt: skip
