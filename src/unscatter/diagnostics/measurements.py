"""Published measurements against what a fit predicts for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unscatter.diagnostics.chi2 import Chi2, chi2
from unscatter.pipeline import Measurement


@dataclass(frozen=True, eq=False)
class Comparison:
    r"""A measurement and a prediction.

    Args:
        measurement: values and covariance.
        prediction: mean over the replicas, ``[points]``.
        spread: standard deviation over the replicas, ``[points]``; zero for a single fit.
        agreement: :math:`\chi^2` of the mean prediction, with the errors of the measurement only.
    """

    measurement: Measurement
    prediction: Tensor
    spread: Tensor
    agreement: Chi2

    def record(self) -> dict[str, Any]:
        """The agreement in numbers, for summaries."""
        agreement = self.agreement
        return {
            "name": self.measurement.name,
            "label": self.measurement.label,
            "coordinates": list(self.measurement.coordinates),
            "chi2": agreement.value,
            "num_points": agreement.num_points,
            "chi2_per_point": agreement.per_point,
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row per point, for tables and figures."""
        measured = self.measurement
        columns = {name: column.tolist() for name, column in measured.coordinates.items()} | {
            "value": measured.values.tolist(),
            "error": measured.covariance.diagonal().sqrt().tolist(),
            "prediction": self.prediction.tolist(),
            "prediction_error": self.spread.tolist(),
            "pull": self.agreement.pulls.tolist(),
        }
        points = zip(*columns.values(), strict=True)
        return [{"measurement": measured.name} | dict(zip(columns, point, strict=True)) for point in points]


def compare_measurement(measurement: Measurement, parameters: Tensor) -> Comparison:
    """Compare a published measurement with the predictions of all replicas.

    Args:
        measurement: what is compared.
        parameters: of the replicas, ``[replica, size]``.

    Raises:
        DataError: a prediction is not finite, or the covariance is not positive definite.

    Example:
        >>> scaled = Measurement("m", torch.ones(2).double(), torch.eye(2).double(), lambda p: p.expand(*p.shape[:-1], 2))
        >>> compare_measurement(scaled, torch.tensor([[1.0], [3.0]])).agreement.value
        2.0
    """
    with torch.no_grad():
        predictions = measurement.predict(parameters.double().cpu()).double()
    mean = predictions.mean(0)
    spread = predictions.std(0) if len(predictions) > 1 else torch.zeros_like(mean)
    return Comparison(measurement, mean, spread, chi2(measurement, mean))
