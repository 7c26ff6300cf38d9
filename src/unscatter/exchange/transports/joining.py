"""The transport that fits where the ranks of a world run, made through their rendezvous."""

from __future__ import annotations

import ipaddress
import json
import socket
from typing import Literal

import torch

from unscatter.errors import ExchangeError
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.transports.hybrid import HybridTransport
from unscatter.exchange.transports.protocol import Transport
from unscatter.exchange.transports.shared_memory import SharedMemoryTransport
from unscatter.exchange.transports.tcp import TcpTransport
from unscatter.exchange.world import World

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

    Raises:
        ExchangeError: shared memory was asked for and the ranks run on several nodes, or a transport cannot be made.
        PeerLostError: a rank did not come in time.

    Example:
        >>> world = World(job="example", secret="s3cret")
        >>> join_transport(Rendezvous.join(world), num_lanes=1, num_parameters=10).close()
    """
    world, board = rendezvous.world, rendezvous.below("transport")
    nodes = [int(node) for node in _table(board, "nodes", str(world.node))]
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
    if kind != "tcp" and (len(neighbours) > 1 or world.size == 1):
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
    if kind == "tcp" or len(neighbours) < world.size:
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
    book.exchange(network.address if network else None)
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

    def exchange(self, own: tuple[str, int] | None) -> None:
        """Write down the own address and learn those of all others."""
        entries = _table(self._board, "addresses", json.dumps(own))
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


def own_address(world: World) -> str:
    """The address of this machine that other nodes can reach: the one from which the rendezvous is reached.

    Example:
        >>> own_address(World())
        '127.0.0.1'
    """
    if world.address == "localhost" or _is_loopback(world.address):
        return "127.0.0.1"
    # Many machines give their own name a loopback address; packets to anywhere else, here an address of documentation, tell more.
    for place in (world.address, "192.0.2.1"):
        found = _source_towards(place)
        if found and not _is_loopback(found):
            return found
    raise ExchangeError(
        f"rank {world.rank} finds no address of this machine that other nodes could reach.\nName one: exchange.host in the runcard."
    )


def _source_towards(place: str) -> str | None:
    """The own address from which packets to a place would go; nothing is sent."""
    try:
        family, kind, _, _, where = socket.getaddrinfo(place, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(where)
            return probe.getsockname()[0]
    except OSError:
        return None


def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


def _address(entry: str) -> tuple[str, int]:
    host, port = json.loads(entry)
    return host, port


def _table(board: Rendezvous, name: str, own: str) -> list[str]:
    """What each rank says, gathered by rank 0 so that not everybody has to ask everybody."""
    board.put(f"{name}/{board.world.rank}", own.encode())
    if board.world.rank == 0:
        said = [board.get(f"{name}/{rank}", of=f"rank {rank}").decode() for rank in range(board.world.size)]
        board.put(f"{name}/all", json.dumps(said).encode())
    return json.loads(board.get(f"{name}/all", of="rank 0"))
