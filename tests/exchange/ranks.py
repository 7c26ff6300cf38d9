"""Real processes as the ranks of a test; every wait has an end."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.world import World

_PRELOAD = ["torch", "numpy", "unscatter.exchange.collectives", "tests.exchange.ranks"]


@dataclass(frozen=True)
class Outcome:
    """How a rank ended: with a value, with an error, or (both None) without a word."""

    value: Any = None
    error: str | None = None
    seconds: float = 0.0


def run_ranks(
    num_ranks: int, worker: Callable[..., Any], *args: Any, timeout_s: float = 60.0, rank_0_hosts: bool = False, without: int | None = None
) -> list[Outcome]:
    """Run ``worker(rendezvous, *args)`` on some ranks, each in a process of its own; the worker returns NumPy arrays or plain values.

    The rendezvous is kept by this process, as by a launcher, or by rank 0 where ``rank_0_hosts``.  Nobody waits for the rank ``without``.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=timeout_s), wait_for_workers=False)
    port = store.port
    if rank_0_hosts:
        del store
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    pipes = [context.Pipe(duplex=False) for _ in range(num_ranks)]
    processes = []
    for rank, (_, sender) in enumerate(pipes):
        world = World(
            rank=rank,
            size=num_ranks,
            local_rank=rank,
            local_size=num_ranks,
            port=port,
            hosts_rendezvous=rank_0_hosts and rank == 0,
            job="test",
            launcher="unscatter",
        )
        process = context.Process(target=_main, args=(sender, world, worker, args), daemon=True)
        process.start()
        sender.close()
        processes.append(process)
    try:
        end = time.monotonic() + timeout_s
        return [Outcome() if rank == without else _outcome(receiver, end) for rank, (receiver, _) in enumerate(pipes)]
    finally:
        for process in processes:
            process.kill()
            process.join(10)


def values(outcomes: list[Outcome]) -> list[Any]:
    """The values of ranks that have all ended well."""
    errors = [f"rank {rank}: {outcome.error or 'no word'}" for rank, outcome in enumerate(outcomes) if outcome.value is None]
    assert not errors, "\n".join(errors)
    return [outcome.value for outcome in outcomes]


def _outcome(receiver: Connection, end: float) -> Outcome:
    try:
        return receiver.recv() if receiver.poll(max(0.0, end - time.monotonic())) else Outcome()
    except EOFError:
        return Outcome()


def _main(sender: Connection, world: World, worker: Callable[..., Any], args: tuple[Any, ...]) -> None:
    began = time.monotonic()
    try:
        rendezvous = Rendezvous.join(world, timeout_s=20.0)
        sender.send(Outcome(value=worker(rendezvous, *args), seconds=time.monotonic() - began))
    except Exception as error:  # noqa: BLE001 - the test judges it
        text = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        sender.send(Outcome(error=text, seconds=time.monotonic() - began))
