"""Range, mean and standard deviation of columns, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moments:
    r"""Number, range, mean and sum of squared distances from the mean of some values.

    Args:
        count: number of values.
        min, max: smallest and largest.
        mean: mean.
        squares: :math:`\sum_i (v_i - \bar v)^2`.
        between: the part of ``squares`` that is between blocks, :math:`\sum_b n_b (\bar v_b - \bar v)^2`.
        blocks: how many blocks the values come from.
    """

    count: int = 0
    min: float = math.inf
    max: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0
    between: float = 0.0
    blocks: int = 0

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Moments of one block, ``[num_rows]`` of at least one row, in double precision.

        Example:
            >>> Moments.of(np.array([1.0, 3.0])).std
            1.0
        """
        numbers = values.astype(np.float64)
        # What is not finite is told by the range.
        with np.errstate(invalid="ignore", over="ignore"):
            mean = float(numbers.sum() / len(numbers))
            numbers -= mean
            np.square(numbers, out=numbers)
            return cls(len(numbers), float(values.min()), float(values.max()), mean, float(numbers.sum()), 0.0, 1)

    def merge(self, other: Moments) -> Moments:
        r"""Moments of both sets of values.

        .. math:: \bar v = \bar v_A + \delta\, n_B / n, \qquad M = M_A + M_B + \delta^2 n_A n_B / n, \qquad \delta = \bar v_B - \bar v_A

        References:
            Chan, Golub, LeVeque, Updating formulae and a pairwise algorithm for computing sample variances (1979), equation (2.1).
        """
        if not self.count or not other.count:
            return other if not self.count else self
        count, delta = self.count + other.count, other.mean - self.mean
        shift = delta * delta * (self.count * other.count / count)
        return Moments(
            count,
            # Unlike Python's own min and max, these keep what is not a number.
            float(np.minimum(self.min, other.min)),
            float(np.maximum(self.max, other.max)),
            self.mean + delta * (other.count / count),
            self.squares + other.squares + shift,
            self.between + other.between + shift,
            self.blocks + other.blocks,
        )

    @property
    def finite(self) -> bool:
        """Whether no value is NaN or infinite."""
        return math.isfinite(self.min) and math.isfinite(self.max)

    @property
    def std(self) -> float:
        """Standard deviation, dividing by the number of values."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0

    @property
    def order(self) -> float | None:
        """Spread of the block means in units of that of rows in random order; None where there is none to speak of."""
        if self.blocks < 2 or self.squares == 0:
            return None
        return self.between / (self.blocks - 1) / (self.squares / self.count)


def merged(parts: Iterable[Moments]) -> Moments:
    """Moments of all values, merged in the order of ``parts``.

    Example:
        >>> merged(Moments.of(np.array(values)) for values in ([1.0], [2.0, 3.0])).mean
        2.0
    """
    total = Moments()
    for part in parts:
        total = total.merge(part)
    return total
