"""Exchanges between emulated hosts with delay and rate between them: steps per second under equal and under uneven step times.

    sudo python benchmarks/exchange/namespaces.py                          # 4 hosts, 1 ms, 1 Gbit/s; Linux, root
    sudo python benchmarks/exchange/namespaces.py --hosts 2 --ranks-per-host 2 --exchanges async-ring

Real: processes, TCP of the kernel, sockets, buffers.  Emulated: the network, by namespaces, a token bucket for the rate and a hub in user
space for the delay, and compute, a sleep of 20 ms on average.  All of it, the hub included, shares the cores of this machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

import _emulated_hosts as emulated
import numpy as np
from _exchanges import EXCHANGES, available
from _laws import LAWS
from _loop import Plan, run_plans
from _ranks import RankFailedError, run_worlds
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from unscatter.exchange.world import World

#: Those that work between hosts; Horovod and torchft are started here for one machine.
BETWEEN_HOSTS = ["allreduce", "late", "ring", "quorum", "localsteps", "async-ring"]

PORT = 29_400


@dataclass(frozen=True)
class Enter:
    """Moves a rank onto its host before anything else."""

    namespaces: list[str]

    def __call__(self, world: World) -> None:
        emulated.enter(self.namespaces[world.node], world.node)


def worlds(num_hosts: int, ranks_per_host: int) -> list[World]:
    """The worlds of all ranks; a process on the first host keeps the rendezvous."""
    job, secret = uuid.uuid4().hex[:12], uuid.uuid4().hex
    return [
        World(
            rank=rank,
            size=num_hosts * ranks_per_host,
            local_rank=rank % ranks_per_host,
            local_size=ranks_per_host,
            node=rank // ranks_per_host,
            address=emulated.address(0),
            port=PORT,
            hosts_rendezvous=False,
            launcher="unscatter",
            job=job,
            secret=secret,
        )
        for rank in range(num_hosts * ranks_per_host)
    ]


@contextmanager
def kept_board(namespace: str) -> Iterator[None]:
    """Keep the board of a job on the first host."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    keeper = context.Process(target=_keep_board, args=(namespace, theirs), daemon=True)
    keeper.start()
    try:
        if not ours.poll(60):
            raise RankFailedError("the rendezvous on the first host has not opened within 60 s")
        yield
    finally:
        keeper.kill()
        keeper.join()


def _keep_board(namespace: str, connection: Connection) -> None:
    emulated.enter(namespace, 0)
    store = TCPStore(emulated.address(0), PORT, is_master=True, wait_for_workers=False)
    connection.send(store.port)
    connection.poll(None)


def measure(args: argparse.Namespace, exchange: str) -> None:
    """Print the line of one exchange; hosts are made for it alone, so that nothing of another one is still under way."""
    plans = [
        Plan(exchange=exchange, law=law, num_parameters=args.parameters, mean_step_s=1e-3 * args.mean_step_ms, duration_s=args.duration)
        for law in args.laws
    ]
    try:
        with emulated.emulated_hosts(args.hosts, 1e-3 * args.delay_ms, args.rate_mbit) as namespaces, kept_board(namespaces[0]):
            timings = run_worlds(
                run_plans,
                worlds(args.hosts, args.ranks_per_host),
                plans,
                timeout_s=60 + 3 * len(plans) * (args.duration + 10),
                prepare=Enter(namespaces),
            )
    except RankFailedError as error:
        print(f"{exchange:>16} FAILED: {error}", flush=True)
        return
    cells = []
    for number in range(len(plans)):
        of_ranks = [timing[number] for timing in timings]
        rate = np.mean([timing.num_steps / timing.elapsed_s for timing in of_ranks])
        cost = 1e3 * np.median(np.concatenate([timing.cost_s for timing in of_ranks]))
        cells.append(f"{rate:10.1f} ({cost:7.2f} ms)")
    print(f"{exchange:>16} " + " ".join(f"{cell:>24}" for cell in cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--ranks-per-host", type=int, default=1)
    parser.add_argument("--delay-ms", type=float, default=1.0, help="one way")
    parser.add_argument("--rate-mbit", type=int, default=1000)
    parser.add_argument("--parameters", type=int, default=51_000)
    parser.add_argument("--mean-step-ms", type=float, default=20.0)
    parser.add_argument("--duration", type=float, default=6.0)
    parser.add_argument("--laws", nargs="+", default=["equal", "lognormal-1"], choices=list(LAWS))
    parser.add_argument("--exchanges", nargs="+", default=BETWEEN_HOSTS, choices=sorted({*EXCHANGES} - {"horovod-bare", "torchft"}))
    args = parser.parse_args()
    reason = emulated.why_not()
    if reason is not None:
        print(reason)
        return
    network = f"{args.delay_ms:g} ms one way, {args.rate_mbit} Mbit/s"
    print(f"{args.hosts} hosts of {args.ranks_per_host} rank(s), {network}; all on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("steps per second per rank (median time of the training thread in the exchange)")
    print(f"{'':>16} " + " ".join(f"{LAWS[law]:>24}" for law in args.laws))
    for exchange in available(args.exchanges):
        measure(args, exchange)


if __name__ == "__main__":
    main()
