"""From 1 to 16,384 ranks by a max-plus model, calibrated on measured steps, drawn with the measured points and checked against SimGrid.

    python benchmarks/exchange/weak_scaling.py --output weak_scaling.json
    python benchmarks/exchange/prediction.py --measured weak_scaling.json
    python benchmarks/exchange/prediction.py                                  # only the checks of the model itself

Modelled: everything beyond the measured number of ranks, by `_maxplus.py`.  What enters is the cost of an exchange per step with two
ranks, where every rank has a core of its own, under equal step times; a synchronous average over N ranks is then given log2 N times that
cost, as if every network were as fast as this machine's memory and no message ever met another one, which favours the synchronous
exchanges; the published ring has N - 1 hops.  For measured numbers of ranks the model is also run with the cost measured at that number,
contention included.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _maxplus as maxplus
import numpy as np
from _laws import LAWS, SLOW_RANK, all_step_times, sample
from _maxplus import Draws

EVERY, BOUND = 16, 32

#: Published Monte Carlo, mean step 1: time per step of the slowest of N = 4, 8, 16, 64, 400, then of the first 90 % and of a barrier
#: every 16 steps for N = 8, 64, 400.
PUBLISHED = {
    "lognormal-0.5": ((1.57, 1.89, 2.22, 2.93, 3.95), (1.39, 1.67, 1.67), (1.21, 1.35, 1.49)),
    "lognormal-1": ((2.20, 3.02, 4.18, 7.13, 12.8), (1.63, 2.20, 2.18), (1.57, 2.11, 2.79)),
    "pareto-1.5": ((2.28, 3.38, 5.48, 13.9, 50.6), (1.28, 1.60, 1.53), (2.10, 6.01, 21.2)),
    "rare-10x": ((1.83, 2.78, 4.15, 6.67, 6.90), (1.05, 0.91, 0.69), (1.54, 1.99, 2.33)),
}


@dataclass(frozen=True)
class Model:
    """How an exchange is modelled."""

    rate: Callable[[Draws, float], float]
    """Steps per second per rank from draws and the cost per exchange."""
    growth: Callable[[int], float] = lambda num_ranks: math.log2(max(num_ranks, 2))
    """Cost at N ranks relative to that at two."""
    steps_per_exchange: int = 1


def _quorum(compute: Draws, cost: float) -> float:
    return maxplus.quorum(compute, max(1, 9 * compute.shape[1] // 10), cost)


def _hops(num_ranks: int) -> float:
    return float(max(num_ranks - 1, 1))


def _constant(num_ranks: int) -> float:
    return 1.0


MODELS = {
    "allreduce": Model(maxplus.barrier),
    "horovod": Model(maxplus.barrier),
    "gloo": Model(maxplus.barrier),
    "horovod-bare": Model(maxplus.barrier),
    "torchft": Model(maxplus.barrier),
    "ring": Model(maxplus.barrier, _hops),
    "late": Model(maxplus.one_step_late),
    "quorum": Model(_quorum),
    "localsteps": Model(lambda compute, cost: maxplus.local_steps(compute, EVERY, cost), steps_per_exchange=EVERY),
    "async-ring": Model(maxplus.wait_free, _constant),
    "async-ring-tcp": Model(maxplus.wait_free, _constant),
}

#: Not among the exchanges: what a bound in steps on every neighbour, and a wait for one neighbour, would do.
COMPARISONS = {
    "neighbours in step": Model(maxplus.neighbour_ring, _constant),
    f"bound of {BOUND} steps": Model(lambda compute, cost: maxplus.bounded_staleness(compute, BOUND, cost), _constant),
}


def draws(law: str, num_ranks: int, num_steps: int) -> Draws:
    """Step times of mean 1 ``[steps, ranks]`` for numbers of ranks that nobody has run."""
    times = sample(law, (num_steps, num_ranks), np.random.default_rng(num_ranks))
    if law == "one-slow" and num_ranks > SLOW_RANK:
        times[:, SLOW_RANK] *= 10
    return times


def check_published() -> None:
    """Print the model beside the published Monte Carlo figures."""
    print("time per step relative to the mean step: model (published)")
    print(f"{'':>14}" + "".join(f"{f'slowest of {n}':>18}" for n in (4, 8, 16, 64, 400)) + "".join(_checked_columns()))
    for law, (slowest, first_90, every_16) in PUBLISHED.items():
        cells = [
            _cell(1 / maxplus.barrier(draws(law, n, 400_000 // n)), value) for n, value in zip((4, 8, 16, 64, 400), slowest, strict=True)
        ]
        cells += [_cell(_first_90(draws(law, n, 400_000 // n)), value) for n, value in zip((8, 64, 400), first_90, strict=True)]
        cells += [
            _cell(1 / maxplus.local_steps(draws(law, n, 3_200_000 // n), EVERY), value)
            for n, value in zip((8, 64, 400), every_16, strict=True)
        ]
        print(f"{law:>14}" + "".join(f"{cell:>18}" for cell in cells))


def _checked_columns() -> list[str]:
    return [f"{f'first 90 % of {n}':>18}" for n in (8, 64, 400)] + [f"{f'every 16, {n}':>18}" for n in (8, 64, 400)]


def _cell(value: float, published: float) -> str:
    return f"{value:.2f} ({published:g})"


def _first_90(times: Draws) -> float:
    """When nine ranks in ten are done, the others starting afresh: their work is lost, unlike in the model of the quorum."""
    wanted = round(0.9 * times.shape[1])
    return float(np.partition(times, wanted - 1, axis=1)[:, wanted - 1].mean())


def check_simgrid(python: str, sizes: list[int], num_steps: int) -> None:
    """Print the model beside SimGrid: 200 KB messages, 1 ms, 1 Gbit/s, log-normal step times of 20 ms."""
    latency, bandwidth, num_bytes, bound = 1e-3, 125e6, 204_000, 4
    hop = latency + num_bytes / bandwidth
    print("\nsteps per second per rank, log-normal sigma 1, 20 ms, 200 KB messages over 1 ms and 1 Gbit/s: model (SimGrid)")
    for num_ranks in sizes:
        compute = 0.02 * all_step_times("lognormal-1", num_ranks, num_steps)
        job = {"compute": compute.T.tolist(), "latency": latency, "bandwidth": bandwidth, "bytes": num_bytes, "bound": bound}
        simulated = _run_simgrid(python, job)
        if simulated is None:
            return
        modelled = {
            "barrier": maxplus.barrier(compute, hop * math.log2(num_ranks)),
            "neighbour ring": maxplus.neighbour_ring(compute, hop),
            "bounded": maxplus.bounded_staleness(compute, bound),
            "wait-free": maxplus.wait_free(compute),
        }
        cells = [f"{kind} {value:.1f} ({simulated[kind]:.1f})" for kind, value in modelled.items()]
        print(f"{num_ranks:>4} ranks: " + ", ".join(cells), flush=True)


def _run_simgrid(python: str, job: dict[str, Any]) -> dict[str, float] | None:
    script = Path(__file__).with_name("_simgrid_check.py")
    try:
        done = subprocess.run([python, str(script)], input=json.dumps(job), capture_output=True, text=True, timeout=600, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        print(f"SimGrid: skipped, {python} cannot run it ({reason}); Debian has it as python3-simgrid")
        return None
    return json.loads(done.stdout)


@dataclass(frozen=True)
class Measured:
    """What weak_scaling.py has written, by exchange, law and number of ranks: steps per second per rank."""

    rates: dict[tuple[str, str, int], float]
    thread_cost_s: dict[tuple[str, int], float]
    mean_step_s: float

    @classmethod
    def read(cls, path: Path) -> Measured:
        content = json.loads(path.read_text())
        points = content["points"]
        rates = {(p["exchange"], p["law"], p["num_ranks"]): p["steps_per_s"] for p in points}
        costs = {(p["exchange"], p["num_ranks"]): 1e-3 * p["cost_ms"] for p in points if p["law"] == "equal"}
        return cls(rates, costs, 1e-3 * content["settings"]["mean_step_ms"])

    @property
    def exchanges(self) -> list[str]:
        """Those that can be modelled from what was measured."""
        return [name for name in MODELS if (name, "equal", 2) in self.rates]

    @property
    def overhead_s(self) -> float:
        """What a step of one rank takes beyond its emulated compute: oversleeping and the update."""
        return max(0.0, 1 / self.rates["none", "equal", 1] - self.mean_step_s)

    def cost_s(self, exchange: str, num_ranks: int) -> float:
        """Cost of one exchange: what equal steps take longer than those of one rank alone."""
        if exchange == "late":
            # Hidden behind the next step; it is the same engine.
            return self.cost_s("allreduce", num_ranks) if ("allreduce", "equal", num_ranks) in self.rates else 0.0
        longer = 1 / self.rates[exchange, "equal", num_ranks] - self.mean_step_s - self.overhead_s
        return max(0.0, longer) * MODELS[exchange].steps_per_exchange


def compare_measured(measured: Measured, seed: int) -> None:
    """Print measured rates beside the model with the cost measured at the same number of ranks under equal step times."""
    print("\nsteps per second per rank: measured (model with the cost of equal steps at as many ranks)")
    for law in [law for law in LAWS if law != "equal"]:
        for exchange in measured.exchanges:
            sizes = sorted(n for name, of, n in measured.rates if (name, of) == (exchange, law) and (name, "equal", n) in measured.rates)
            cells = []
            for num_ranks in sizes:
                compute = measured.mean_step_s * all_step_times(law, num_ranks, 480, seed=seed) + measured.overhead_s
                model = MODELS[exchange].rate(compute, measured.cost_s(exchange, num_ranks))
                cells.append(f"{num_ranks}: {measured.rates[exchange, law, num_ranks]:.1f} ({model:.1f})")
            if cells:
                print(f"{law:>14} {exchange:>14}   " + "   ".join(cells))


Curves = dict[str, dict[str, list[tuple[int, float]]]]


def predict(measured: Measured, most_ranks: int, num_steps: int) -> Curves:
    """Steps per second per rank for 1, 2, 4, ... ranks, by law and exchange."""
    curves: Curves = {}
    for law in LAWS:
        for power in range(int(math.log2(most_ranks)) + 1):
            num_ranks = 2**power
            compute = measured.mean_step_s * draws(law, num_ranks, num_steps) + measured.overhead_s
            for name, (model, cost) in _calibrated(measured).items():
                growth = model.growth(num_ranks) if num_ranks > 1 else 0.0
                curves.setdefault(law, {}).setdefault(name, []).append((num_ranks, model.rate(compute, cost * growth)))
    return curves


def _calibrated(measured: Measured) -> dict[str, tuple[Model, float]]:
    """Models with their cost at two ranks."""
    ours = measured.cost_s("async-ring", 2) if "async-ring" in measured.exchanges else 0.0
    return {name: (MODELS[name], measured.cost_s(name, 2)) for name in measured.exchanges} | {
        name: (model, ours) for name, model in COMPARISONS.items()
    }


def print_prediction(measured: Measured, curves: Curves) -> None:
    print(
        "\ncost of one exchange between two ranks, ms: " + ", ".join(f"{n} {1e3 * measured.cost_s(n, 2):.2f}" for n in measured.exchanges)
    )
    print("predicted steps per second per rank, no contention:")
    for law, by_name in curves.items():
        shown = [n for n, _ in next(iter(by_name.values())) if n in (1, 8, 32, 128, 1024, 4096, 16384)]
        print(f"{LAWS[law]:<24}" + "".join(f"{n:>9}" for n in shown))
        for name, curve in by_name.items():
            print(f"{name:>24}" + "".join(f"{rate:9.2f}" for n, rate in curve if n in shown))


def draw(measured: Measured, curves: Curves, path: Path) -> None:
    """Lines are the model, points are measured."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(13, 7.2), sharex=True, sharey=True)
    for axis, (law, by_name) in zip(axes.flat, curves.items(), strict=True):
        for number, (name, curve) in enumerate(by_name.items()):
            colour = f"C{number % 10}" if name in MODELS else "0.5"
            style = "-" if name in MODELS and number < 10 else "--" if number % 2 else ":"
            axis.plot([n for n, _ in curve], [rate for _, rate in curve], style, color=colour, linewidth=1.3, label=name)
            points = sorted((n, rate) for (of, what, n), rate in measured.rates.items() if (of, what) == (name, law))
            axis.plot([n for n, _ in points], [rate for _, rate in points], "o", color=colour, markersize=3.5)
        axis.set_title(LAWS[law], fontsize=10)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_ylim(0.05, 80)
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("ranks")
    for axis in axes[:, 0]:
        axis.set_ylabel("steps per second per rank")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)  # pyright: ignore[reportCallIssue, reportArgumentType]
    figure.suptitle(
        "Lines: max-plus model without contention.  Points: measured, emulated compute, ranks share the cores of one machine", fontsize=10
    )
    figure.set_layout_engine("constrained")
    figure.savefig(path, dpi=150)
    print(f"\nfigure: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", type=Path, help="what weak_scaling.py has written; it needs the law 'equal' and 1 and 2 ranks")
    parser.add_argument("--most-ranks", type=int, default=16_384)
    parser.add_argument("--steps", type=int, default=320, help="steps of the model")
    parser.add_argument("--simgrid-python", default="/usr/bin/python3", help="a Python that can import simgrid")
    parser.add_argument("--simgrid-ranks", type=int, nargs="*", default=[4, 16, 64], help="powers of two; none to leave it out")
    parser.add_argument("--simgrid-steps", type=int, default=200)
    parser.add_argument("--figure", type=Path, default=Path("prediction.png"))
    args = parser.parse_args()
    check_published()
    check_simgrid(args.simgrid_python, args.simgrid_ranks, args.simgrid_steps)
    if args.measured is None:
        print("\nno prediction: give what weak_scaling.py has written with --measured")
        return
    measured = Measured.read(args.measured)
    compare_measured(measured, json.loads(args.measured.read_text())["settings"]["seed"])
    curves = predict(measured, args.most_ranks, args.steps)
    print_prediction(measured, curves)
    draw(measured, curves, args.figure)


if __name__ == "__main__":
    main()
