"""The loop that the benchmarks time: emulated compute, then what a training step asks of its exchange."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from _exchanges import make_exchange
from _laws import step_times
from numpy.typing import NDArray

from unscatter.exchange.protocol import Exchange
from unscatter.exchange.rendezvous import Rendezvous


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What every rank does."""

    exchange: str
    law: str = "equal"
    num_parameters: int = 51_000
    mean_step_s: float = 0.02
    duration_s: float | None = None
    """Go on until this time has passed on all ranks; or else do ``num_steps``."""
    num_steps: int = 0
    warm_up_steps: int = 5
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What one rank has seen after its warm-up."""

    num_steps: int
    elapsed_s: float
    compute_s: float
    """Emulated compute as drawn: what the same steps would take without exchange and on an idle machine."""
    finished_s: float
    """When this rank had done its steps, after the common start."""
    cost_s: NDArray[np.float64]
    """Time of the training thread in the exchange, for each step."""
    cpu_s: NDArray[np.float64]
    """Processor time of the training thread in the exchange, which no neighbour on the machine can make longer by being busy."""
    copy_s: NDArray[np.float64]
    """Plain copies of the same buffer, between the steps of the same run."""
    statistics: dict[str, float] = field(default_factory=dict)


def run_plans(rendezvous: Rendezvous, plans: list[Plan]) -> list[Timing]:
    """Several plans one after the other in the same processes, each with a new exchange."""
    return [run_plan(_own_job(rendezvous, number), plan) for number, plan in enumerate(plans)]


def _own_job(rendezvous: Rendezvous, number: int) -> Rendezvous:
    """A job of its own for each plan, so that no shared memory or address of an earlier one is met again."""
    world = replace(rendezvous.world, job=f"{rendezvous.world.job}-{number}")
    return Rendezvous.join(world, timeout_s=rendezvous.timeout_s)


def run_plan(rendezvous: Rendezvous, plan: Plan) -> Timing:
    """One plan on this rank: warm up, meet the others, and step."""
    exchange = make_exchange(plan.exchange, rendezvous)
    try:
        exchange.start({"weights": torch.zeros(1, plan.num_parameters)})
        state = _State(exchange, plan, rendezvous.world.rank)
        for _ in range(plan.warm_up_steps):
            state.step(plan.mean_step_s)
        return _timed(state, _common_start(rendezvous))
    finally:
        exchange.close()


class _State:
    """Gradient and weights of a rank, and its steps."""

    def __init__(self, exchange: Exchange, plan: Plan, rank: int) -> None:
        self.exchange, self.plan, self.rank = exchange, plan, rank
        generator = torch.Generator().manual_seed(rank)
        self.gradient = torch.randn(1, plan.num_parameters, generator=generator)
        self.weights = torch.zeros(1, plan.num_parameters)
        self.copy = torch.zeros(1, plan.num_parameters)

    def step(self, compute_s: float) -> tuple[float, float, float]:
        """Sleep, exchange, update; seconds and processor time in the exchange, update included in the latter, and of a plain copy."""
        time.sleep(compute_s)
        cpu, start = time.thread_time(), time.perf_counter()
        mean = self.exchange.before_step(self.gradient)
        between = time.perf_counter()
        self.weights.add_(mean, alpha=-1e-3 * self.exchange.step_scale)
        resumed = time.perf_counter()
        self.weights = self.exchange.after_step(self.weights)
        self.stopped = self.exchange.stop_agreed()
        end = time.perf_counter()
        return end - resumed + between - start, time.thread_time() - cpu, self._plain_copy()

    def _plain_copy(self) -> float:
        start = time.perf_counter()
        self.copy.copy_(self.gradient)
        return time.perf_counter() - start


def _common_start(rendezvous: Rendezvous) -> float:
    """Meet at a counter and return a moment shortly after; the monotonic clock is the same in all processes of a machine."""
    world = rendezvous.world
    if rendezvous.count("ready") == world.size:
        rendezvous.put("start", str(time.monotonic() + 0.2).encode())
    return float(rendezvous.get("start", of="the last rank").decode())


def _timed(state: _State, start: float) -> Timing:
    plan = state.plan
    compute = plan.mean_step_s * step_times(plan.law, state.rank, _enough_steps(plan), seed=plan.seed)
    time.sleep(max(0.0, start - time.monotonic()))
    steps: list[tuple[float, float, float]] = []
    while not _finished(state, len(steps), time.monotonic() - start):
        steps.append(state.step(compute[len(steps) % len(compute)]))
    finished = time.monotonic() - start
    seconds = np.array(steps).reshape(-1, 3)
    return Timing(
        num_steps=len(steps),
        elapsed_s=finished,
        compute_s=float(np.resize(compute, len(steps)).sum()),
        finished_s=finished,
        cost_s=seconds[:, 0],
        cpu_s=seconds[:, 1],
        copy_s=seconds[:, 2],
        statistics=dict(state.exchange.statistics()),
    )


def _enough_steps(plan: Plan) -> int:
    """Draws that a rank may need; a run that is longer starts again from the first."""
    return plan.num_steps if plan.duration_s is None else int(4 * plan.duration_s / max(plan.mean_step_s, 1e-3)) + 100


def _finished(state: _State, num_steps: int, elapsed_s: float) -> bool:
    """After a fixed number of steps, or when all ranks know that the time is over."""
    if state.plan.duration_s is None:
        return num_steps >= state.plan.num_steps
    if elapsed_s >= state.plan.duration_s:
        state.exchange.request_stop()
    return num_steps > 0 and state.stopped
