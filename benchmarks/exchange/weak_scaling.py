"""Steps per second per rank for 1 to 32 ranks under laws of step times, every exchange in the same run.

    python benchmarks/exchange/weak_scaling.py                                    # all of it: see README.md for how long
    python benchmarks/exchange/weak_scaling.py --ranks 1 2 4 --laws lognormal-1 --exchanges gloo async-ring --duration 3
    python benchmarks/exchange/weak_scaling.py --steps 200                        # a fixed number of steps on every rank

Real: processes, messages, buffers, waiting.  Emulated: compute, a sleep that takes no CPU, 20 ms on average.  All ranks share the cores of
this machine, so with equal step times a synchronous exchange loses to contention, which is not scaling: such losses say nothing about
a cluster.  What the slowest of N ranks costs is real here as well, and the column 'bound' says what it costs at least.

Efficiency is the emulated compute that a rank got done per second, relative to one rank that exchanges with nobody: 1 means that nobody
waited.  With a duration, all ranks step until the time is over (steady state).  With a number of steps, the job lasts until the last rank
has done them all, which costs a wait-free exchange the difference between the sums of the ranks' step times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _exchanges import EXCHANGES, available, launcher
from _laws import LAWS, all_step_times
from _loop import Plan, Timing, run_plans
from _ranks import RankFailedError

#: Seconds that starting the ranks and connecting them may take, in total and per rank, on a busy machine.
_STARTING_S = 60.0
_STARTING_PER_RANK_S = 3.0


@dataclass(frozen=True)
class Point:
    """One exchange, law and number of ranks."""

    exchange: str
    law: str
    num_ranks: int
    steps_per_s: float
    """Mean over the ranks."""
    slowest_per_s: float
    """The rank with the fewest steps per second."""
    work: float
    """Emulated compute per second of a rank, mean over the ranks: below 1 by waiting, exchanging and oversleeping."""
    cost_ms: float
    """Median time of the training thread in the exchange."""
    bound_per_s: float
    """Steps per second that the slowest rank of every step would leave to a synchronous exchange that costs nothing, same draws."""
    statistics: dict[str, float]


def summarise(plan: Plan, timings: list[Timing]) -> Point:
    """One point of the figure from what all ranks have seen."""
    job_s = max(timing.finished_s for timing in timings)
    elapsed = [timing.elapsed_s if plan.duration_s else job_s for timing in timings]
    rates = [timing.num_steps / seconds for timing, seconds in zip(timings, elapsed, strict=True)]
    num_steps = max(timing.num_steps for timing in timings)
    slowest = plan.mean_step_s * all_step_times(plan.law, len(timings), num_steps, seed=plan.seed).max(axis=1)
    return Point(
        exchange=plan.exchange,
        law=plan.law,
        num_ranks=len(timings),
        steps_per_s=float(np.mean(rates)),
        slowest_per_s=min(rates),
        work=float(np.mean([timing.compute_s / seconds for timing, seconds in zip(timings, elapsed, strict=True)])),
        cost_ms=1e3 * float(np.median(np.concatenate([timing.cost_s for timing in timings]))),
        bound_per_s=_bound(slowest, job_s if plan.duration_s else None),
        statistics=timings[0].statistics,
    )


def _bound(slowest: np.ndarray, duration_s: float | None) -> float:
    """Barriers that fit into the same time, or the rate of all of them where the number of steps is fixed."""
    ends = slowest.cumsum()
    if duration_s is None or ends[-1] <= duration_s:
        return float(len(ends) / ends[-1])
    # The first barrier after the end counts too, as it does for the ranks, which stop at the end of a step.
    done = int(np.searchsorted(ends, duration_s)) + 1
    return float(done / ends[done - 1])


def measure(exchange: str, num_ranks: int, plans: list[Plan], limit_s: float) -> list[Point]:
    """All laws for one exchange and number of ranks, in the same processes; an exchange that fails is said and left out."""
    try:
        timings = launcher(exchange)(run_plans, num_ranks, plans, timeout_s=limit_s)
    except RankFailedError as error:
        print(f"{exchange} on {num_ranks} ranks FAILED: {str(error).strip().splitlines()[-1]}\n{error}", flush=True)
        return []
    return [summarise(plan, [timing[number] for timing in timings]) for number, plan in enumerate(plans)]


def one_rank_work(points: list[Point]) -> dict[str, float]:
    """Emulated compute per second of one rank without exchange, per law: what efficiencies are relative to."""
    return {point.law: point.work for point in points if point.exchange == "none" and point.num_ranks == 1}


def print_tables(points: list[Point]) -> None:
    """One table per law: ranks down, exchanges across."""
    alone = one_rank_work(points)
    exchanges = list(dict.fromkeys(point.exchange for point in points))
    for law in dict.fromkeys(point.law for point in points):
        chosen = {(point.exchange, point.num_ranks): point for point in points if point.law == law}
        print(f"\n{LAWS[law]}: steps per second per rank (efficiency)")
        print("ranks " + "".join(f"{name:>18}" for name in [*exchanges, "bound"]))
        for num_ranks in sorted({ranks for _, ranks in chosen}):
            row = [chosen.get((exchange, num_ranks)) for exchange in exchanges]
            cells = [f"{p.steps_per_s:10.1f} ({p.work / alone[law]:.3f})" if p else "-" for p in row]
            bounds = [point.bound_per_s for point in row if point]
            print(f"{num_ranks:>5} " + "".join(f"{cell:>18}" for cell in cells) + f"{np.median(bounds):>18.1f}")


def draw(points: list[Point], path: Path) -> None:
    """Efficiency over ranks, one panel per law."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    alone, laws = one_rank_work(points), list(dict.fromkeys(point.law for point in points))
    exchanges = [name for name in dict.fromkeys(point.exchange for point in points) if name != "none"]
    columns = min(3, len(laws))
    rows = -(-len(laws) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.2 * columns, 3.6 * rows), sharex=True, sharey=True, squeeze=False)
    for axis, law in zip(axes.flat, laws, strict=False):
        for exchange in exchanges:
            curve = sorted((p.num_ranks, p.work / alone[law]) for p in points if (p.exchange, p.law) == (exchange, law))
            axis.plot(
                *zip(*curve, strict=True), marker="o", markersize=3.5, linewidth=2.2 if exchange == "async-ring" else 1.2, label=exchange
            )
        axis.set_title(LAWS[law], fontsize=10)
        axis.set_xscale("log", base=2)
        axis.set_ylim(0, 1.08)
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("ranks")
    for axis in axes[:, 0]:
        axis.set_ylabel("efficiency against one rank")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)  # pyright: ignore[reportCallIssue, reportArgumentType]
    figure.suptitle("Compute is emulated (20 ms of sleep on average); ranks share the cores of one machine", fontsize=10)
    figure.set_layout_engine("constrained")
    figure.savefig(path, dpi=150)
    print(f"figure: {path}")


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    return {
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--laws", nargs="+", default=list(LAWS), choices=list(LAWS))
    parser.add_argument("--exchanges", nargs="+", default=list(EXCHANGES), choices=list(EXCHANGES))
    parser.add_argument("--parameters", type=int, default=51_000)
    parser.add_argument("--mean-step-ms", type=float, default=20.0)
    parser.add_argument("--duration", type=float, default=6.0, help="seconds of each measurement in the steady state")
    parser.add_argument("--steps", type=int, default=0, help="a fixed number of steps on every rank instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("weak_scaling.json"), help="figures as JSON; the plot stands beside it")
    args = parser.parse_args()
    # One rank without exchange is what all others are compared with.
    exchanges = available(list(dict.fromkeys(["none", *args.exchanges])))
    points: list[Point] = []
    for num_ranks in sorted({1, *args.ranks}):
        for exchange in exchanges:
            plans = [_plan(args, exchange, law) for law in args.laws]
            points += measure(exchange, num_ranks, plans, _limit_s(args, num_ranks))
            for point in points[-len(plans) :]:
                if (point.exchange, point.num_ranks) == (exchange, num_ranks):
                    print(f"{num_ranks:>3} ranks {exchange:>14} {point.law:>14} {point.steps_per_s:8.1f} steps/s", flush=True)
    print_tables(points)
    settings = vars(args) | {"output": str(args.output)}
    args.output.write_text(json.dumps({"machine": machine(), "settings": settings, "points": [vars(point) for point in points]}, indent=1))
    print(f"\nfigures: {args.output}")
    draw(points, args.output.with_suffix(".png"))


def _plan(args: argparse.Namespace, exchange: str, law: str) -> Plan:
    return Plan(
        exchange=exchange,
        law=law,
        num_parameters=args.parameters,
        mean_step_s=1e-3 * args.mean_step_ms,
        duration_s=None if args.steps else args.duration,
        num_steps=args.steps,
        seed=args.seed,
    )


def _limit_s(args: argparse.Namespace, num_ranks: int) -> float:
    """All laws one after the other; a fixed number of steps may take the slowest rank a hundred times the mean."""
    each = 10 * args.steps * args.mean_step_ms * 1e-3 + 60 if args.steps else 3 * args.duration + 20
    return _STARTING_S + _STARTING_PER_RANK_S * num_ranks + each * len(args.laws)


if __name__ == "__main__":
    main()
