"""The space that a generator proposes from: named parameters behind a bijection."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from unscatter.errors import ParameterError
from unscatter.pipeline.bijections import Bijection, Box, OutsideError, product_of


@dataclass(frozen=True)
class ParameterSpace:
    r"""Named parameters and the bijection that maps unbounded network output into their allowed region.

    The parameters of the theory come first, flattened from ``shape``; nuisance parameters of the detector follow.

    Args:
        names: one name per scalar parameter, nuisances last.
        bijection: from latent numbers to all parameters.
        shape: shape of the theory's physics parameters; ``(len(names) - num_nuisances,)`` when None.
        num_nuisances: how many of the last names belong to the detector.

    Raises:
        ParameterError: names, shape and bijection do not fit together.

    Example:
        >>> space = ParameterSpace.from_ranges({"slope": (0.0, 5.0), "norm": (0.0, math.inf)})
        >>> space.to_parameters(torch.zeros(2))
        tensor([2.5000, 0.6931])
    """

    names: tuple[str, ...]
    bijection: Bijection
    shape: tuple[int, ...] | None = None
    num_nuisances: int = 0

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ParameterError(f"parameters need different names, got {list(self.names)}.")
        if self.bijection.size != len(self.names):
            raise ParameterError(f"the bijection makes {self.bijection.size} parameters, but there are {len(self.names)} names.")
        if math.prod(self.physics_shape) + self.num_nuisances != len(self.names):
            raise ParameterError(
                f"{len(self.names)} names do not fit physics parameters of shape {self.physics_shape} and {self.num_nuisances} nuisances."
            )

    @classmethod
    def from_ranges(
        cls, ranges: Mapping[str, tuple[float, float]], *, nuisances: Mapping[str, tuple[float, float]] | None = None
    ) -> ParameterSpace:
        """Build a box from ``{name: (low, high)}``; bounds may be infinite, and nuisances belong to the detector.

        Raises:
            ParameterError: a range is upside down; the message names the parameter.
        """
        everything = {**ranges, **(nuisances or {})}
        for name, (low, high) in everything.items():
            if math.isnan(low) or math.isnan(high):
                raise ParameterError(
                    f"parameter '{name}' has the range ({low:g}, {high:g}): a bound is not a number.\n"
                    f"Write numbers, or math.inf where there is no bound, for example '{name}': (0, math.inf)."
                )
            if not low < high:
                raise ParameterError(
                    f"parameter '{name}' has the range ({low:g}, {high:g}), which is upside down or empty.\n"
                    f"Write the lower bound first: '{name}': ({min(low, high):g}, {max(low, high):g})."
                )
        lows, highs = zip(*everything.values(), strict=True)
        return cls(tuple(everything), Box(tuple(map(float, lows)), tuple(map(float, highs))), None, len(nuisances or {}))

    @classmethod
    def of_blocks(
        cls, blocks: Sequence[tuple[Sequence[str], Bijection]], *, shape: tuple[int, ...] | None = None, num_nuisances: int = 0
    ) -> ParameterSpace:
        """Put named blocks side by side, for instance a box and a :class:`~unscatter.pipeline.bijections.Simplex`; nuisances last."""
        names = tuple(name for block_names, _ in blocks for name in block_names)
        return cls(names, product_of([bijection for _, bijection in blocks]), shape, num_nuisances)

    @property
    def physics_shape(self) -> tuple[int, ...]:
        """Shape of one set of the theory's parameters."""
        return (len(self.names) - self.num_nuisances,) if self.shape is None else self.shape

    @property
    def size(self) -> int:
        """Number of scalar parameters, nuisances included."""
        return len(self.names)

    @property
    def latent_size(self) -> int:
        """Number of unbounded numbers that describe a point of the space."""
        return self.bijection.latent_size

    @property
    def nuisances(self) -> tuple[str, ...]:
        """Names of the nuisance parameters."""
        return self.names[len(self.names) - self.num_nuisances :]

    def to_parameters(self, latent: Tensor) -> Tensor:
        """Map ``[..., latent_size]`` into the allowed region, ``[..., size]``."""
        return self.bijection.forward(latent)

    def to_latent(self, parameters: Tensor) -> Tensor:
        """Map parameters ``[..., size]`` back to unbounded numbers.

        Raises:
            ParameterError: a parameter is outside its allowed region; the message names it.
        """
        try:
            return self.bijection.inverse(parameters)
        except OutsideError as error:
            raise OutsideError(error.index, error.fact, self.names[error.index]) from None

    def physics_params(self, parameters: Tensor) -> Tensor:
        """The theory's part of ``[..., size]``, in its own shape."""
        physics = parameters[..., : self.size - self.num_nuisances]
        return physics.reshape(*parameters.shape[:-1], *self.physics_shape)

    def nuisance_values(self, parameters: Tensor) -> dict[str, Tensor]:
        """The detector's part of ``[..., size]``, one tensor ``[...]`` per name."""
        first = self.size - self.num_nuisances
        return {name: parameters[..., first + i] for i, name in enumerate(self.nuisances)}
