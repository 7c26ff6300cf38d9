"""Whether a payload is what its sender meant: sums that tell torn, damaged and non-finite buffers from whole ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unscatter.errors import ShapeError

#: Numbers per piece of a sum or copy: 1 MB of float32 stays in a core's cache between being copied and being added up.
PIECE = 2**18

#: Agreement at which two sums of the same numbers are believed without a second look.
_SAME = 1e-12

#: Largest difference, relative to the sum of magnitudes, that rounding in float32 pieces explains.
_ROUNDING = 1e-6


def payload_sum(payload: Tensor) -> float:
    """Sum of a flat payload for :attr:`Header.check`: float32 within pieces, float64 over them.

    Several times faster than ``payload.sum(dtype=torch.float64)``, which makes a copy in float64 first; both are accepted as a check.

    Example:
        >>> payload_sum(torch.arange(5.0))
        10.0
    """
    if payload.numel() <= PIECE:  # cutting a small one takes longer than adding it up
        return float(payload.sum())
    return math.fsum(float(piece.sum()) for piece in payload.split(PIECE))


def copy_and_sum(pieces: Sequence[Tensor], into: Sequence[Tensor]) -> float:
    """Copy a payload piece by piece and return its :func:`payload_sum`, in one pass over the memory.

    Args:
        pieces: the payload, cut by ``split(PIECE)``.
        into: where it goes, cut likewise.

    Example:
        >>> source, target = torch.arange(5.0), torch.zeros(5)
        >>> copy_and_sum(source.split(PIECE), target.split(PIECE)), target
        (10.0, tensor([0., 1., 2., 3., 4.]))
    """
    return math.fsum([float(target.copy_(source).sum()) for source, target in zip(pieces, into, strict=True)])


def is_whole(payload: Tensor, total: float, check: float) -> bool:
    """Whether a payload that adds up to ``total`` is the one whose sender found ``check``.

    Two sums of the same numbers differ by rounding when they were taken in another order or precision, so a difference is compared with
    the sum of the magnitudes.  A payload or a check that is not finite is never whole.

    Args:
        payload: what was received.
        total: its :func:`payload_sum`.
        check: what stands on the message.

    Example:
        >>> payload = torch.tensor([1.0, 2.0])
        >>> is_whole(payload, payload_sum(payload), 3.0), is_whole(payload, payload_sum(payload), 2.0)
        (True, False)
    """
    difference = abs(total - check)
    if difference <= _SAME * abs(check) and math.isfinite(check):
        return True
    magnitude = float(payload.abs().sum(dtype=torch.float64))
    return math.isfinite(magnitude) and difference <= _ROUNDING * magnitude


def require_payload(payload: Tensor, num_parameters: int, dtype: torch.dtype) -> None:
    """Make sure that a tensor fits the mailboxes.

    Raises:
        ShapeError: another size, type or device than the transport was made for.

    Example:
        >>> require_payload(torch.zeros(3), 3, torch.float32)
    """
    if payload.ndim != 1 or len(payload) != num_parameters or payload.dtype is not dtype or not payload.is_cpu:
        raise ShapeError(
            f"'payload' is {tuple(payload.shape)} of {payload.dtype} on {payload.device}, "
            f"but the mailboxes of this transport hold ({num_parameters},) of {dtype} on the CPU.\n"
            "Publish flat tensors of the size and type that the transport was made with."
        )
    assert not payload.requires_grad, "a copy of a payload that requires a gradient would drag its graph along"
