"""Arithmetic on flat buffers, in pieces that stay in the cache: a buffer of millions of numbers is read and written once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Numbers per piece: three of them in single precision fit into a second-level cache of 2 MB.
_PIECE = 131_072


def checksum(buffer: Tensor) -> float:
    """Sum of all numbers in double precision; not finite where one of them is not.

    Example:
        >>> checksum(torch.tensor([1.0, 2.0]))
        3.0
    """
    return float(sum(float(piece.sum(dtype=torch.float64)) for piece in buffer.reshape(-1).split(_PIECE)))


def sums_agree(one: float, other: float) -> bool:
    """Whether two checksums belong to the same numbers: both finite and equal up to the order of summation."""
    return math.isfinite(one) and math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-6)


def merged(own: Tensor, other: Tensor, share: float, out: Tensor) -> tuple[float, float]:
    r"""Write :math:`(1 - s)\,a + s\,b` to ``out``.

    Args:
        own: :math:`a`, flat.
        other: :math:`b`, flat.
        share: :math:`s`.
        out: flat; may not be one of the two, so that a damaged ``other`` can still be refused afterwards.

    Returns:
        Checksums of ``other`` and of ``out``.

    Example:
        >>> out = torch.empty(2)
        >>> merged(torch.tensor([0.0, 2.0]), torch.tensor([4.0, 2.0]), 0.25, out), out
        ((6.0, 3.0), tensor([1., 2.]))
    """
    sums = [0.0, 0.0]
    for a, b, c in zip(own.split(_PIECE), other.split(_PIECE), out.split(_PIECE), strict=True):
        sums[0] += float(b.sum(dtype=torch.float64))
        torch.lerp(a, b, share, out=c)
        sums[1] += float(c.sum(dtype=torch.float64))
    return sums[0], sums[1]
