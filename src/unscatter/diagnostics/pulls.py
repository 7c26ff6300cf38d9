"""Pulls: deviations from the truth in units of the expected error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unscatter.errors import ShapeError


def pulls(estimate: Float[Tensor, "*data_sets size"], truth: Float[Tensor, " size"], sigma: Float[Tensor, "*#data_sets size"]) -> Tensor:
    r"""Deviations :math:`(\hat p - p) / \sigma`, ``[*data_sets, size]``; NaN where a parameter is fixed or not determined.

    Example:
        >>> pulls(torch.tensor([[1.5, 2.0]]), torch.tensor([1.0, 1.0]), torch.tensor([0.25, torch.inf]))
        tensor([[2., nan]])
    """
    usable = torch.isfinite(sigma) & (sigma > 0)
    return torch.where(usable, (estimate - truth) / torch.where(usable, sigma, 1.0), math.nan)


@dataclass(frozen=True)
class RmsPull:
    r"""Root mean square of pulls over parameters and data sets; one for an estimator at the Cramer-Rao bound.

    Args:
        value: :math:`\sqrt{\langle\text{pull}^2\rangle}`.
        error: standard error of ``value``: jackknife over data sets, which allows for correlated parameters.
        num_data_sets: number of data sets.
        per_parameter: the same for each parameter alone, NaN where it has no pull.
        per_parameter_error: its standard error for normal pulls, :math:`\text{value} / \sqrt{2 n}`.
    """

    value: float
    error: float
    num_data_sets: int
    per_parameter: tuple[float, ...]
    per_parameter_error: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.value:.3f} +- {self.error:.3f}"


def rms_pull(pulls: Float[Tensor, "data_set size"]) -> RmsPull:
    r"""Summarise the pulls of many pseudo-data sets.

    The error is the jackknife's, :math:`\sqrt{\frac{n-1}{n} \sum_d (r_{(d)} - \bar r)^2}` with data set d left out; for a single data set
    that of independent normal pulls, :math:`r / \sqrt{2k}` for k parameters.

    Raises:
        ShapeError: there is no data set, or no parameter with a pull.

    References:
        B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans (1982), chapter 3.

    Example:
        >>> str(rms_pull(torch.tensor([[1.0, -1.0], [1.0, 1.0]])))
        '1.000 +- 0.000'
    """
    squares = pulls.double().square()
    usable = torch.isfinite(squares).all(0)
    if not len(squares) or not bool(usable.any()):
        raise ShapeError(f"there is no finite pull to summarise in the shape {tuple(pulls.shape)}.")
    num_data_sets = len(squares)
    per_set = squares[:, usable].mean(1)
    value = float(per_set.mean().sqrt())
    if num_data_sets == 1:
        error = value / math.sqrt(2 * int(usable.sum()))
    else:
        left_out = ((per_set.sum() - per_set) / (num_data_sets - 1)).sqrt()
        error = float(((num_data_sets - 1) / num_data_sets * (left_out - left_out.mean()).square().sum()).sqrt())
    per_parameter = torch.where(usable, squares.mean(0).sqrt(), math.nan)
    errors = per_parameter / math.sqrt(2 * num_data_sets)
    return RmsPull(value, error, num_data_sets, tuple(per_parameter.tolist()), tuple(errors.tolist()))
