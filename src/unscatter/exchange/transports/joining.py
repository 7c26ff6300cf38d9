"""The transport that fits where the ranks of a world run, made through their rendezvous."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Literal

import torch

from unscatter.errors import ExchangeError
from unscatter.exchange.address import own_address
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.transports.hybrid import HybridTransport
from unscatter.exchange.transports.protocol import Transport
from unscatter.exchange.transports.shared_memory import SharedMemoryTransport
from unscatter.exchange.transports.tcp import TcpTransport

TransportKind = Literal["auto", "shared-memory", "tcp"]


def join_transport(
    rendezvous: Rendezvous,
    *,
    num_lanes: int,
    num_parameters: int,
    dtype: torch.dtype = torch.float32,
    kind: TransportKind = "auto",
    host: str | None = None,
    silence_s: float = 5.0,
    absent: Collection[int] = (),
) -> Transport:
    """Make the transport of this rank; returns when all ranks have made theirs.

    A rank that is started again joins those that are left and does not wait.

    Args:
        rendezvous: board of the ranks that share a generator; what stands on it under ``transport`` belongs to this function.
        num_lanes: mailboxes that each rank can send through at the same time.
        num_parameters: numbers in a payload.
        dtype: their type.
        kind: ``auto`` for shared memory inside nodes and TCP between them; ``shared-memory`` or ``tcp`` for one of them only.
        host: address at which this rank can be reached over the network; found out by default.
        silence_s: seconds without a word after which a rank counts as lost.
        absent: ranks that are known to be gone: nobody waits for them, and nothing may be sent to them or asked of them.

    Raises:
        ExchangeError: shared memory was asked for and the ranks run on several nodes, or a transport cannot be made.
        PeerLostError: a rank did not come in time.

    Example:
        >>> from unscatter.exchange.world import World
        >>> world = World(job="example", secret="s3cret")
        >>> join_transport(Rendezvous.join(world), num_lanes=1, num_parameters=10).close()
    """
    world, board = rendezvous.world, rendezvous.below("transport")
    nodes = [int(node) for node in _table(board, "nodes", str(world.node), absent)]
    if nodes[world.rank] != world.node:
        raise ExchangeError(
            f"rank {world.rank} was on node {nodes[world.rank]} when the job began and is now on node {world.node}.\n"
            "Start it again where it was, or start the whole job again."
        )
    neighbours = tuple(rank for rank in range(world.size) if nodes[rank] == world.node)
    if kind == "shared-memory" and len(neighbours) < world.size:
        raise ExchangeError(
            f"the {world.size} ranks run on {len(set(nodes))} nodes, which share no memory.\nUse the transport 'auto' or 'tcp' instead."
        )
    memory = network = None
    alone = len(nodes) - len(absent) == 1
    if kind != "tcp" and (len(neighbours) > 1 or alone):
        memory = SharedMemoryTransport(
            f"{world.job}/{world.node}",
            rank=world.rank,
            ranks=neighbours,
            num_lanes=num_lanes,
            num_parameters=num_parameters,
            dtype=dtype,
            silence_s=silence_s,
            timeout_s=rendezvous.timeout_s,
        )
    book = AddressBook(board)
    if kind == "tcp" or len(neighbours) < world.size - len(absent):
        network = TcpTransport(
            rank=world.rank,
            num_ranks=world.size,
            num_lanes=num_lanes,
            num_parameters=num_parameters,
            dtype=dtype,
            secret=world.secret,
            job=world.job,
            addresses=book.look_up,
            host=host or own_address(world),
            silence_s=silence_s,
        )
    book.exchange(network.address if network else None, absent)
    if memory and network:
        return HybridTransport(memory, network, nodes)
    transport = memory or network
    assert transport is not None
    return transport


class AddressBook:
    """Where the ranks listen: as they said at the start, and newer where one was started again and the board can still be asked.

    Args:
        board: where the addresses stand.
    """

    def __init__(self, board: Rendezvous) -> None:
        self._board = board
        self._known: dict[int, tuple[str, int]] = {}

    def exchange(self, own: tuple[str, int] | None, absent: Collection[int] = ()) -> None:
        """Write down the own address and learn those of all others."""
        entries = _table(self._board, "addresses", json.dumps(own), absent, nothing="null")
        self._known.update({rank: _address(entry) for rank, entry in enumerate(entries) if entry != "null"})

    def look_up(self, rank: int) -> tuple[str, int] | None:
        """The newest known address of a rank."""
        try:
            entry = self._board.store.get(f"addresses/{rank}").decode() if self._board.has(f"addresses/{rank}") else "null"
        except (ExchangeError, RuntimeError):  # the board is gone, and with it the news of ranks that were started again
            entry = "null"
        if entry != "null":
            self._known[rank] = _address(entry)
        return self._known.get(rank)


def _address(entry: str) -> tuple[str, int]:
    host, port = json.loads(entry)
    return host, port


def _table(board: Rendezvous, name: str, own: str, absent: Collection[int] = (), *, nothing: str = "-1") -> list[str]:
    """What each rank says, gathered by the first one so that not everybody has to ask everybody."""
    board.put(f"{name}/{board.world.rank}", own.encode())
    present = [rank for rank in range(board.world.size) if rank not in absent]
    if board.world.rank == present[0]:
        said = [board.get(f"{name}/{rank}", of=f"rank {rank}").decode() if rank in present else nothing for rank in range(board.world.size)]
        board.put(f"{name}/all", json.dumps(said).encode())
    return json.loads(board.get(f"{name}/all", of=f"rank {present[0]}"))
