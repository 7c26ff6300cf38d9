"""Shared memory inside nodes and TCP between them, and how a world finds its transport."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage]

from tests.exchange.transports.peers import next_message, publish, wait_until
from unscatter.errors import ExchangeError
from unscatter.exchange import World
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.transports import HybridTransport, SharedMemoryTransport, TcpTransport, Transport, join_transport
from unscatter.exchange.transports.joining import own_address
from unscatter.exchange.transports.segment import segment_path

SIZE = 100
JOB = f"test hybrid {os.getpid()}"  # processes that test at the same time share the directory of segments
Joined = dict[int, Transport]


def world_of(rank: int, nodes: list[int]) -> World:
    return World(rank=rank, size=len(nodes), node=nodes[rank], job=JOB, secret="s3cret", port=1)


def join(rank: int, nodes: list[int], store: HashStore, **options: Any) -> Transport:
    board = Rendezvous(world_of(rank, nodes), store, 10.0)
    return join_transport(board, num_lanes=2, num_parameters=SIZE, silence_s=1.0, **options)


def in_threads(work: Callable[[int], object], num_ranks: int) -> None:
    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(num_ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)


def joined(nodes: list[int], store: HashStore, **options: Any) -> Joined:
    transports: Joined = {}
    in_threads(lambda rank: transports.update({rank: join(rank, nodes, store, **options)}), len(nodes))
    return dict(sorted(transports.items()))


def close(transports: Joined) -> None:
    in_threads(lambda rank: transports[rank].close(), len(transports))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("tcp-", "shared-memory"))]
    assert not any(segment_path(f"{JOB}/{node}").exists() for node in range(3))


def test_every_pair_exchanges_messages_whichever_way_it_takes() -> None:
    transports = joined([0, 0, 1, 1, 2], HashStore())
    kinds = [type(transport) for transport in transports.values()]
    assert kinds == [HybridTransport] * 4 + [TcpTransport]
    pairs = [(one, other) for one in transports for other in transports if one != other]
    for lane, version in ((0, 1), (1, 2)):
        for one, other in pairs:
            publish(transports[one], other, 10 * one + version, SIZE, lane=lane, transfer=version)
            assert next_message(transports[other], one, lane).header.version == 10 * one + version
            transports[other].confirm(one, lane, version)
            confirmed = transports[one].confirmed
            assert wait_until(lambda other=other, lane=lane, version=version, confirmed=confirmed: confirmed(other, lane) == version)
    transports[3].beat(40)
    assert all(wait_until(lambda rank=rank: transports[rank].health(3)[:2] == (True, 40)) for rank in (0, 1, 2, 4))
    statistics = transports[0].statistics()
    assert (statistics["messages_received"], statistics["messages_sent"], statistics["connections_made"]) == (8, 8, 3)
    transports[3].close()
    assert all(wait_until(lambda rank=rank: transports[rank].health(3).done) for rank in (0, 1, 2, 4))
    close(transports)


@pytest.mark.parametrize(("kind", "expected"), [("auto", SharedMemoryTransport), ("tcp", TcpTransport)])
def test_one_node_needs_no_network_unless_asked(kind: str, expected: type) -> None:
    transports = joined([0, 0], HashStore(), kind=kind)
    assert [type(transport) for transport in transports.values()] == [expected] * 2
    publish(transports[0], 1, 3, SIZE)
    assert next_message(transports[1], 0).header.version == 3
    close(transports)


def test_rank_that_was_started_again_joins_without_waiting() -> None:
    nodes, store = [0, 1], HashStore()
    transports = joined(nodes, store)
    publish(transports[0], 1, 1, SIZE)
    next_message(transports[1], 0)
    transports[1].close()
    transports[1] = join(1, nodes, store)
    publish(transports[1], 0, 5, SIZE)
    assert next_message(transports[0], 1).header.version == 5
    publish(transports[0], 1, 2, SIZE)
    assert next_message(transports[1], 0).header.version == 2
    close(transports)


def test_shared_memory_over_several_nodes_is_refused() -> None:
    store = HashStore()
    store.set("transport/nodes/1", "1")
    with pytest.raises(ExchangeError, match="the 2 ranks run on 2 nodes, which share no memory"):
        join(0, [0, 1], store, kind="shared-memory")


def test_rank_that_comes_back_on_another_node_is_refused() -> None:
    store = HashStore()
    store.set("transport/nodes/all", '["0", "0"]')
    with pytest.raises(ExchangeError, match="rank 1 was on node 0 when the job began and is now on node 1"):
        join(1, [0, 1], store)


def test_loopback_is_used_only_where_the_rendezvous_is_there() -> None:
    assert own_address(World(address="localhost")) == "127.0.0.1"
    assert own_address(World(address="127.0.0.1")) == "127.0.0.1"
    try:
        found = own_address(World(address="192.0.2.7"))
    except ExchangeError as error:
        found = str(error)
    assert not found.startswith("127.")
