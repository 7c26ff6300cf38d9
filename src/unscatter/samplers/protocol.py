"""What the pipeline expects of a sampler."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from unscatter.arrays import Density, Events


@runtime_checkable
class Sampler(Protocol):
    """Turns densities and uniform numbers into events, with gradients back to the node values."""

    def uniforms(
        self,
        batch_shape: tuple[int, ...],
        num_events: int,
        num_dimensions: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Draw the uniform numbers in [0, 1) that :meth:`__call__` consumes, ``[*batch_shape, num_events, num_dimensions]``."""
        ...

    def __call__(self, density: Density, uniforms: Tensor) -> Events:
        """Map ``uniforms`` ``[..., channel, num_events, dimensions]`` to events whose columns are the grid's names."""
        ...
