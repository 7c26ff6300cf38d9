"""Ranks that compute and send real messages in SimGrid; run by prediction.py in a Python that has SimGrid, standard library only.

Reads ``{"compute": [[...] per rank], "latency": s, "bandwidth": bytes/s, "bytes": n, "bound": steps}`` from its standard input and prints
the steps per second per rank of an all-reduce (recursive doubling), of a blocking neighbour ring, of a bounded staleness and of no waiting.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLATFORM = """<?xml version='1.0'?><!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd"><platform version="4.1">
<cluster id="c" prefix="n" suffix="" radical="0-{last}" speed="1Gf" bw="{bandwidth}Bps" lat="{latency}s" sharing_policy="SPLITDUPLEX"/>
</platform>"""


def simulate(simgrid: Any, engine: Any, job: dict[str, Any], kind: str) -> list[list[float]]:
    """End of every step of every rank, in simulated seconds."""
    num_ranks = len(job["compute"])
    ends: list[list[float]] = [[] for _ in range(num_ranks)]
    begin = engine.clock

    def box(source: int, target: int) -> Any:
        return simgrid.Mailbox.by_name(f"{kind}-{source}-{target}")

    def send(source: int, target: int, step: int) -> Any:
        return box(source, target).put_async(step, job["bytes"])

    def all_reduce(rank: int, step: int) -> None:
        for distance in (2**k for k in range(num_ranks.bit_length() - 1)):
            sent = send(rank, rank ^ distance, step)
            box(rank ^ distance, rank).get()
            sent.wait()

    def give(rank: int, step: int) -> None:
        box(rank, (rank + 1) % num_ranks).put_init(step, job["bytes"]).detach()

    def neighbour_ring(rank: int, step: int) -> None:
        give(rank, step)
        box((rank - 1) % num_ranks, rank).get()

    def bounded(rank: int, step: int) -> None:
        # A wait for what the left neighbour had to say 'bound' steps ago.
        give(rank, step)
        if step >= job["bound"]:
            box((rank - 1) % num_ranks, rank).get()

    def wait_free(rank: int, step: int) -> None:
        pass

    exchanges: dict[str, Callable[[int, int], None]] = {
        "barrier": all_reduce, "neighbour ring": neighbour_ring, "bounded": bounded, "wait-free": wait_free,
    }  # fmt: skip

    def rank_actor(rank: int) -> None:
        if kind != "barrier":
            # With a receiver that is known, messages travel at once and not only when they are asked for.
            box((rank - 1) % num_ranks, rank).set_receiver(simgrid.Actor.self())
        for step, seconds in enumerate(job["compute"][rank]):
            simgrid.this_actor.sleep_for(seconds)
            exchanges[kind](rank, step)
            ends[rank].append(engine.clock - begin)

    for rank in range(num_ranks):
        simgrid.Actor.create(f"{kind}-{rank}", engine.host_by_name(f"n{rank}"), rank_actor, rank)
    engine.run()
    return ends


def main() -> None:
    simgrid = importlib.import_module("simgrid")

    job = json.load(sys.stdin)
    # Latency and bandwidth as given: SimGrid's default corrects them for TCP over Ethernet.
    plain = ["--cfg=network/model:CM02", "--cfg=network/latency-factor:1", "--cfg=network/bandwidth-factor:1", "--cfg=network/weight-S:0"]
    engine = simgrid.Engine([sys.argv[0], *plain, "--log=root.thres:error"])
    with tempfile.NamedTemporaryFile("w", suffix=".xml") as file:
        # A message crosses the links of both ends.
        file.write(PLATFORM.format(last=len(job["compute"]) - 1, bandwidth=job["bandwidth"], latency=job["latency"] / 2))
        file.flush()
        engine.load_platform(str(Path(file.name)))
    rates = {}
    for kind in ("barrier", "neighbour ring", "bounded", "wait-free"):
        ends = simulate(simgrid, engine, job, kind)
        first = max(len(ends[0]) // 10, 1)
        rates[kind] = sum((len(times) - first) / (times[-1] - times[first - 1]) for times in ends) / len(ends)
    print(json.dumps(rates))


if __name__ == "__main__":
    main()
