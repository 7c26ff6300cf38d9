"""Directions of parameter space along which the data say nothing, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: Components below this share of the largest one are zero to the precision with which null directions are known.
_NEGLIGIBLE = 1e-3


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction of parameter space.

    Args:
        vector: normalised change of the parameters, ``[size]``.
        text: what cannot be known along it.
    """

    vector: Tensor
    text: str


def describe_direction(names: Sequence[str], parameters: Tensor, vector: Tensor) -> str:
    r"""Say which combination of parameters stays unknown when the data do not change along ``vector``.

    With :math:`r_i = v_i / p_i` the relative change of a parameter,

    ====================  =======================================================
    a single entry        the parameter is not determined
    equal :math:`r`       only ratios are known: scaling all together changes nothing
    opposite :math:`r`    only the product of the two is known
    equal :math:`v`       only differences are known
    opposite :math:`v`    only the sum of the two is known
    anything else         the linear combination is written out
    ====================  =======================================================

    Args:
        names: one name per parameter.
        parameters: point at which the direction was found, ``[size]``.
        vector: change of the parameters, ``[size]``.

    Example:
        >>> describe_direction(("p0", "p1", "p3"), torch.tensor([2.0, 0.5, 1.0]), torch.tensor([2.0, 0.0, 1.0]))
        'p0 and p3 only as a ratio'
    """
    # Sizes are compared in units of the parameters: without them a tiny parameter would always look negligible.
    scale = torch.where(parameters == 0, 1.0, parameters.abs())
    relative = vector / scale
    involved: list[int] = (relative.abs() > _NEGLIGIBLE * relative.abs().max()).nonzero().flatten().tolist()
    chosen = [names[i] for i in involved]
    if len(chosen) == 1:
        return f"{chosen[0]} is not determined"
    steps, points = vector[involved], parameters[involved]
    if bool((points != 0).all()) and (word := _pattern(steps / points, "ratio", "product")):
        return f"{_listed(chosen)} only as {word}"
    if word := _pattern(steps, "difference", "sum"):
        return f"{_listed(chosen)} only as {word}"
    return f"moving along {_linear_combination(chosen, steps)} changes nothing"


def _pattern(changes: Tensor, same: str, opposite: str) -> str | None:
    sizes = changes.abs()
    if float(sizes.max() - sizes.min()) > 2 * _NEGLIGIBLE * float(sizes.max()):
        return None
    if bool((changes > 0).all()) or bool((changes < 0).all()):
        return f"a {same}" if len(changes) == 2 else f"{same}s"
    return f"a {opposite}" if len(changes) == 2 else None


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _linear_combination(names: Sequence[str], steps: Tensor) -> str:
    normalised = steps / steps.norm()
    normalised = normalised * torch.sign(normalised[0])
    first, *others = zip(names, normalised.tolist(), strict=True)
    text = f"{first[1]:.3g} {first[0]}"
    for name, value in others:
        text += f" {'-' if value < 0 else '+'} {abs(value):.3g} {name}"
    return text


def sparse_basis(vectors: Tensor) -> Tensor:
    """Another basis of the same subspace in which every vector has as many zeros as Gauss-Jordan elimination can make.

    Args:
        vectors: linearly independent rows, ``[count, size]``.

    Example:
        >>> sparse_basis(torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, -1.0]]))
        tensor([[1., 1., 0.],
                [0., 0., 1.]])
    """
    rows = vectors.clone()
    used: list[int] = []
    for _ in range(len(rows)):
        free = [i for i in range(len(rows)) if i not in used]
        flat = int(rows[free].abs().argmax())
        row, column = free[flat // rows.shape[1]], flat % rows.shape[1]
        used.append(row)
        rows[row] = rows[row] / rows[row, column]
        for other in range(len(rows)):
            if other != row:
                rows[other] = rows[other] - rows[other, column] * rows[row]
    return torch.where(rows.abs() > _NEGLIGIBLE * rows.abs().amax(1, keepdim=True), rows, 0.0)
