r"""Bijections from unbounded numbers onto the allowed region of parameters, so that nothing ever leaves it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from unscatter.errors import ParameterError

#: Latent units over which the map onto an interval is about linear.
_LINEAR_RANGE = 10.0


class OutsideError(ParameterError):
    """A parameter is not strictly inside its range.

    Args:
        index: which parameter, counted from 0.
        fact: what is wrong with it.
        name: of the parameter where it is known.
    """

    def __init__(self, index: int, fact: str, name: str | None = None) -> None:
        super().__init__(f"parameter {index if name is None else repr(name)} {fact}")
        self.index, self.fact = index, fact


@runtime_checkable
class Bijection(Protocol):
    """Invertible map from latent numbers to parameters."""

    @property
    def latent_size(self) -> int:
        """How many unbounded numbers go in."""
        ...

    @property
    def size(self) -> int:
        """How many parameters come out."""
        ...

    def forward(self, latent: Tensor) -> Tensor:
        """Map ``[..., latent_size]`` to parameters ``[..., size]``."""
        ...

    def inverse(self, parameters: Tensor) -> Tensor:
        """Map parameters ``[..., size]`` back to ``[..., latent_size]``."""
        ...


@dataclass(frozen=True)
class Box:
    r"""Elementwise map onto intervals, half-lines and the whole line.

    .. math::
        p = \begin{cases}
            a + \frac{b - a}{k} \left[\mathrm{softplus}(\ell + \tfrac k2) - \mathrm{softplus}(\ell - \tfrac k2)\right]
            & a, b \text{ finite}\\
            a + \mathrm{softplus}(\ell) & b = \infty\\
            b - \mathrm{softplus}(-\ell) & a = -\infty\\
            \ell & \text{neither finite}
        \end{cases}

    With :math:`k = 10` the map onto an interval is linear over most of it and bends only near the ends: a parameter near an end is not held
    there by a vanishing slope, as the logistic function would.

    Args:
        low: :math:`a`, one per parameter, ``-inf`` where there is no lower bound.
        high: :math:`b`, one per parameter, ``inf`` where there is no upper bound.

    Raises:
        ParameterError: a range is empty, upside down or not a number.

    Example:
        >>> Box((0.0, 0.0), (3.0, math.inf)).forward(torch.zeros(2))
        tensor([1.5000, 0.6931])
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or not self.low:
            raise ParameterError(f"a box needs as many lower as upper bounds, got {len(self.low)} and {len(self.high)}.")
        for i, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if not low < high:
                raise ParameterError(f"parameter {i} has the range ({low:g}, {high:g}), which is upside down or empty.")

    @property
    def latent_size(self) -> int:
        """One latent number per parameter."""
        return len(self.low)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return len(self.low)

    def forward(self, latent: Tensor) -> Tensor:
        """Map ``[..., size]`` into the box."""
        low, high = latent.new_tensor(self.low), latent.new_tensor(self.high)
        has_low, has_high = low.isfinite(), high.isfinite()
        # Infinite bounds are replaced before they meet arithmetic: inf * 0 would poison the gradients of the other parameters.
        a, b = torch.where(has_low, low, 0.0), torch.where(has_high, high, 0.0)
        half = _LINEAR_RANGE / 2
        inside = a + (b - a) / _LINEAR_RANGE * (functional.softplus(latent + half) - functional.softplus(latent - half))
        above, below = a + functional.softplus(latent), b - functional.softplus(-latent)
        return torch.where(has_low, torch.where(has_high, inside, above), torch.where(has_high, below, latent))

    def inverse(self, parameters: Tensor) -> Tensor:
        """Map parameters strictly inside the box back to unbounded numbers.

        Raises:
            ParameterError: a parameter is not strictly inside its range.
        """
        low, high = parameters.new_tensor(self.low), parameters.new_tensor(self.high)
        self._check_inside(parameters, low, high)
        has_low, has_high = low.isfinite(), high.isfinite()
        above, below = parameters - low, high - parameters
        share = _LINEAR_RANGE * above / (high - low)
        inside = torch.log(torch.expm1(share)) - torch.log(-torch.expm1(share - _LINEAR_RANGE)) - _LINEAR_RANGE / 2
        return torch.where(
            has_low, torch.where(has_high, inside, _inverse_softplus(above)), torch.where(has_high, -_inverse_softplus(below), parameters)
        )

    def _check_inside(self, parameters: Tensor, low: Tensor, high: Tensor) -> None:
        outside = ~((parameters > low) & (parameters < high))
        if bool(outside.any()):
            i = int(outside.nonzero()[0, -1])
            value = float(parameters[outside][0])
            raise OutsideError(i, f"is {value:g}, which is not inside its range ({self.low[i]:g}, {self.high[i]:g}).")


def _inverse_softplus(y: Tensor) -> Tensor:
    return y + torch.log(-torch.expm1(-y))


@dataclass(frozen=True)
class Simplex:
    r"""Map onto fractions that are positive and add up to one: the softmax with the last latent number held at zero.

    .. math:: p_i = \frac{e^{\ell_i}}{1 + \sum_{j<K} e^{\ell_j}}, \qquad \ell_K = 0

    Args:
        size: number :math:`K \ge 2` of fractions.

    Example:
        >>> Simplex(3).forward(torch.zeros(2))
        tensor([0.3333, 0.3333, 0.3333])
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ParameterError(f"a simplex needs at least two fractions, got {self.size}.")

    @property
    def latent_size(self) -> int:
        """One latent number less than fractions."""
        return self.size - 1

    def forward(self, latent: Tensor) -> Tensor:
        """Map ``[..., size - 1]`` to fractions ``[..., size]``."""
        return torch.softmax(functional.pad(latent, (0, 1)), -1)

    def inverse(self, parameters: Tensor) -> Tensor:
        """Map positive fractions back to unbounded numbers.

        Raises:
            ParameterError: the fractions are not positive or do not add up to one.
        """
        total = parameters.sum(-1)
        if not bool((parameters > 0).all()) or not bool(torch.isclose(total, torch.ones_like(total), atol=1e-5).all()):
            raise ParameterError(f"fractions must be positive and add up to one, got {parameters.tolist()}.")
        logarithms = torch.log(parameters)
        return logarithms[..., :-1] - logarithms[..., -1:]


@dataclass(frozen=True)
class Product:
    """Several bijections side by side, each on its own block of parameters.

    Example:
        >>> Product((Box((0.0,), (1.0,)), Simplex(3))).forward(torch.zeros(3))
        tensor([0.5000, 0.3333, 0.3333, 0.3333])
    """

    blocks: Sequence[Bijection]

    @property
    def latent_size(self) -> int:
        """Sum over the blocks."""
        return sum(block.latent_size for block in self.blocks)

    @property
    def size(self) -> int:
        """Sum over the blocks."""
        return sum(block.size for block in self.blocks)

    def forward(self, latent: Tensor) -> Tensor:
        """Map every block and put the parameters side by side."""
        parts = latent.split([block.latent_size for block in self.blocks], -1)
        return torch.cat([block.forward(part) for block, part in zip(self.blocks, parts, strict=True)], -1)

    def inverse(self, parameters: Tensor) -> Tensor:
        """Map every block back."""
        parts = parameters.split([block.size for block in self.blocks], -1)
        first, found = 0, []
        for block, part in zip(self.blocks, parts, strict=True):
            try:
                found.append(block.inverse(part))
            except OutsideError as error:
                raise OutsideError(first + error.index, error.fact) from None
            first += block.size
        return torch.cat(found, -1)


def product_of(blocks: Sequence[Bijection]) -> Bijection:
    """One block as it is, several as their :class:`Product`."""
    return blocks[0] if len(blocks) == 1 else Product(tuple(blocks))


def everywhere(size: int) -> Box:
    """The whole space of ``size`` real numbers, as a box without bounds."""
    return Box((-math.inf,) * size, (math.inf,) * size)
