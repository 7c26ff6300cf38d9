"""Densities by a neural network of x."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from unscatter.errors import SettingsError
from unscatter.pdfs.components import COMPONENTS, Norms
from unscatter.pdfs.preprocessing import preprocess

#: Every weight is a parameter of the fit with a name, a prior and derivatives of its own; NNPDF's network has some 800.
_MOST_WEIGHTS = 10_000
#: The network's output is kept within this many logarithms, smoothly, so that no wild step overflows.
_LOG_RANGE = 4.0


@dataclass(frozen=True)
class Neural:
    r"""Densities as a preprocessing factor times a network of x that all components share.

    .. math:: x f_k(x) = A_k\, x^{b_k} (1 - x)^{c_k} \exp\left(\mathrm{NN}_k(x, \ln x; w)\right)

    The parameters are the weights of the network, tanh between its layers.  Without positivity the exponential becomes one plus the
    network.  Source of the idea: NNPDF, arXiv:2109.02653, section 3.

    Args:
        hidden: columns of every hidden layer.
        seed: of the weights that a fit starts from.
        sum_rules: whether number and momentum sum rules hold.
        positivity: whether densities are positive everywhere.

    Raises:
        SettingsError: more weights than a fit can determine by any means.

    Example:
        >>> form = Neural(hidden=(8,))
        >>> form(torch.tensor(form.start), torch.tensor([0.1, 0.5])).shape
        torch.Size([8, 2])
    """

    hidden: tuple[int, ...] = (12, 12)
    seed: int = 0
    sum_rules: bool = True
    positivity: bool = True
    name: str = field(default="neural", init=False)

    def __post_init__(self) -> None:
        if self._num_weights > _MOST_WEIGHTS:
            raise SettingsError(
                f"hidden layers {list(self.hidden)} make {self._num_weights:,} weights, each a parameter of the fit, and at most "
                f"{_MOST_WEIGHTS:,} make sense. Use for example {list(Neural.hidden)}."
            )

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The weights, which have no bounds, and the norms where they are free."""
        return {f"weight_{i}": (-math.inf, math.inf) for i in range(self._num_weights)} | self._norms.ranges

    @property
    def fractions(self) -> tuple[str, ...]:
        """Shares in the momentum that valence quarks leave."""
        return self._norms.fractions

    @property
    def start(self) -> tuple[float, ...]:
        """Random weights; the last layer starts small, so that a fit starts near the preprocessing factors."""
        return (*self._initial_weights, *self._norms.start)

    @property
    def _norms(self) -> Norms:
        return Norms(self.sum_rules)

    @property
    def _sizes(self) -> tuple[int, ...]:
        return (2, *self.hidden, len(COMPONENTS))

    @property
    def _num_weights(self) -> int:
        return sum((inputs + 1) * outputs for inputs, outputs in zip(self._sizes[:-1], self._sizes[1:], strict=True))

    @cached_property
    def _initial_weights(self) -> tuple[float, ...]:
        generator, parts = torch.Generator().manual_seed(self.seed), []
        last = len(self._sizes) - 2
        for k, (inputs, outputs) in enumerate(zip(self._sizes[:-1], self._sizes[1:], strict=True)):
            spread = (0.1 if k == last else 1.0) / math.sqrt(inputs)
            parts.append(spread * torch.randn(inputs * outputs, generator=generator))
            parts.append(0.5 * spread * torch.randn(outputs, generator=generator))
        return tuple(torch.cat(parts).tolist())

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Momentum densities, ``[..., size]`` to ``[..., 8, points]``."""
        weights, norms = parameters.split([self._num_weights, self._norms.size], -1)
        return self._norms(lambda points: preprocess(self._network(weights, points), points, self.positivity), norms, x)

    def _network(self, weights: Tensor, x: Tensor) -> Tensor:
        """Output of the network, ``[..., component, points]``."""
        columns = torch.stack([4 * x - 1, torch.log(x.clamp_min(1e-5)) / 4 + 1])
        first = 0
        for k, (inputs, outputs) in enumerate(zip(self._sizes[:-1], self._sizes[1:], strict=True)):
            matrix = weights[..., first : first + inputs * outputs].unflatten(-1, (outputs, inputs))
            bias = weights[..., first + inputs * outputs : first + (inputs + 1) * outputs]
            first += (inputs + 1) * outputs
            columns = matrix @ columns + bias.unsqueeze(-1)
            if k < len(self._sizes) - 2:
                columns = torch.tanh(columns)
        return _LOG_RANGE * torch.tanh(columns / _LOG_RANGE)
