"""Horovod's all-reduce, for comparison."""

from __future__ import annotations

import atexit
import importlib
import json
import os
from typing import Any

from torch import Tensor

from unscatter.errors import MissingExtraError
from unscatter.exchange.address import own_address
from unscatter.exchange.collectives.allreduce import all_reduce_bytes
from unscatter.exchange.collectives.contribution import combined, contribution
from unscatter.exchange.collectives.peers import Peers
from unscatter.exchange.collectives.synchronous import Synchronous
from unscatter.exchange.rendezvous import Rendezvous


class Horovod(Synchronous):
    r"""The mean gradient of all ranks by one ``horovod.torch.allreduce_`` of the fused buffer.

    Ranks that ``horovodrun`` has not started are joined here: rank 0 keeps Horovod's own rendezvous server, and every rank gets its
    place through Horovod's environment variables.  Everything outside the steps goes the way of the other synchronous exchanges.  Rows
    (replicas) that are not finite are left out of the mean and counted.

    A process can be a rank of one such exchange at a time, as Horovod is one per process.

    Args:
        rendezvous: where the ranks meet.
        timeout_s: how long any call waits for other ranks.

    Raises:
        MissingExtraError: Horovod is not installed, or was built for another PyTorch.
        PeerLostError: not all ranks came; names those that did not.

    References:
        Sergeev and Del Balso, arXiv:1802.05799.
    """

    def __init__(self, rendezvous: Rendezvous, *, timeout_s: float = 60.0) -> None:
        self._horovod = _import_horovod()
        self._peers = Peers(rendezvous, timeout_s=timeout_s)
        self._server: Any = None
        self._variables: dict[str, str] = {}
        if "HOROVOD_GLOO_RENDEZVOUS_ADDR" not in os.environ:
            self._join(self._peers.board)
        # On the training thread, since Horovod's clean-up belongs there; bounded by Horovod's own time-out.
        self._horovod.init()

    def before_step(self, gradient: Tensor) -> Tensor:
        """The mean gradient of this step.

        Raises:
            PeerLostError: a rank is missing; names it.
        """
        self._peers.count_step()
        buffer = contribution(gradient, stop=self._peers.stop_requested)
        self._peers.call(lambda: self._horovod.allreduce_(buffer, name="unscatter", op=self._horovod.Sum))
        self._peers.tally.bytes_sent += all_reduce_bytes(buffer, self.num_ranks)
        return self._note(combined(buffer, gradient.shape, self.num_ranks))

    def close(self) -> None:
        """Leave, and shut Horovod down unless a rank was lost: it would wait for that rank."""
        if self._peers.failed:
            atexit.unregister(self._horovod.shutdown)
        else:
            self._horovod.shutdown()
        self._peers.close()
        for name in self._variables:
            os.environ.pop(name, None)
        if self._server is not None:
            self._server.stop()

    def _join(self, board: Rendezvous) -> None:
        world = board.world
        board.put(f"place/{world.rank}", json.dumps([world.node, world.local_rank, world.local_size]).encode())
        if world.rank == 0:
            self._serve(board)
        plan = json.loads(board.get("horovod", of="rank 0"))
        self._variables = _variables(plan["places"], world.rank) | {
            "HOROVOD_GLOO_RENDEZVOUS_ADDR": plan["address"],
            "HOROVOD_GLOO_RENDEZVOUS_PORT": str(plan["port"]),
            "HOROVOD_GLOO_TIMEOUT_SECONDS": str(max(1, round(self._peers.timeout_s))),
            "HOROVOD_GLOO_IFACE": os.environ.get("HOROVOD_GLOO_IFACE") or _interface(own_address(world)),
            "HOROVOD_CONTROLLER": "gloo",
            "HOROVOD_CPU_OPERATIONS": "gloo",
        }
        os.environ.update(self._variables)

    def _serve(self, board: Rendezvous) -> None:
        places = [json.loads(board.get(f"place/{rank}", of=f"rank {rank}")) for rank in range(board.world.size)]
        self._server = importlib.import_module("horovod.runner.http.http_server").RendezvousServer()
        port = self._server.start()
        slot = importlib.import_module("horovod.runner.common.util.hosts").SlotInfo
        self._server.init([slot(**_slot(places, rank)) for rank in range(board.world.size)])
        board.put("horovod", json.dumps({"address": own_address(board.world), "port": port, "places": places}).encode())


def _import_horovod() -> Any:
    try:
        return importlib.import_module("horovod.torch")
    except ImportError as error:
        raise MissingExtraError(
            f"exchange 'horovod' needs Horovod built with this PyTorch, which cannot be imported: {error}\n"
            "There is no wheel on PyPI: build one as benchmarks/README.md says and install it: pip install --no-deps horovod-*.whl, "
            "or use exchange 'allreduce', which does the same without Horovod."
        ) from error


def _slot(places: list[list[int]], rank: int) -> dict[str, Any]:
    """The place of a rank in Horovod's words: ``cross`` counts the nodes that have a rank of the same local number."""
    node, local_rank, local_size = places[rank]
    across = sorted(other for other, local, _ in places if local == local_rank)
    return {
        "hostname": f"node{node}",
        "rank": rank,
        "size": len(places),
        "local_rank": local_rank,
        "local_size": local_size,
        "cross_rank": across.index(node),
        "cross_size": len(across),
    }


def _variables(places: list[list[int]], rank: int) -> dict[str, str]:
    return {f"HOROVOD_{name.upper()}": str(value) for name, value in _slot(places, rank).items()}


def _interface(address: str) -> str:
    """Name of the network interface with an address; psutil comes with Horovod."""
    interfaces = importlib.import_module("psutil").net_if_addrs()
    return next(name for name, addresses in interfaces.items() if any(entry.address == address for entry in addresses))
