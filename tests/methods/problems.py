"""A small problem with everything that the steps of a fit distinguish: two channels, different counts, rates."""

from __future__ import annotations

import torch

from unscatter.arrays import Grid
from unscatter.events import InMemoryEvents
from unscatter.methods import GanSettings
from unscatter.methods.gan import DiscriminatorSettings, GeneratorSettings
from unscatter.pipeline import ParameterSpace, Pipeline, Problem
from unscatter.theories import FunctionTheory

GRID = Grid.from_axes({"t": torch.linspace(0, 8, 81, dtype=torch.float64)})


def two_channels() -> Problem:
    """Decays near and far: two amplitudes, and a rate that both channels share."""

    def density(p: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.stack([p[0] * torch.exp(-p[2] * t), p[1] * torch.exp(-p[2] * t)])

    theory = FunctionTheory(density, GRID, (3,), ("near", "far"), luminosity=(900.0, 900.0))
    space = ParameterSpace.from_ranges({"near": (0.0, 3.0), "far": (0.0, 3.0), "rate": (0.2, 3.0)})
    return Problem("two", space, Pipeline(theory), truth=(1.0, 0.3, 1.0), start=(1.4, 0.5, 1.3))


def source_of(problem: Problem, replicas: int = 1) -> InMemoryEvents:
    events = {channel: e.to(dtype=torch.float32) for channel, e in problem.simulate(seed=1).items()}
    return InMemoryEvents(events, replicas=replicas, bootstrap=replicas > 1)


def small(
    *, generator: GeneratorSettings | None = None, discriminator: DiscriminatorSettings | None = None, **changed: object
) -> GanSettings:
    """Settings of steps that cost next to nothing."""
    return GanSettings(
        num_events=64,
        generator=generator or GeneratorSettings(),
        discriminator=discriminator or DiscriminatorSettings(hidden=(8,)),
        **changed,  # pyright: ignore[reportArgumentType]
    )
