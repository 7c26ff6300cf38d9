"""Published measurements that a fit is compared with, without being fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from unscatter.errors import ShapeError


@dataclass(frozen=True, eq=False)
class Measurement:
    """Values with a covariance, and what the parameters of a problem predict for them.

    Args:
        name: for reports.
        values: ``[points]``, float64.
        covariance: ``[points, points]``, float64.
        predict: maps parameters ``[..., size]`` to predictions ``[..., points]``.
        coordinates: where each point lies, by name, ``[points]`` each.
        label: what is measured, with its unit.

    Raises:
        ShapeError: arrays that do not fit together.
    """

    name: str
    values: Tensor
    covariance: Tensor
    predict: Callable[[Tensor], Tensor]
    coordinates: Mapping[str, Tensor] = field(default_factory=dict)
    label: str = ""

    def __post_init__(self) -> None:
        points = len(self.values)
        if self.covariance.shape != (points, points):
            raise ShapeError(f"measurement '{self.name}' has {points} values, but a covariance of shape {tuple(self.covariance.shape)}.")
        for name, column in self.coordinates.items():
            if column.shape != (points,):
                raise ShapeError(f"coordinate '{name}' of measurement '{self.name}' needs {points} values, got {tuple(column.shape)}.")
