"""Agreement of published measurements with a prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from unscatter.errors import DataError, ShapeError


@runtime_checkable
class Measured(Protocol):
    """Published values with a covariance, such as :class:`~unscatter.pipeline.Measurement` or what ``load_hera`` returns."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def values(self) -> Tensor:
        """``[points]``, float64."""
        ...

    @property
    def covariance(self) -> Tensor:
        """``[points, points]``, float64."""
        ...


@dataclass(frozen=True, eq=False)
class Chi2:
    r"""Result of :func:`chi2`.

    Args:
        value: :math:`\chi^2`.
        num_points: number of points.
        pulls: :math:`(d_i - t_i) / \sqrt{C_{ii}}` of each point, ``[points]``.  They are correlated, and their squares do not add up to
            :math:`\chi^2`.
        independent_pulls: :math:`L^{-1} (d - t)` with :math:`C = L L^T`, ``[points]``.  They are uncorrelated, and their squares add up to
            :math:`\chi^2`, but each belongs to a combination of points.
    """

    value: float
    num_points: int
    pulls: Tensor
    independent_pulls: Tensor

    @property
    def per_point(self) -> float:
        r""":math:`\chi^2 / n`."""
        return self.value / self.num_points

    def __str__(self) -> str:
        return f"chi2/n = {self.value:.1f}/{self.num_points} = {self.per_point:.2f}"


def chi2(data: Measured, prediction: Float[Tensor, " points"]) -> Chi2:
    r"""Agreement with all correlations.

    .. math:: \chi^2 = (d - t)^T C^{-1} (d - t)

    Args:
        data: measurement d with covariance C.
        prediction: t at its points.

    Raises:
        ShapeError: another number of predictions than points.
        DataError: a prediction is not finite; the covariance is not positive definite.

    Example:
        >>> from unscatter.theories.dis.binned import BinnedData
        >>> column = torch.tensor([0.1, 0.2])
        >>> data = BinnedData(
        ...     name="two points",
        ...     x=column,
        ...     Q2=column,
        ...     y=column,
        ...     values=column,
        ...     covariance=0.01 * torch.eye(2),
        ...     lepton="e+",
        ...     sqrt_s_GeV=318.0,
        ... )
        >>> str(chi2(data, torch.tensor([0.2, 0.1])))
        'chi2/n = 2.0/2 = 1.00'
    """
    if len(prediction) != len(data.values):
        raise ShapeError(f"'prediction' has {len(prediction)} values, but '{data.name}' has {len(data.values)} points.")
    prediction = prediction.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(prediction).all()):
        bad = int((~torch.isfinite(prediction)).sum())
        raise DataError(f"{bad} of {len(prediction)} predictions for '{data.name}' are not finite.")
    residuals = data.values - prediction
    whitened = torch.linalg.solve_triangular(_cholesky(data), residuals[:, None], upper=False)[:, 0]
    return Chi2(float(whitened.square().sum()), len(data.values), residuals / data.covariance.diagonal().sqrt(), whitened)


def _cholesky(data: Measured) -> Tensor:
    if not torch.allclose(data.covariance, data.covariance.T, rtol=1e-9, atol=0.0):
        raise DataError(f"the covariance of '{data.name}' is not symmetric.")
    factor, failed = torch.linalg.cholesky_ex(data.covariance)
    if bool(failed):
        raise DataError(
            f"the covariance of '{data.name}' is not positive definite: a point, or a combination of points, has no uncertainty.\n"
            "Each point needs an uncorrelated uncertainty of its own."
        )
    return factor
