"""Convergence of exchanges on proxy2d under a virtual clock: error over the Cramer-Rao bound, per sample and per virtual second.

    python benchmarks/exchange/convergence.py                       # 8 ranks, 10 data sets, equal and log-normal step times
    python benchmarks/exchange/convergence.py --law lognormal-1 --data-sets 3

The training is real; time is not: every step is given a duration drawn from the law (mean 1), and ranks go on in the order of these
durations, as they would on machines of their own.  The synchronous all-reduce waits for the slowest rank of every step.  Every rank has its
own shard of the events, its own discriminator, and its own optimiser moments.  All data sets run as replicas of one batch.
"""

from __future__ import annotations

import argparse
import math
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _proxies import draw_proxy2d, fit_proxy2d

from unscatter.arrays import Events, RandomStream
from unscatter.diagnostics import cramer_rao, rms_pull
from unscatter.events import StackedEvents
from unscatter.exchange import NoExchange
from unscatter.exchange.async_ring import AsyncRing
from unscatter.exchange.transports.virtual import VirtualNetwork, run_ranks
from unscatter.methods import Gan, GanSettings
from unscatter.pipeline import Problem
from unscatter.problems import proxy2d

#: Durations of steps, mean one.
LAWS: dict[str, Callable[[np.random.Generator, int], float]] = {
    "equal": lambda random, rank: 1.0,
    "lognormal-0.5": lambda random, rank: random.lognormal(-0.125, 0.5),
    "lognormal-1": lambda random, rank: random.lognormal(-0.5, 1.0),
    "pareto-1.5": lambda random, rank: (1 + random.pareto(1.5)) / 3,
    "one-slow": lambda random, rank: 10.0 if rank == 0 else 1.0,
    "hiccups": lambda random, rank: 10 / 1.45 if random.random() < 0.05 else 1 / 1.45,
}


@dataclass
class Barrier(NoExchange):
    """All-reduce between threads: the mean of all gradients, at the same step everywhere."""

    number: int = 0
    shared: list[Tensor | None] = field(default_factory=list)
    barrier: threading.Barrier = field(default_factory=lambda: threading.Barrier(1))

    def before_step(self, gradient: Tensor) -> Tensor:
        self.shared[self.number] = gradient
        self.barrier.wait(60)
        mean = torch.stack([part for part in self.shared if part is not None]).double().mean(0).to(gradient.dtype)
        self.barrier.wait(60)
        return mean


@dataclass
class Course:
    """Parameters of the averaged generator over virtual time: ``[record, data set, size]``."""

    times: list[float] = field(default_factory=list)
    parameters: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    ranks: int
    steps: int
    settings: GanSettings
    seed: int
    record_every: int


def shards(sets: list[Events], ranks: int) -> list[StackedEvents]:
    return [StackedEvents({"events": [Events(s.values[r::ranks], s.columns) for s in sets]}, exposure=1 / ranks) for r in range(ranks)]


def slowest(chosen: Setting, law: str) -> np.ndarray:
    """Virtual time after each step of ranks that wait for one another."""
    random = np.random.default_rng(chosen.seed)
    return np.cumsum([max(LAWS[law](random, rank) for rank in range(chosen.ranks)) for _ in range(chosen.steps)])


def run_allreduce(problem: Problem, sources: list[StackedEvents], chosen: Setting) -> tuple[Tensor, Course]:
    """Estimates ``[data set, size]`` and the course over steps, which does not depend on how long these take."""
    course, results = Course(), [torch.empty(0)] * chosen.ranks
    barrier, shared = threading.Barrier(chosen.ranks), [None] * chosen.ranks

    def rank_main(rank: int) -> None:
        method = Gan(chosen.settings)
        exchange = Barrier(number=rank, shared=shared, barrier=barrier)  # pyright: ignore[reportArgumentType]
        state = method.init(problem, sources[rank], RandomStream(chosen.seed), num_steps=chosen.steps, exchange=exchange)
        state = replace(state, static=replace(state.static, rng=RandomStream(chosen.seed).child("rank", rank)))
        for step in range(chosen.steps):
            state, _ = method.step(state, sources[rank])
            if rank == 0 and (step + 1) % chosen.record_every == 0:
                course.times.append(step + 1)
                course.parameters.append(method.result(state).parameters.double())
        results[rank] = method.result(state).parameters.double()

    threads = [threading.Thread(target=rank_main, args=(rank,)) for rank in range(chosen.ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return torch.stack(results).mean(0), course


def run_async(
    problem: Problem, sources: list[StackedEvents], chosen: Setting, law: str, options: Mapping[str, object]
) -> tuple[Tensor, Course, str]:
    """Estimates, course, and what the ring counted."""
    random, course = np.random.default_rng(chosen.seed), Course()
    network = VirtualNetwork(chosen.ranks)
    rings = [AsyncRing(lambda *_, rank=rank: network.transport(rank), rank, chosen.ranks, **options) for rank in range(chosen.ranks)]  # pyright: ignore[reportArgumentType]
    method, states = Gan(chosen.settings), []
    for rank in range(chosen.ranks):
        state = method.init(problem, sources[rank], RandomStream(chosen.seed), num_steps=chosen.steps, exchange=rings[rank])
        states.append(replace(state, static=replace(state.static, rng=RandomStream(chosen.seed).child("rank", rank))))

    def rank_main(rank: int) -> Generator[float, None, None]:
        for step in range(chosen.steps):
            yield LAWS[law](random, rank)
            states[rank], _ = method.step(states[rank], sources[rank])
            if rank == chosen.ranks - 1 and (step + 1) % chosen.record_every == 0:
                course.times.append(network.now_s)
                course.parameters.append(torch.stack([method.result(state).parameters.double() for state in states]).mean(0))
        rings[rank].close()

    run_ranks(network, [rank_main(rank) for rank in range(chosen.ranks)])
    found = torch.stack([method.result(state).parameters.double() for state in states])
    staleness = np.mean([ring.statistics()["staleness"] for ring in rings])
    worst = max(ring.statistics()["max_staleness"] for ring in rings)
    mass = sum(ring.mass for ring in rings)
    return found.mean(0), course, f"staleness mean {staleness:.2f}, max {worst:.0f} steps; mass {mass:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--data-sets", type=int, default=10)
    parser.add_argument("--events", type=int, default=100_000, help="of each data set, over all ranks")
    parser.add_argument("--batch", type=int, default=256, help="events per step and rank")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--law", nargs="+", choices=list(LAWS), default=["equal", "lognormal-1"])
    parser.add_argument("--exchange", nargs="+", choices=["allreduce", "async-ring"], default=["allreduce", "async-ring"])
    parser.add_argument("--rate", type=float, nargs="+", default=[0.2], help="step size of the generator with async-ring")
    parser.add_argument("--level", type=float, default=1.6, help="rms pull whose first time is printed")
    parser.add_argument("--distance-1", action="store_true", help="the plain ring instead of the distances 1, 2, 4, ...")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    problem, sets = proxy2d(), [draw_proxy2d(args.events, seed) for seed in range(args.data_sets)]
    truth = torch.tensor(problem.truth, dtype=torch.float64)
    sigma = cramer_rao(problem, truth, torch.tensor([float(args.events)]), rates=False).sigma
    likelihood, sources = torch.stack([fit_proxy2d(s) for s in sets]), shards(sets, args.ranks)
    chosen = Setting(args.ranks, args.steps, GanSettings(num_events=args.batch), args.seed, max(1, args.steps // 50))

    def show(label: str, found: Tensor, course: Course, note: str = "") -> None:
        result = rms_pull((found - truth) / sigma)
        distance = math.sqrt(float(((found - likelihood) / sigma).square().mean()))
        errors = [float(((p - truth) / sigma).square().mean().sqrt()) for p in course.parameters]
        reached = [t for t, e in zip(course.times, errors, strict=True) if e < args.level]
        print(
            f"{label:<34} rms pull {result.value:.3f} +- {result.error:.3f}   to maximum likelihood {distance:.3f}   "
            f"below {args.level:g} after {reached[0] if reached else math.nan:6.0f}, all steps {course.times[-1]:8.0f}   {note}",
            flush=True,
        )

    print(f"{args.ranks} ranks, {args.data_sets} sets of {args.events} events, {args.batch} events per step and rank, {args.steps} steps")
    show("maximum likelihood", likelihood, Course([0.0], [likelihood]))
    if "allreduce" in args.exchange:
        found, course = run_allreduce(problem, sources, chosen)
        for law in args.law:
            clock = slowest(chosen, law)
            show(f"{law}: allreduce", found, replace(course, times=[float(clock[int(step) - 1]) for step in course.times]))
    for law in args.law:
        if "async-ring" not in args.exchange:
            continue
        for rate in args.rate:
            generator = chosen.settings.generator.model_copy(update={"learning_rate": rate})
            faster = replace(chosen, settings=chosen.settings.model_copy(update={"generator": generator}))
            options = {"distances": (1,)} if args.distance_1 else {}
            found, course, note = run_async(problem, sources, faster, law, options)
            show(f"{law}: async-ring, rate {rate:g}", found, course, note)


if __name__ == "__main__":
    main()
