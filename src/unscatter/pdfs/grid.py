"""Parton densities on a grid in x and Q, and the strong coupling on one in Q, evaluated by interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from unscatter.errors import PdfGridError
from unscatter.pdfs.cubic import alone, cubic_weights

#: Number of the gluon in the scheme of the Particle Data Group, and the short form that is also understood.
GLUON, GLUON_SHORT = 21, 0
#: Fewest nodes in x with which the LHAPDF library works.
_MIN_X_NODES = 4
#: Rounding at the edges is forgiven, as to single precision.
_EDGE = 1e-6

#: Coordinates: a number, or an array of any shape.
Coordinate = Tensor | float


@dataclass(frozen=True, eq=False)
class PdfGrid:
    r"""Momentum densities :math:`x f(x, Q)` at nodes: one member of a set.

    Args:
        x_nodes: increasing momentum fractions in (0, 1], ``[x]``.
        Q_nodes_GeV: increasing scales in GeV, ``[Q]``; a threshold stands twice, as the end of one region and the beginning of the next.
        pdg_ids: partons by their number; the gluon is 21.
        values: densities, ``[parton, x, Q]``.

    Raises:
        PdfGridError: nodes that do not increase, too few of them, partons that repeat, other shapes, numbers that are not finite.

    Example:
        >>> x, Q = torch.logspace(-3, 0, 31), torch.tensor([2.0, 4.0, 8.0, 16.0])
        >>> grid = PdfGrid(x, Q, (21, 2), torch.log(Q) * torch.stack([(1 - x) ** 5, x**0.5 * (1 - x) ** 3])[:, :, None])
        >>> round(float(grid.xf(21, 0.01, 4.0)), 4), tuple(grid.xf(2, x, torch.tensor(3.0)).shape)
        (1.3184, (31,))
    """

    x_nodes: Tensor
    Q_nodes_GeV: Tensor
    pdg_ids: tuple[int, ...]
    values: Tensor

    def __post_init__(self) -> None:
        for name in ("x_nodes", "Q_nodes_GeV", "values"):
            object.__setattr__(self, name, _as_float64(getattr(self, name)))
        object.__setattr__(self, "pdg_ids", tuple(int(number) for number in self.pdg_ids))
        check_x_nodes(self.x_nodes)
        check_Q_nodes(self.Q_nodes_GeV)
        _check_partons(self.pdg_ids)
        shape = (len(self.pdg_ids), len(self.x_nodes), len(self.Q_nodes_GeV))
        if tuple(self.values.shape) != shape:
            raise PdfGridError(f"'values' must have the shape [partons, x nodes, Q nodes] = {shape}, got {tuple(self.values.shape)}.")
        if not torch.isfinite(self.values).all():
            raise PdfGridError(f"{int((~torch.isfinite(self.values)).sum())} of {self.values.numel()} densities are not finite.")

    def xf(self, pdg_id: int, x: Coordinate, Q_GeV: Coordinate) -> Tensor:
        r"""Momentum density of one parton, by cubic interpolation in :math:`\ln x` and :math:`\ln Q^2`, float64.

        Args:
            pdg_id: number of the parton; 0 is the gluon, too.
            x: broadcasts against ``Q_GeV``.
            Q_GeV: scale; at a threshold the region above it counts.

        Raises:
            PdfGridError: a parton that the grid does not have; points outside the grid.
        """
        return self._evaluate((self._position(pdg_id),), x, Q_GeV)[0]

    def xf_all(self, x: Coordinate, Q_GeV: Coordinate) -> Tensor:
        """All partons in the order of ``pdg_ids``, ``[parton, *points]``; see :meth:`xf`."""
        return self._evaluate(range(len(self.pdg_ids)), x, Q_GeV)

    def _position(self, pdg_id: int) -> int:
        number = GLUON if pdg_id == GLUON_SHORT else pdg_id
        if number not in self.pdg_ids:
            raise PdfGridError(f"the grid has no parton {pdg_id}. It has {', '.join(map(str, self.pdg_ids))}; the gluon is {GLUON}.")
        return self.pdg_ids.index(number)

    def _evaluate(self, partons: Sequence[int], x: Coordinate, Q_GeV: Coordinate) -> Tensor:
        at_x, at_Q = torch.broadcast_tensors(_as_float64(x), _as_float64(Q_GeV))
        x_points = _inside("x", at_x, self.x_nodes, "")
        Q_points = _inside("Q", at_Q, self.Q_nodes_GeV, " GeV")
        # LHAPDF is linear in both directions where a region has two nodes in Q only.
        columns, x_weights = cubic_weights(self.x_nodes, x_points, alone(self.Q_nodes_GeV, Q_points))
        rows, Q_weights = cubic_weights(self.Q_nodes_GeV, Q_points)
        around = self.values[list(partons)][:, columns[:, :, None], rows[:, None, :]]
        return torch.einsum("pi,fpij,pj->fp", x_weights, around, Q_weights).reshape(-1, *at_x.shape)


@dataclass(frozen=True, eq=False)
class AlphaS:
    r"""Strong coupling at nodes, by cubic interpolation in :math:`\ln Q^2`.

    Args:
        Q_nodes_GeV: increasing scales in GeV, ``[Q]``; a threshold stands twice.
        values: coupling there, ``[Q]``.

    Raises:
        PdfGridError: nodes that do not increase, another number of values, values that no coupling has.

    Example:
        >>> coupling = AlphaS(torch.tensor([2.0, 10.0, 91.1876, 1000.0]), torch.tensor([0.30, 0.18, 0.118, 0.0885]))
        >>> round(float(coupling(91.1876)), 3)
        0.118
    """

    Q_nodes_GeV: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        for name in ("Q_nodes_GeV", "values"):
            object.__setattr__(self, name, _as_float64(getattr(self, name)))
        check_Q_nodes(self.Q_nodes_GeV)
        if self.values.shape != self.Q_nodes_GeV.shape:
            raise PdfGridError(f"the strong coupling has {len(self.Q_nodes_GeV)} scales, but {len(self.values)} values.")
        if not bool(((self.values > 0) & (self.values < 10)).all()):
            low, high = float(self.values.min()), float(self.values.max())
            raise PdfGridError(f"values of the strong coupling must lie between 0 and 10, got values from {low:g} to {high:g}.")

    def __call__(self, Q_GeV: Coordinate) -> Tensor:
        """Coupling at scales of any shape, float64.

        Raises:
            PdfGridError: scales outside the nodes.
        """
        Q = _as_float64(Q_GeV)
        columns, weights = cubic_weights(self.Q_nodes_GeV, _inside("Q", Q, self.Q_nodes_GeV, " GeV"))
        return (weights * self.values[columns]).sum(-1).reshape(Q.shape)


def check_x_nodes(nodes: Tensor) -> None:
    """Raise :class:`~unscatter.errors.PdfGridError` unless these can be nodes in x."""
    if len(nodes) < _MIN_X_NODES:
        raise PdfGridError(f"a grid needs at least {_MIN_X_NODES} nodes in x, got {len(nodes)}.")
    _check_increasing("x", nodes, nodes.diff() > 0)
    if not bool((nodes > 0).all() & (nodes <= 1).all()):
        raise PdfGridError(f"nodes in x must lie in (0, 1], got nodes from {float(nodes[0]):g} to {float(nodes[-1]):g}.")


def check_Q_nodes(nodes: Tensor) -> None:
    """Raise :class:`~unscatter.errors.PdfGridError` unless these can be nodes in Q: increasing and positive, thresholds stand twice."""
    if len(nodes) < 2:
        raise PdfGridError(f"a grid needs at least 2 nodes in Q, got {len(nodes)}.")
    _check_increasing("Q", nodes, nodes.diff() >= 0)
    if not float(nodes[0]) > 0:
        raise PdfGridError(f"nodes in Q must be positive, got {float(nodes[0]):g}.")
    repeated = nodes.diff() == 0
    if bool(repeated[0] | repeated[-1] | (repeated[1:] & repeated[:-1]).any()):
        seen = nodes[:-1][repeated].unique().tolist()
        raise PdfGridError(
            f"a threshold in Q stands twice, with further nodes on either side; not so {', '.join(f'{Q:g}' for Q in seen)} GeV."
        )


def _check_increasing(name: str, nodes: Tensor, steps: Tensor) -> None:
    if not bool(torch.isfinite(nodes).all()):
        raise PdfGridError(f"nodes in {name} must be finite, but {int((~torch.isfinite(nodes)).sum())} of {len(nodes)} are not.")
    if not bool(steps.all()):
        k = int((~steps).nonzero()[0, 0])
        raise PdfGridError(
            f"nodes in {name} must increase, but number {k + 2} is {float(nodes[k + 1]):g} and the one before is {float(nodes[k]):g}."
        )


def _check_partons(pdg_ids: Sequence[int]) -> None:
    if not pdg_ids or len(set(pdg_ids)) < len(pdg_ids):
        raise PdfGridError(f"each parton must stand once in 'pdg_ids', and at least one, got {list(pdg_ids)}.")


def _as_float64(values: Coordinate) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64, device="cpu").detach()


def _inside(name: str, points: Tensor, nodes: Tensor, unit: str) -> Tensor:
    """Points, flattened, which have to lie inside the nodes."""
    low, high = float(nodes[0]), float(nodes[-1])
    outside = ~((points >= low * (1 - _EDGE)) & (points <= high * (1 + _EDGE)))
    if bool(outside.any()):
        _raise_outside(name, points, outside, f"{low:g} to {high:g}{unit}")
    return points.reshape(-1).clamp(low, high)


def _raise_outside(name: str, points: Tensor, outside: Tensor, limits: str) -> NoReturn:
    seen = points[outside]
    raise PdfGridError(
        f"{len(seen)} of {points.numel()} points lie outside the grid: '{name}' reaches from {float(seen.min()):g} "
        f"to {float(seen.max()):g} there, and the grid from {limits}.\nCut these points, or use a grid that covers them."
    )
