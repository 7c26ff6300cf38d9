"""Averages of flat buffers, in pieces that stay in the cache: a buffer of millions of numbers passes through it once."""

from __future__ import annotations

import math

from torch import Tensor

#: Numbers per piece: 1 MB in single precision.
_PIECE = 2**18


def blend_(own: Tensor, other: Tensor, share: float) -> float:
    r"""Replace :math:`a` by :math:`(1 - s)\,a + s\,b` and return the sum of the result.

    Args:
        own: :math:`a`, flat; changed in place.
        other: :math:`b`, flat; with a share of one :math:`a` does not matter, even where it is not finite.
        share: :math:`s`.

    Example:
        >>> own = torch.tensor([0.0, 2.0])
        >>> blend_(own, torch.tensor([4.0, 2.0]), 0.25), own
        (3.0, tensor([1., 2.]))
    """
    if share == 1.0:
        own.copy_(other)
    if own.numel() <= _PIECE:
        return float((own if share == 1.0 else own.lerp_(other, share)).sum())
    pieces = zip(own.split(_PIECE), other.split(_PIECE), strict=True)
    return math.fsum(float((a if share == 1.0 else a.lerp_(b, share)).sum()) for a, b in pieces)
