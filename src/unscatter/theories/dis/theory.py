r"""Deep-inelastic scattering as a theory: parametrised densities in, events per bin of Q2 and y out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unscatter.arrays import Density, Grid
from unscatter.errors import SettingsError
from unscatter.pdfs import PdfParametrisation
from unscatter.theories.dis.channels import DisChannel, cross_section_operator
from unscatter.theories.dis.tables import DisTables

#: Columns of the theory's events; x follows from them and from s.
DIS_COLUMNS = ("Q2", "y")

#: Share of the largest density below which a negative one is taken for zero; negative cross sections proper are larger.
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class DisTheory:
    r"""Densities of deep-inelastic events of one or more measured data sets.

    .. math::
        \frac{d^2 N_c}{dQ^2\,dy} = n_c L_c\, \frac{x}{y}\, \frac{d^2\sigma_c}{dx\,dQ^2}
        = n_c L_c \sum_{fk} W_c(Q^2, y)_{fk}\; x f_f(x_k, Q_0)

    The parametrisation gives the momentum densities at the nodes :math:`x_k` of the tables; everything else is one matrix per channel.

    Args:
        parametrisation: of the densities at the tables' starting scale.
        tables: evolution and structure functions.
        data_sets: the channels, of one or several beams.
        grid: axes ``Q2`` in GeV2 and ``y``.
        free_norms: names of the channels whose normalisation :math:`n_c` is a parameter, after those of the parametrisation.

    Raises:
        SettingsError: no channel, two of the same name, or an unknown one in ``free_norms``.
    """

    parametrisation: PdfParametrisation
    tables: DisTables
    data_sets: tuple[DisChannel, ...]
    grid: Grid
    free_norms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_names(self.channels, self.free_norms)
        if self.grid.names != DIS_COLUMNS:
            raise SettingsError(f"the grid of deep-inelastic events has the axes {list(DIS_COLUMNS)}, got {list(self.grid.names)}.")

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the measured data sets."""
        return tuple(channel.name for channel in self.data_sets)

    @property
    def num_pdf_parameters(self) -> int:
        """Parameters of the parametrisation; norms of channels follow them."""
        return len(self.parametrisation.ranges) + len(self.parametrisation.fractions)

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """``(size,)``."""
        return (self.num_pdf_parameters + len(self.free_norms),)

    @cached_property
    def _operators(self) -> dict[tuple[str, torch.dtype], Tensor]:
        return {}

    @cached_property
    def _exact_operator(self) -> Tensor:
        """Expected events per Q2 and y, ``[8 * x nodes, channel * nodes]``, float64."""
        Q2, y = (axis.flatten() for axis in self.grid.to("cpu", torch.float64).mesh())
        matrices = [channel.luminosity_inv_pb * cross_section_operator(channel, self.tables, Q2, y) for channel in self.data_sets]
        return torch.cat([matrix.flatten(1) for matrix in matrices]).T.contiguous()

    def _operator(self, like: Tensor) -> Tensor:
        key = (str(like.device), like.dtype)
        if key not in self._operators:
            self._operators[key] = self._exact_operator.to(like.device, like.dtype)
        return self._operators[key]

    def densities_at_start(self, physics_params: Tensor, x: Tensor | None = None) -> Tensor:
        """Momentum densities x f at the starting scale, ``[..., 8, points]``; at the nodes of the tables when ``x`` is None."""
        points = self.tables.x_nodes if x is None else x
        return self.parametrisation(physics_params[..., : self.num_pdf_parameters], points.to(physics_params))

    def __call__(self, physics_params: Tensor) -> Density:
        """Densities of events, ``[..., size]`` to ``[..., channel, Q2, y]``."""
        xf = self.densities_at_start(physics_params)
        grid = self.grid.to(physics_params.device, physics_params.dtype)
        values = (xf.flatten(-2) @ self._operator(xf)).unflatten(-1, (len(self.channels), *grid.shape))
        values = _without_rounding(values) * self._norms(physics_params)[..., None, None]
        return Density(values, grid, self.channels, torch.einsum("...cqy,qy->...c", values, self._logarithmic_weights(values)))

    @cached_property
    def _exact_weights(self) -> Tensor:
        """Weights of an integral by Q2 and y, ``[Q2, y]``, float64: trapezoids in ln Q2 and ln y, in which cross sections are nearly flat.

        The linear interpolant between logarithmic nodes lies above a falling power: its own integral would be 0.4 % too large.
        """
        grid = self.grid.to("cpu", torch.float64)
        logarithms = Grid(tuple(axis.log() for axis in grid.axes), grid.names).trapezoid_weights
        Q2, y = (axis * weights for axis, weights in zip(grid.axes, logarithms, strict=True))
        return torch.outer(Q2, y)

    def _logarithmic_weights(self, like: Tensor) -> Tensor:
        key = (f"weights on {like.device}", like.dtype)
        if key not in self._operators:
            self._operators[key] = self._exact_weights.to(like.device, like.dtype)
        return self._operators[key]

    def _norms(self, physics_params: Tensor) -> Tensor:
        """Normalisation of each channel, ``[..., channel]``."""
        free = dict(zip(self.free_norms, physics_params[..., self.num_pdf_parameters :].unbind(-1), strict=True))
        one = physics_params.new_ones(physics_params.shape[:-1])
        return torch.stack([free.get(name, one) for name in self.channels], -1)


def _without_rounding(values: Tensor) -> Tensor:
    """Densities that are zero but for the interpolation of the tables, as towards x = 1, are set to zero where they came out negative."""
    largest = values.detach().abs().amax((-2, -1), keepdim=True)
    return torch.where(values.abs() < _ROUNDING * largest, values.clamp_min(0), values)


def _check_names(channels: Sequence[str], free_norms: Sequence[str]) -> None:
    if not channels or len(set(channels)) != len(channels):
        raise SettingsError(f"the channels of deep-inelastic events need different names, got {list(channels)}.")
    unknown = [name for name in free_norms if name not in channels]
    if unknown:
        raise SettingsError(f"'free_norms' names {unknown}, but the channels are {list(channels)}.")


def dis_grid(Q2_range: tuple[float, float], y_range: tuple[float, float], nodes: tuple[int, int]) -> Grid:
    """Logarithmic nodes in both Q2 and y."""
    axes = {}
    for name, (low, high), count in zip(DIS_COLUMNS, (Q2_range, y_range), nodes, strict=True):
        if not 0 < low < high:
            raise SettingsError(f"the range of '{name}' must be positive and increasing, got ({low:g}, {high:g}).")
        axes[name] = torch.logspace(0, 1, count, base=high / low, dtype=torch.float64) * low
    if not y_range[1] <= 1:
        raise SettingsError(f"the inelasticity y cannot exceed 1, got the range ({y_range[0]:g}, {y_range[1]:g}).")
    return Grid.from_axes(axes)
