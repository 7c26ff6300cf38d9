"""Published measurements: values in bins with a covariance matrix."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from unscatter.errors import DataError
from unscatter.physics.constants import PROTON_MASS_GEV
from unscatter.physics.dis_cross_sections import LEPTONS

#: Columns with one number per point.
_COLUMNS = ("x", "Q2", "y", "values")


@dataclass(frozen=True, eq=False, kw_only=True)
class BinnedData:
    """Reduced cross sections of deep-inelastic scattering, at points.

    Args:
        name: for reports.
        x: Bjorken's x, ``[points]``.
        Q2: in GeV2, ``[points]``.
        y: inelasticity, ``[points]``.
        values: measured reduced cross section, without unit, ``[points]``.
        covariance: of the values, all sources of uncertainty together, ``[points, points]``.
        lepton: ``e-`` or ``e+``.
        sqrt_s_GeV: energy in the centre of mass.

    Raises:
        DataError: arrays that do not fit together, numbers that are not finite, points outside the physical region.

    Example:
        >>> column = torch.tensor([0.1, 0.2])
        >>> data = BinnedData(
        ...     name="two points",
        ...     x=column,
        ...     Q2=100 * column,
        ...     y=column,
        ...     values=column,
        ...     covariance=torch.eye(2),
        ...     lepton="e+",
        ...     sqrt_s_GeV=318.0,
        ... )
        >>> data.num_points, data.cut(Q2_min=10.0).num_points
        (2, 1)
    """

    name: str
    x: Tensor
    Q2: Tensor
    y: Tensor
    values: Tensor
    covariance: Tensor
    lepton: str
    sqrt_s_GeV: float

    def __post_init__(self) -> None:
        for name in (*_COLUMNS, "covariance"):
            object.__setattr__(self, name, torch.as_tensor(getattr(self, name)).to("cpu", torch.float64))
        self._check_shapes()
        self._check_values()

    @property
    def num_points(self) -> int:
        """Number of points."""
        return len(self.values)

    @property
    def errors(self) -> Tensor:
        """Total uncertainty of each value, ``[points]``."""
        return self.covariance.diagonal().sqrt()

    @property
    def W2(self) -> Tensor:
        r"""Squared mass of the hadrons, :math:`W^2 = M^2 + Q^2 (1 - x) / x` in GeV2, ``[points]``."""
        return PROTON_MASS_GEV**2 + self.Q2 * (1 - self.x) / self.x

    def cut(self, *, Q2_min: float = 0.0, W2_min: float = 0.0, x_min: float = 0.0, x_max: float = 1.0, y_max: float = 1.0) -> BinnedData:
        """Points with Q2, W2 (both in GeV2) and x above their minimum, and x and y not above their maximum.

        Raises:
            DataError: no point is left.
        """
        above = [getattr(self, name) > low for name, low in (("Q2", Q2_min), ("W2", W2_min), ("x", x_min))]
        kept = torch.stack([*above, self.x <= x_max, self.y <= y_max]).all(0)
        if not bool(kept.any()):
            raise DataError(
                f"no point of '{self.name}' passes the cuts: Q2 reaches from {_range(self.Q2)} GeV2, W2 from {_range(self.W2)} GeV2, "
                f"x from {_range(self.x)}, y from {_range(self.y)}."
            )
        columns = {name: getattr(self, name)[kept] for name in _COLUMNS}
        return dataclasses.replace(self, covariance=self.covariance[kept][:, kept], **columns)

    def _check_shapes(self) -> None:
        shape = tuple(self.values.shape)
        shapes = {name: tuple(getattr(self, name).shape) for name in _COLUMNS} | {"covariance": tuple(self.covariance.shape)}
        if len(shape) != 1 or not shape[0] or any(shapes[name] != shape for name in _COLUMNS) or shapes["covariance"] != shape * 2:
            found = ", ".join(f"{name} {found}" for name, found in shapes.items())
            raise DataError(f"'{self.name}' needs one number per point in each column and a square covariance, got the shapes {found}.")

    def _check_values(self) -> None:
        for name in (*_COLUMNS, "covariance"):
            bad = ~torch.isfinite(getattr(self, name))
            if bool(bad.any()):
                raise DataError(f"'{self.name}': {int(bad.sum())} numbers in '{name}' are not finite.")
        outside = ~((self.x > 0) & (self.x <= 1) & (self.Q2 > 0) & (self.y > 0) & (self.y <= 1))
        if bool(outside.any()):
            k = int(outside.nonzero()[0, 0])
            point = f"x = {float(self.x[k]):g}, Q2 = {float(self.Q2[k]):g}, y = {float(self.y[k]):g}"
            raise DataError(f"'{self.name}': {int(outside.sum())} points are unphysical, the first is number {k} with {point}.")
        if self.lepton not in LEPTONS:
            raise DataError(f"'{self.name}': 'lepton' must be one of {list(LEPTONS)}, got '{self.lepton}'.")


def _range(values: Tensor) -> str:
    return f"{float(values.min()):g} to {float(values.max()):g}"
