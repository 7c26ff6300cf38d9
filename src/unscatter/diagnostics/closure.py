r"""Estimators of closure tests: do fits of pseudo-data find the truth, and are they as far off as they say?

With :math:`\bar g_{li}` the mean over the replicas of fit l for quantity i, :math:`\sigma_{li}` their standard deviation and
:math:`f_i` the truth,

.. math::
    \text{bias}_i = \langle (\bar g_{li} - f_i)^2 \rangle_l, \qquad
    \text{variance}_i = \langle \sigma_{li}^2 \rangle_l, \qquad
    R^2 = \Big\langle \frac{\sum_i \text{bias}_i}{\sum_i \text{variance}_i} \Big\rangle_c, \\
    d^2 = \Big\langle \frac{\sum_i (\bar g_{li} - f_i)^2}{\sum_i \sigma_{li}^2} \Big\rangle_{lc}, \qquad
    \xi_{1\sigma} = \big\langle \theta(\sigma_{li} - |\bar g_{li} - f_i|) \big\rangle_{li},

where sums go over the points i of one curve c; a parameter is a curve of one point.  Sums before ratios keep the tails of a curve, where
value and error vanish together, from outweighing the rest.  At level 2 faithful errors have :math:`R = d = 1` and
:math:`\xi_{1\sigma} = 0.68`, up to the finite number of replicas, :math:`N`, which adds variance / N to the bias.

References:
    NNPDF Collaboration, arXiv:1410.8849, section 4; L. Del Debbio, T. Giani, M. Wilson, arXiv:2111.05787, sections 3 and 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unscatter.errors import ShapeError

#: A band narrower than this share of the truth is zero to rounding.
_ROUNDING = 1e-8


@dataclass(frozen=True)
class Measured:
    """A number with its standard error, None where there is too little to tell."""

    value: float | None
    error: float | None = None


@dataclass(frozen=True, eq=False)
class ClosureSample:
    r"""Results of several fits to pseudo-data of one truth.

    Args:
        central: :math:`\bar g`, ``[fit, quantity]``.
        sigma: :math:`\sigma`, ``[fit, quantity]``; NaN where a fit quotes none.
        truth: :math:`f`, ``[quantity]``.
        curve: number of the curve that each quantity is a point of, ``[quantity]``; each stands alone when None.

    Raises:
        ShapeError: the arrays do not fit together, or there is no fit.

    Example:
        >>> sample = ClosureSample(torch.tensor([[1.5], [0.5]]), torch.tensor([[1.0], [0.25]]), torch.tensor([1.0]))
        >>> sample.bias.tolist(), sample.coverage.value
        ([0.25], 0.5)
    """

    central: Tensor
    sigma: Tensor
    truth: Tensor
    curve: Tensor | None = None

    def __post_init__(self) -> None:
        shapes = tuple(self.central.shape), tuple(self.sigma.shape), tuple(self.truth.shape)
        if self.central.ndim != 2 or shapes[1] != shapes[0] or shapes[2] != shapes[0][1:] or not shapes[0][0]:
            raise ShapeError(f"a closure test needs values and errors [fit, quantity] and truths [quantity], got {shapes}.")

    def of(self, quantities: slice) -> ClosureSample:
        """Some of the quantities."""
        curve = None if self.curve is None else self.curve[quantities]
        return ClosureSample(self.central[:, quantities], self.sigma[:, quantities], self.truth[quantities], curve)

    @property
    def bias(self) -> Tensor:
        """Mean square distance of the fits from the truth, ``[quantity]``."""
        return self._squares.mean(0)

    @property
    def variance(self) -> Tensor:
        """Mean square error that the fits quote, ``[quantity]``; NaN where one quotes none."""
        return torch.where(self._usable, self.sigma.square().mean(0), math.nan)

    @property
    def ratio(self) -> Measured:
        """Root of bias over variance, mean over curves: one for faithful errors, above for errors that are too small."""
        return _root((self._sums(self._squares) / self._sums(self.variance)).mean(-1))

    @property
    def distance(self) -> Measured:
        """Root mean square distance from the truth in units of each fit's own error."""
        return _root((self._sums(self._squares) / self._sums(self.sigma.square())).mean(-1))

    @property
    def coverage(self) -> Measured:
        """Share of values within one of their own errors of the truth."""
        # Quantities are correlated, while fits are independent: the error comes from fit to fit.
        inside = ((self.central - self.truth).abs() < self.sigma).to(self.central)
        return _mean(inside[:, self._usable].mean(1))

    @property
    def _squares(self) -> Tensor:
        return (self.central - self.truth).square()

    @property
    def _usable(self) -> Tensor:
        """Quantities with an error in every fit, ``[quantity]``."""
        return (torch.isfinite(self.sigma) & (self.sigma > _ROUNDING * self.truth.abs())).all(0)

    def _sums(self, values: Tensor) -> Tensor:
        """Sums over the usable points of every curve, ``[..., quantity]`` to ``[..., curve]``."""
        own = torch.arange(len(self.truth)) if self.curve is None else self.curve
        curves, index = own[self._usable].unique(return_inverse=True)
        return values.new_zeros(*values.shape[:-1], len(curves)).index_add(-1, index, values[..., self._usable])


def _mean(per_fit: Tensor) -> Measured:
    if not bool(torch.isfinite(per_fit).all()):
        return Measured(None)
    return Measured(float(per_fit.mean()), float(per_fit.std()) / math.sqrt(len(per_fit)) if len(per_fit) > 1 else None)


def _root(per_fit: Tensor) -> Measured:
    square = _mean(per_fit)
    if square.value is None:
        return square
    root = math.sqrt(square.value)
    return Measured(root, None if square.error is None or root == 0 else square.error / (2 * root))
