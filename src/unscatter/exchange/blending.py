"""Averages of flat buffers, in pieces that stay in the cache: a buffer of millions of numbers passes through it once."""

from __future__ import annotations

import math

from torch import Tensor

from unscatter.exchange.transports.checks import PIECE, payload_sum


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
        return payload_sum(own.copy_(other))
    if own.numel() <= PIECE:  # cutting a small one takes longer than averaging it
        return float(own.lerp_(other, share).sum())
    return math.fsum(float(a.lerp_(b, share).sum()) for a, b in zip(own.split(PIECE), other.split(PIECE), strict=True))
