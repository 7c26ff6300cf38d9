"""What an exchange costs the training thread per step, and the bytes that it sends, beside a plain copy of the same buffer.

    python benchmarks/exchange/latency.py                                     # two ranks, every exchange, four sizes
    python benchmarks/exchange/latency.py --exchanges async-ring --parameters 51000 --ranks 4
    python benchmarks/exchange/latency.py --compute-ms 0                      # back to back, nothing to hide behind

Real: processes, messages and buffers on this machine.  Emulated: compute, a sleep of equal length on all ranks between two exchanges, in
which messages may travel.  'CPU' is the processor time of the training thread in the exchange and the update.  The copy (one buffer to
another, both as long as the parameters) is timed at every step of the same run.

Bytes per step are those of one rank: as counted by the exchange where it counts, and what the loopback device carried, which is all traffic
over TCP and none over shared memory; where the script may, it runs in a network namespace of its own so that nobody else is counted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from _exchanges import EXCHANGES, available, launcher
from _loop import Plan, Timing, run_plans
from _namespaces import enter_new_namespace
from _ranks import RankFailedError

SIZES = [51_000, 300_000, 1_300_000, 10_000_000]


def loopback_bytes() -> int:
    """Bytes that the loopback device of this namespace has carried so far."""
    for line in Path("/proc/self/net/dev").read_text().splitlines():
        if line.strip().startswith("lo:"):
            return int(line.split(":")[1].split()[0])
    return 0


def row(plan: Plan, timings: list[Timing], carried: int) -> str:
    """One line of the table."""
    cost = 1e3 * np.concatenate([timing.cost_s for timing in timings])
    cpu = 1e3 * np.concatenate([timing.cpu_s for timing in timings])
    copy = 1e3 * np.concatenate([timing.copy_s for timing in timings])
    # Both counts include the warm-up.
    steps = (plan.num_steps + plan.warm_up_steps) * len(timings)
    counted = [timing.statistics.get("bytes_sent") for timing in timings]
    told = f"{sum(filter(None, counted)) / steps / 1e6:10.3f}" if all(value is not None for value in counted) else f"{'-':>10}"
    times = (np.median(cost), np.quantile(cost, 0.9), np.median(cpu), np.median(copy))
    cells = "".join(f" {value:10.3f}" for value in times)
    wire = carried / steps / 1e6
    return f"{plan.exchange:>16} {plan.num_parameters:>10,}{cells} {times[0] / times[3]:8.1f} {told} {wire:10.3f}"


@contextmanager
def own_network() -> Iterator[None]:
    """Leave the network of the machine, where root may; the namespace ends with this process."""
    if sys.platform == "linux" and os.geteuid() == 0:
        enter_new_namespace()
    else:
        print("not root: the loopback column counts the traffic of everybody on this machine")
    yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--parameters", type=int, nargs="+", default=SIZES)
    parser.add_argument("--exchanges", nargs="+", default=list(EXCHANGES), choices=list(EXCHANGES))
    parser.add_argument("--steps", type=int, default=200, help="for the smallest buffer; fewer, but 40 at least, for larger ones")
    parser.add_argument("--compute-ms", type=float, default=20.0, help="emulated compute between two exchanges")
    args = parser.parse_args()
    print(
        f"{args.ranks} ranks on {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}, {args.compute_ms:g} ms of emulated compute"
    )
    with own_network():
        print(f"{'':>27} {'ms in the training thread':^43} {'':>8} {'MB per step and rank':^21}")
        titles = ["median", "p90", "CPU", "copy"]
        head = "".join(f" {title:>10}" for title in titles)
        print(f"{'exchange':>16} {'parameters':>10}{head} {'ratio':>8} {'counted':>10} {'loopback':>10}", flush=True)
        for exchange in available(args.exchanges):
            for size in args.parameters:
                measure(args, exchange, size)


def measure(args: argparse.Namespace, exchange: str, size: int) -> None:
    """Print the line of one exchange and size."""
    num_steps = max(40, min(args.steps, args.steps * args.parameters[0] * 4 // size))
    plan = Plan(exchange=exchange, num_parameters=size, mean_step_s=1e-3 * args.compute_ms, num_steps=num_steps)
    before = loopback_bytes()
    try:
        timings = [timing for (timing,) in launcher(exchange)(run_plans, args.ranks, [plan], timeout_s=240)]
    except RankFailedError as error:
        print(f"{exchange:>16} {size:>10,} FAILED: {str(error).strip().splitlines()[-1]}", flush=True)
        return
    print(row(plan, timings, loopback_bytes() - before), flush=True)


if __name__ == "__main__":
    main()
