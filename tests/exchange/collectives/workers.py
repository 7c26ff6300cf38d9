"""What the ranks of the tests do: a small fit with gradients that differ by rank, step, replica and element."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from unscatter.errors import DisagreementError
from unscatter.exchange.collectives import AllReduce, Grouped, LocalSteps, Quorum, RingAllReduce
from unscatter.exchange.horovod import Horovod
from unscatter.exchange.protocol import Exchange
from unscatter.exchange.rendezvous import Rendezvous

REPLICAS, PARAMETERS, STEPS = 2, 37, 6
#: Where a contribution is not finite: (step, rank, replica); in worlds of more than one rank.
BAD = (2, 1, 1)
RATE = 0.1

EXCHANGES: dict[str, Callable[[Rendezvous, float], Exchange]] = {
    "allreduce": lambda rendezvous, timeout_s: AllReduce(rendezvous, timeout_s=timeout_s),
    "late": lambda rendezvous, timeout_s: AllReduce(rendezvous, late=True, timeout_s=timeout_s),
    "localsteps": lambda rendezvous, timeout_s: LocalSteps(rendezvous, every=3, timeout_s=timeout_s),
    "ring": lambda rendezvous, timeout_s: RingAllReduce(rendezvous, timeout_s=timeout_s),
    "grouped": lambda rendezvous, timeout_s: Grouped(rendezvous, group_size=2, outer_every=3, timeout_s=timeout_s),
    "quorum of all": lambda rendezvous, timeout_s: Quorum(rendezvous, quorum=rendezvous.world.size, timeout_s=timeout_s),
    "quorum": lambda rendezvous, timeout_s: Quorum(rendezvous, max_lag=4, timeout_s=timeout_s),
    "horovod": lambda rendezvous, timeout_s: Horovod(rendezvous, timeout_s=timeout_s),
}
#: Exchanges that cannot be tried here, and why.
MISSING = {} if importlib.util.find_spec("horovod") else {"horovod": "Horovod is not installed"}


def gradient(step: int, rank: int, *, bad: bool = True) -> Tensor:
    """Gradient of a rank in a step, from 0."""
    generator = torch.Generator().manual_seed(1000 * step + rank)
    values = torch.randn(REPLICAS, PARAMETERS, generator=generator) * (1 + rank) + step
    if bad and (step, rank) == BAD[:2]:
        values[BAD[2], 5] = float("nan")
    return values


@dataclass
class Trace:
    """What one exchange did on one rank."""

    combined: list[np.ndarray] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    stops: list[bool] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    statistics: dict[str, float] = field(default_factory=dict)


def trace(exchange: Exchange, *, steps: int = STEPS, bad: bool = True, stop_at: tuple[int, int] | None = None) -> Trace:
    """A few steps of gradient descent; rank ``stop_at[0]`` asks to stop in step ``stop_at[1]``."""
    result = Trace()
    weights = exchange.start({"weights": torch.full((REPLICAS, PARAMETERS), float(exchange.rank + 1))})["weights"]
    for step in range(steps):
        if stop_at == (exchange.rank, step):
            exchange.request_stop()
        mean = exchange.before_step(gradient(step, exchange.rank, bad=bad))
        weights = exchange.after_step(weights - RATE * mean)
        result.combined.append(mean.numpy().copy())
        result.weights.append(weights.numpy().copy())
        result.stops.append(exchange.stop_agreed())
        if exchange.stop_agreed():
            break
    result.statistics = exchange.statistics()
    return result


def everything(rendezvous: Rendezvous, names: list[str]) -> dict[str, Any]:
    """Traces of all exchanges, and what the first one says to the other calls of the protocol."""
    found: dict[str, Any] = {}
    for name in names:
        exchange = EXCHANGES[name](rendezvous, 30.0)
        found[name] = trace(exchange)
        found[f"{name} stops"] = trace(exchange, steps=12, bad=False, stop_at=(exchange.num_ranks - 1, 1))
        if name == names[0]:
            found["calls"] = _calls(exchange)
        exchange.close()
    return found


def one_rank_is_late(rendezvous: Rendezvous, late_rank: int) -> Trace:
    """A quorum of two whose late rank misses some rounds, catches up, and makes the last steps together with the others."""
    exchange = Quorum(rendezvous, quorum=2, max_lag=10, timeout_s=30.0)
    result, weights = Trace(), torch.zeros(REPLICAS, PARAMETERS)
    exchange.start({"weights": weights})
    for step in range(30):
        # The pauses of the others give the late rank the time to catch up.
        time.sleep(0.6 if exchange.rank == late_rank and step == 5 else 0.0 if exchange.rank == late_rank else 0.05)
        mean = exchange.before_step(gradient(step, exchange.rank, bad=False))
        weights = exchange.after_step(weights - RATE * mean)
        result.combined.append(mean.numpy().copy())
        result.weights.append(weights.numpy().copy())
        result.times.append(time.monotonic())
    exchange.total({})
    result.statistics = exchange.statistics()
    exchange.close()
    return result


def _calls(exchange: Exchange) -> dict[str, Any]:
    rank = exchange.rank
    sent = {
        "weights": torch.full((2, 3), rank + 0.1),
        "count": torch.tensor(10**12 + rank),
        "flags": torch.tensor([rank == 0, False]),
        "none": torch.empty(0, 4),
        "double": torch.full((3,), 1 / 3 + rank, dtype=torch.float64),
    }
    started = exchange.start(sent)
    total = exchange.total({name: tensor for name, tensor in sent.items() if name != "flags"})
    return {
        "started": {name: tensor.numpy() for name, tensor in started.items()},
        "total": {name: tensor.numpy() for name, tensor in total.items()},
        "types": [str(tensor.dtype) for tensor in total.values()],
        "said": exchange.agree(f"Grüße von {rank}"),
        "nothing": exchange.agree("" if rank == 0 else "something"),
        "leads": exchange.leads,
    }


def disagree(rendezvous: Rendezvous) -> dict[str, str]:
    """What rank 0 and the others hear when they have other tensors."""
    found = {}
    for call in ("start", "total"):
        exchange = AllReduce(rendezvous, timeout_s=10.0)
        try:
            getattr(exchange, call)({"weights": torch.zeros(3 + exchange.rank)})
            found[call] = "no error"
        except DisagreementError as error:
            found[call] = str(error)
        exchange.close()
    return found


def beside_a_group_of_the_user(rendezvous: Rendezvous) -> dict[str, Any]:
    """Exchanges before, during and after the life of a default group of torch.distributed."""
    rank, size = rendezvous.world.rank, rendezvous.world.size
    found: dict[str, Any] = {"before": _mean(rendezvous), "left behind": dist.is_initialized()}
    dist.init_process_group("gloo", store=rendezvous.below("user").store, rank=rank, world_size=size)
    found["during"] = _mean(rendezvous)
    values = torch.tensor([float(rank)])
    dist.all_reduce(values)
    found["sum of the user"] = float(values)
    dist.destroy_process_group()
    return found | {"after": _mean(rendezvous)}


def _mean(rendezvous: Rendezvous) -> float:
    exchange = AllReduce(rendezvous, timeout_s=10.0)
    mean = float(exchange.before_step(torch.tensor([[float(exchange.rank)]])))
    exchange.close()
    return mean


def absent(rendezvous: Rendezvous, missing: int) -> str:
    """One rank does not build the exchange."""
    if rendezvous.world.rank == missing:
        time.sleep(3.0)
        return "did not join"
    try:
        AllReduce(rendezvous, timeout_s=1.5)
    except ConnectionError as error:
        return str(error)
    return "no error"


def faulty(rendezvous: Rendezvous, name: str, victim: int, kind: str, timeout_s: float) -> str:
    """Steps during which something happens to one rank; a rank that notices returns the error."""
    exchange = EXCHANGES[name](rendezvous, timeout_s)
    weights = torch.zeros(REPLICAS, PARAMETERS)
    exchange.start({"weights": weights})
    try:
        for step in range(1000):
            if step == 4 and exchange.rank == victim:
                _happens(kind, exchange)
            weights = exchange.after_step(weights - exchange.before_step(gradient(step, exchange.rank)))
    except ConnectionError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        exchange.close()
    return "no error"


def _happens(kind: str, exchange: Exchange) -> None:
    match kind:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "slow":
            time.sleep(6.0)
        case "leave":
            exchange.close()
            time.sleep(8.0)
