r"""What a rank adds to a sum over the ranks: its rows, whether they are finite, and whether it wants to stop, in one flat buffer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Combined:
    """What comes out of a sum over the ranks.

    Args:
        mean: mean over the ranks whose rows were finite, NaN where there was none, in the shape of the rows.
        skipped: rows that were left out because they were not finite, over all ranks.
        stop: whether a rank wants to stop.
    """

    mean: Tensor
    skipped: int
    stop: bool


def contribution(rows: Tensor, *, stop: bool = False) -> Tensor:
    r"""One rank's part of a sum: values, one mark per row, and a mark for stopping.

    A row (one replica) that is not finite is left out: zeros, and a mark of zero.  The marks travel in the same buffer as the values, so
    that all ranks decide alike without another message.

    Args:
        rows: ``[replica, parameters]``.
        stop: whether this rank wants to stop.

    Returns:
        A new flat buffer of ``replica * parameters + replica + 1`` elements.

    Example:
        >>> contribution(torch.tensor([[1.0, 2.0], [float("nan"), 3.0]]), stop=True)
        tensor([1., 2., 0., 0., 1., 0., 1.])
    """
    flat = rows.detach().reshape(-1, rows.shape[-1])
    finite = torch.isfinite(flat).all(-1)
    buffer = torch.cat([flat.reshape(-1), finite.to(flat.dtype), flat.new_tensor([float(stop)])])
    if not bool(finite.all()):
        buffer[: flat.numel()].view_as(flat)[~finite] = 0.0
    return buffer


def combined(total: Tensor, shape: torch.Size, num_ranks: int) -> Combined:
    r"""Read the sum of :func:`contribution` over the ranks.

    .. math:: \bar g_r = \sum_i m_{ir}\, g_{ir} \Big/ \sum_i m_{ir}

    with the mark :math:`m_{ir} = 1` where row :math:`r` of rank :math:`i` is finite, else 0.

    Args:
        total: sum of the buffers of some ranks.
        shape: shape of the rows.
        num_ranks: how many ranks are in the sum.

    Example:
        >>> total = contribution(torch.tensor([[1.0]])) + contribution(torch.tensor([[float("inf")]]))
        >>> combined(total, torch.Size([1, 1]), 2)
        Combined(mean=tensor([[1.]]), skipped=1, stop=False)
    """
    num_values = shape.numel()
    rows = total[:num_values].view(-1, shape[-1])
    finite = total[num_values:-1]
    mean = (rows / finite.unsqueeze(-1)).view(shape)
    return Combined(mean, round(num_ranks * len(finite) - float(finite.sum())), bool(total[-1] > 0))
