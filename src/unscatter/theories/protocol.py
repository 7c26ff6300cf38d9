"""What the pipeline expects of a theory."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from unscatter.arrays import Density, Grid


@runtime_checkable
class Theory(Protocol):
    """Differentiable map from physics parameters to densities on a grid."""

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """Shape of one set of physics parameters, for instance ``(6,)``."""
        ...

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the measured data sets."""
        ...

    @property
    def grid(self) -> Grid:
        """Nodes at which the densities are tabulated."""
        ...

    def __call__(self, physics_params: Tensor) -> Density:
        """Map ``[..., *parameter_shape]`` to densities ``[..., channel, *nodes]``."""
        ...
