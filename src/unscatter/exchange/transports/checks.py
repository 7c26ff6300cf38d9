"""Whether a payload is what its sender meant: sums that tell torn, damaged and non-finite buffers from whole ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unscatter.errors import ShapeError

#: Agreement at which two sums of the same numbers are believed without a second look.
_SAME = 1e-12

#: Largest difference, relative to the sum of magnitudes, that rounding in float32 pieces explains.
_ROUNDING = 1e-6


def is_whole(payload: Tensor, total: float, check: float) -> bool:
    """Whether a payload that adds up to ``total`` is the one whose sender found ``check``.

    Two sums of the same numbers differ by rounding when they were taken in another order or precision, so a difference is compared with
    the sum of the magnitudes.  A payload or a check that is not finite is never whole.

    Args:
        payload: what was received.
        total: its :func:`~unscatter.exchange.transports.payload_sum`.
        check: what stands on the message.

    Example:
        >>> payload = torch.tensor([1.0, 2.0])
        >>> is_whole(payload, 3.0, 3.0), is_whole(payload, 3.0, 2.0)
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
