"""Other people's engines used as barely as they can be: one fused buffer per step, averaged over all ranks.

They stand beside the exchanges of `unscatter` so that nothing of this package can make them look slow.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.world import World

_TIMEOUT = timedelta(seconds=60)


@dataclass
class Engine:
    """How an engine averages a buffer over all ranks, and how it is taken down."""

    average: Callable[[Tensor], Tensor]
    close: Callable[[], None]


@dataclass
class ReferenceExchange:
    """A synchronous average of gradients through an engine; the wish to stop travels as one more number of the buffer."""

    world: World
    engine: Engine
    _buffer: Tensor = field(default_factory=lambda: torch.zeros(0))
    _wish: bool = False
    _agreed: bool = False

    @property
    def rank(self) -> int:
        return self.world.rank

    @property
    def num_ranks(self) -> int:
        return self.world.size

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def in_step(self) -> bool:
        return True

    @property
    def step_scale(self) -> float:
        return 1.0

    def round_over(self) -> bool:
        return False

    def start(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.engine.average(torch.zeros(1))
        return dict(tensors)

    def before_step(self, gradient: Tensor) -> Tensor:
        if self._buffer.numel() != gradient.numel() + 1:
            self._buffer = torch.empty(gradient.numel() + 1)
        self._buffer[:-1] = gradient.flatten()
        self._buffer[-1] = float(self._wish)
        mean = self.engine.average(self._buffer)
        self._agreed = bool(mean[-1] > 0)
        return mean[:-1].view_as(gradient)

    def after_step(self, weights: Tensor) -> Tensor:
        return weights

    def total(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self.engine.average(tensor.clone()) * self.num_ranks for name, tensor in tensors.items()}

    def agree(self, text: str) -> str:
        return text

    def request_stop(self) -> None:
        self._wish = True

    def stop_agreed(self) -> bool:
        return self._agreed

    def statistics(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        self.engine.close()


def gloo(rendezvous: Rendezvous) -> Engine:
    """`torch.distributed` over gloo; the group lives in its own store, so that several follow one another in a process."""
    world = rendezvous.world
    dist.init_process_group("gloo", store=rendezvous.store, rank=world.rank, world_size=world.size, timeout=_TIMEOUT)

    def average(buffer: Tensor) -> Tensor:
        dist.all_reduce(buffer)
        return buffer.div_(world.size)

    return Engine(average, dist.destroy_process_group)


def horovod(rendezvous: Rendezvous) -> Engine:
    """Horovod over gloo, started directly: `horovodrun` makes the ranks ten times slower on one machine."""
    hvd = importlib.import_module("horovod.torch")
    server = _start_horovod_server(rendezvous) if rendezvous.world.rank == 0 else None
    os.environ.update(_horovod_environment(rendezvous.world, int(rendezvous.get("horovod-port", of="rank 0"))))
    hvd.init()
    world = rendezvous.world

    def average(buffer: Tensor) -> Tensor:
        return hvd.allreduce_(buffer, average=None, name="gradient", op=hvd.Average)

    def close() -> None:
        hvd.shutdown()
        rendezvous.count("horovod-left")
        if server is not None:
            _wait_for_all(rendezvous, "horovod-left", world.size)
            server.stop()

    return Engine(average, close)


def _start_horovod_server(rendezvous: Rendezvous) -> Any:
    server = importlib.import_module("horovod.runner.http.http_server").RendezvousServer()
    hosts = importlib.import_module("horovod.runner.common.util.hosts")
    port = server.start()
    size = rendezvous.world.size
    server.init(hosts.get_host_assignments(hosts.parse_hosts(f"127.0.0.1:{size}"), size))
    rendezvous.put("horovod-port", str(port).encode())
    return server


def _horovod_environment(world: World, port: int) -> dict[str, str]:
    ranks = {"RANK": world.rank, "SIZE": world.size, "LOCAL_RANK": world.rank, "LOCAL_SIZE": world.size, "CROSS_RANK": 0, "CROSS_SIZE": 1}
    return {f"HOROVOD_{name}": str(value) for name, value in ranks.items()} | {
        "HOROVOD_HOSTNAME": "127.0.0.1",
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1",
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port),
        "HOROVOD_GLOO_IFACE": "lo",
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        # Negotiation waits a cycle, 1 ms by default: what a tuned Horovod would take here.
        "HOROVOD_CYCLE_TIME": "0.2",
    }


def torchft(rendezvous: Rendezvous) -> Engine:
    """torchft: every rank a replica group of its own, elastic synchronous steps with a vote after each."""
    os.environ.setdefault("RUST_LOG", "error")
    logging.getLogger("torchft").setLevel(logging.ERROR)
    module = importlib.import_module("torchft")
    coordination = importlib.import_module("torchft.coordination")
    world = rendezvous.world
    lighthouse = None
    if world.rank == 0:
        lighthouse = coordination.LighthouseServer(bind="127.0.0.1:0", min_replicas=world.size, join_timeout_ms=60_000, quorum_tick_ms=10)
        rendezvous.put("lighthouse", lighthouse.address().encode())
    address = rendezvous.get("lighthouse", of="rank 0").decode().replace(socket.gethostname(), "127.0.0.1")
    stores = [TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)]
    manager = module.Manager(
        pg=module.ProcessGroupGloo(timeout=_TIMEOUT),
        load_state_dict=lambda state: None,
        state_dict=dict,
        min_replica_size=world.size,
        rank=0,
        world_size=1,
        store_addr="127.0.0.1",
        store_port=stores[0].port,
        lighthouse_addr=address,
        replica_id=f"replica{world.rank}",
        hostname="127.0.0.1",
        init_sync=False,
    )

    def average(buffer: Tensor) -> Tensor:
        manager.start_quorum()
        manager.allreduce(buffer).wait()
        if not manager.should_commit():
            raise RuntimeError(f"rank {world.rank}: torchft has refused a step")
        return buffer

    def close() -> None:
        manager.shutdown(wait=False)
        # Kept until here: its end would be the end of the connections to it.
        del stores[:]
        rendezvous.count("torchft-left")
        if lighthouse is not None:
            _wait_for_all(rendezvous, "torchft-left", world.size)
            lighthouse.shutdown()

    return Engine(average, close)


def _wait_for_all(rendezvous: Rendezvous, counter: str, size: int) -> None:
    """Until every rank has counted: rank 0 keeps a server that the others still talk to."""
    end = time.monotonic() + 10
    while int(rendezvous.get(counter)) < size and time.monotonic() < end:
        time.sleep(0.05)
