"""What a transport costs the training thread, and how long a message is under way, beside a plain copy of the buffer.

    python benchmarks/exchange/transports.py                                    # both transports, four sizes
    python benchmarks/exchange/transports.py --sizes 51000 --repeats 300

Two real processes of this machine, TCP over loopback.  "publish" and "poll" are the medians of single calls in the training thread,
where every poll returns a message and nobody presses for time; "copies" is their sum over the median time of a plain copy of the buffer
in the same process.  "round trip" is the median time from the publication of a message to the return of its echo, so that one way takes
half of it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import NamedTuple

import torch

from unscatter.exchange.transports import Header, Message, SharedMemoryTransport, TcpTransport, Transport, payload_sum

SIZES = (51_000, 300_000, 1_300_000, 10_000_000)
LIMIT_S = 30.0


class Row(NamedTuple):
    copy_s: float
    check_s: float
    publish_s: float
    poll_s: float
    round_trip_s: float


def open_transport(kind: str, job: str, rank: int, size: int, pipe: Connection) -> Transport:
    if kind == "shared-memory":
        return SharedMemoryTransport(job, rank=rank, ranks=(0, 1), num_lanes=1, num_parameters=size)
    addresses: dict[int, tuple[str, int]] = {}
    transport = TcpTransport(rank=rank, num_ranks=2, num_lanes=1, num_parameters=size, secret="benchmark", addresses=addresses)
    pipe.send(transport.address)
    addresses[1 - rank] = pipe.recv()
    return transport


def receive(transport: Transport, source: int) -> tuple[Message, float]:
    """The next message, and how long the poll took that returned it."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        start = time.perf_counter()
        message = transport.poll(source, 0)
        if message is not None:
            return message, time.perf_counter() - start
        time.sleep(0)
    raise TimeoutError(f"no message within {LIMIT_S:g} s")


def echo(pipe: Connection, kind: str, job: str, size: int, repeats: int) -> None:
    """Send every message back."""
    torch.set_num_threads(1)
    transport = open_transport(kind, job, 1, size, pipe)
    for _ in range(repeats):
        message, _ = receive(transport, 0)
        transport.publish(0, 0, message.header, message.payload)
    pipe.recv()
    transport.close()


def median_time(call: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def measure(kind: str, size: int, repeats: int) -> Row:
    context = multiprocessing.get_context("forkserver")
    pipe, theirs = context.Pipe()
    job = f"benchmark-{os.getpid()}"
    process = context.Process(target=echo, args=(theirs, kind, job, size, repeats + 3), daemon=True)
    process.start()
    transport = open_transport(kind, job, 0, size, pipe)
    payload, other = torch.randn(size), torch.empty(size)
    check = payload_sum(payload)
    publishing, polling, trips = [], [], []
    for version in range(1, repeats + 4):
        start = time.perf_counter()
        transport.publish(1, 0, Header(version, version, version, 0.5, check), payload)
        published = time.perf_counter()
        _, poll_s = receive(transport, 1)
        publishing.append(published - start)
        polling.append(poll_s)
        trips.append(time.perf_counter() - start)
    pipe.send("end")
    process.join(LIMIT_S)
    transport.close()
    return Row(
        median_time(lambda: other.copy_(payload), repeats),
        median_time(lambda: payload_sum(payload), repeats),
        *(statistics.median(times[3:]) for times in (publishing, polling, trips)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--repeats", type=int, default=0, help="round trips per size; 0 for 20 to 300, fewer of the large ones")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("ms, medians          parameters    copy   check  publish    poll  publish+poll in copies  round trip")
    for kind in ("shared-memory", "tcp"):
        for size in args.sizes:
            row = measure(kind, size, args.repeats or max(20, min(300, 60_000_000 // size)))
            copies = (row.publish_s + row.poll_s) / row.copy_s
            copy, check, publish, poll, trip = (f"{1e3 * seconds:8.3f}" for seconds in row)
            print(f"{kind:<20} {size:>10,}{copy}{check} {publish}{poll} {copies:>23.1f}    {trip}", flush=True)


if __name__ == "__main__":
    main()
