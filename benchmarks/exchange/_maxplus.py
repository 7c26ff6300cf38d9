r"""When ranks finish their steps: a max-plus model of exchanges, in NumPy.

With :math:`c_i(k)` the compute of rank i in step k, :math:`e` what the exchange costs per step, and :math:`T_i(k)` the time at which rank i
has finished step k, :math:`T_i(0) = 0` and :math:`x_i(k) = T_i(k-1) + c_i(k)` the time at which its compute of step k is done:

.. math::
    \text{barrier}          &: T_i(k) = \max_j x_j(k) + e \\
    \text{one step late}    &: T_i(k) = \max\bigl(x_i(k), R(k-1)\bigr), \quad R(k) = \max_j x_j(k) + e \\
    \text{neighbour ring}   &: T_i(k) = \max\bigl(x_i(k), x_{i-1}(k)\bigr) + e \\
    \text{bounded by } s    &: T_i(k) = \max\bigl(x_i(k), T_{i-1}(k-s)\bigr) + e \\
    \text{local steps}      &: \text{barrier where } H \text{ divides } k, \text{ wait-free elsewhere} \\
    \text{quorum of } m     &: R(r) = x_{(m)}(r) + e, \text{ the } m\text{-th earliest of the computes under way in round } r \\
    \text{wait-free}        &: T_i(k) = x_i(k) + e

A quorum keeps late work: a rank that misses a round computes on and belongs to the first round that closes after it has finished.  Messages
take no time except in :math:`e`.  Every function takes draws ``[steps, ranks]`` and returns steps per second per rank in the steady state,
without the first tenth of the steps, in which ranks that begin together are still together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Draws = NDArray[np.float64]


def barrier(compute: Draws, cost: float = 0.0) -> float:
    """All wait for the slowest of every step."""
    return _rate(np.repeat((compute.max(axis=1) + cost).cumsum()[:, None], compute.shape[1], axis=1))


def one_step_late(compute: Draws, cost: float = 0.0) -> float:
    """The result of a step is needed at the end of the next one."""
    times, result = np.zeros_like(compute), 0.0
    last = np.zeros(compute.shape[1])
    for step, durations in enumerate(compute):
        done = last + durations
        last = np.maximum(done, result)
        # The engine works on one average after the other: it begins when all have come and the one before is over.
        result = max(done.max(), result) + cost
        times[step] = last
    return _rate(times)


def neighbour_ring(compute: Draws, cost: float = 0.0) -> float:
    """Everybody waits for the same step of the left neighbour."""
    times, last = np.zeros_like(compute), np.zeros(compute.shape[1])
    for step, durations in enumerate(compute):
        done = last + durations
        last = np.maximum(done, np.roll(done, 1)) + cost
        times[step] = last
    return _rate(times)


def bounded_staleness(compute: Draws, bound: int, cost: float = 0.0) -> float:
    """Nobody is more than ``bound`` steps ahead of the left neighbour."""
    times, last = np.zeros_like(compute), np.zeros(compute.shape[1])
    for step, durations in enumerate(compute):
        done = last + durations
        last = (np.maximum(done, np.roll(times[step - bound], 1)) if step >= bound else done) + cost
        times[step] = last
    return _rate(times)


def local_steps(compute: Draws, every: int, cost: float = 0.0) -> float:
    """A barrier after every ``every`` steps; whole periods only."""
    periods = len(compute) // every
    sums = compute[: periods * every].reshape(periods, every, -1).sum(axis=1)
    return every * barrier(sums, cost)


def quorum(compute: Draws, wanted: int, cost: float = 0.0) -> float:
    """Rounds close when ``wanted`` computes are done; the others go on with theirs and belong to a later round."""
    num_steps, num_ranks = compute.shape
    steps, ready, closed = np.zeros(num_ranks, dtype=int), compute[0].copy(), [0.0]
    contributions = [0]
    while steps.max() < num_steps - 1:
        closed.append(max(float(np.partition(ready, wanted - 1)[wanted - 1]), closed[-1]) + cost)
        within = np.flatnonzero(ready <= closed[-1])
        steps[within] += 1
        ready[within] = closed[-1] + compute[steps[within], within]
        contributions.append(len(within))
    first = len(closed) // 10
    return float(sum(contributions[first + 1 :]) / num_ranks / (closed[-1] - closed[first]))


def wait_free(compute: Draws, cost: float = 0.0) -> float:
    """Nobody waits: every rank has its own sum."""
    return _rate((compute + cost).cumsum(axis=0))


def _rate(times: Draws) -> float:
    """Mean over the ranks of their steps per second after the first tenth."""
    first = max(len(times) // 10, 1)
    return float(np.mean((len(times) - first) / (times[-1] - times[first - 1])))
