"""Memory that a fit needs at least."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch

from unscatter.arrays import Events
from unscatter.arrays.memory import check_memory
from unscatter.methods import Gan, GanSettings, Method
from unscatter.pipeline import Problem
from unscatter.pipeline.memory import density_need
from unscatter.solve.sources import EventsGiven

_FLOAT = 4
#: Weights and the two moments of Adam before and after a step, and the gradient; some steps were seen to take twice as much.
_ARRAYS_PER_WEIGHT = 7
#: What every hidden column leaves for the way back, before and behind its nonlinearity; 2.7 were seen.
_ARRAYS_PER_ACTIVATION = 2
#: The same for the gradient penalty with its second derivatives, on top; 5 were seen.
_ARRAYS_PER_PENALTY = 4


def check_fit(problem: Problem, events: EventsGiven, method: Method[Any], num_replicas: int, device: torch.device) -> None:
    """Refuse a fit that cannot fit into memory, before it has left anything behind.

    Raises:
        SettingsError: not enough memory is available; the message names what asks for most.
    """
    needs: dict[str, int] = {}
    if isinstance(events, Mapping) and num_replicas > 1:
        # Those of stores are computed as they are needed.
        rows = sum(sample.num_events for sample in events.values() if isinstance(sample, Events))
        needs[f"the bootstrap of {rows:,} events for {num_replicas:,} replicas"] = rows * num_replicas
    if isinstance(method, Gan):
        needs |= gan_needs(problem, method.settings, num_replicas)
    if needs:
        check_memory(needs, "the fit", device)


def gan_needs(problem: Problem, settings: GanSettings, num_replicas: int) -> dict[str, int]:
    """Bytes for networks, activations and densities of one step, by what asks for them.

    Example:
        >>> from unscatter.problems import proxy2d
        >>> needs = gan_needs(proxy2d(nodes=17), GanSettings(num_events=1000), 5)
        >>> needs["a step with 5 replicas x 1 channels x 1000 num_events through discriminator.hidden [64, 64]"]
        20805760
    """
    columns, channels = len(problem.observables), len(problem.channels)
    judge, chosen = settings.discriminator, settings.generator
    sizes = f"{num_replicas} replicas x {channels} channels x {settings.num_events} num_events"
    # Measured and synthetic events, and what every layer makes of them, are kept for the way back.
    arrays = settings.num_events * _ARRAYS_PER_ACTIVATION
    arrays += min(settings.num_events, judge.penalty_events) * _ARRAYS_PER_PENALTY if judge.penalty else 0
    sides = 2 * num_replicas * channels * _FLOAT
    step = sides * (arrays * sum(judge.hidden) + settings.num_events * columns)
    needs = {
        f"a step with {sizes} through discriminator.hidden {list(judge.hidden)}": step,
        f"{num_replicas} discriminators with hidden {list(judge.hidden)}": num_replicas * network_bytes((columns, *judge.hidden, 1)),
    }
    if chosen.kind == "network":
        widths = (chosen.noise_size, *chosen.hidden, problem.space.latent_size)
        needs[f"{num_replicas} generators with hidden {list(chosen.hidden)}"] = num_replicas * network_bytes(widths)
    sets = num_replicas * (chosen.batch if chosen.kind == "network" else 1)
    return needs | density_need(problem.grid, channels, sets=sets)


def network_bytes(widths: tuple[int, ...]) -> int:
    """Bytes for training a dense network with layers of these widths.

    Example:
        >>> network_bytes((2, 64, 1)) == (3 * 64 + 65) * 7 * 4
        True
    """
    return sum((left + 1) * right for left, right in pairwise(widths)) * _ARRAYS_PER_WEIGHT * _FLOAT
