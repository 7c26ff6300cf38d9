"""How long emulated compute takes: laws of step times, each with mean 1 and the same draws wherever they are asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Command-line name of each law and what figures call it.
LAWS = {
    "equal": "equal",
    "lognormal-0.5": "log-normal, sigma 0.5",
    "lognormal-1": "log-normal, sigma 1",
    "pareto-1.5": "Pareto, alpha 1.5",
    "one-slow": "one rank 10x slow",
    "rare-10x": "5 % of steps 10x",
}

#: The rank that is slow under ``one-slow``: not the first, which has other duties too, and none in a world of one.
SLOW_RANK = 1
_SLOWNESS = 10.0


def sample(law: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw step times of mean 1, without the slowness of a rank."""
    match law:
        case "equal" | "one-slow":
            return np.ones(shape)
        case "lognormal-0.5" | "lognormal-1":
            sigma = float(law.removeprefix("lognormal-"))
            return rng.lognormal(-0.5 * sigma**2, sigma, shape)
        case "pareto-1.5":
            # NumPy draws x - 1 of the classical law, whose mean is alpha/(alpha - 1) = 3.
            return (1 + rng.pareto(1.5, shape)) / 3
        case "rare-10x":
            return np.where(rng.random(shape) < 0.05, 10.0, 1.0) / 1.45
    raise ValueError(f"no law '{law}': choose from {', '.join(LAWS)}")


def step_times(law: str, rank: int, num_steps: int, *, seed: int = 0) -> NDArray[np.float64]:
    """Step times ``[num_steps]`` of one rank; the slow one of ``one-slow`` has ten times the mean of the others."""
    times = sample(law, (num_steps,), np.random.default_rng([seed, rank]))
    return times * _SLOWNESS if law == "one-slow" and rank == SLOW_RANK else times


def all_step_times(law: str, num_ranks: int, num_steps: int, *, seed: int = 0) -> NDArray[np.float64]:
    """Step times ``[num_steps, num_ranks]``: the draws that the ranks themselves sleep for."""
    return np.stack([step_times(law, rank, num_steps, seed=seed) for rank in range(num_ranks)], axis=1)
