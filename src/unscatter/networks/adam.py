"""Adam on flat vectors, one per replica, as a pure function.

torch.optim steps in place and all replicas together; here a replica whose gradient is not finite must stay where it is, and a checkpoint
needs the whole state as tensors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class AdamState(NamedTuple):
    """Running moments of one flat vector per replica."""

    mean: Tensor
    """First moment, ``[replica, parameters]``."""
    square: Tensor
    """Second moment, ``[replica, parameters]``."""
    num_steps: Tensor
    """Accepted steps, ``[replica, 1]``."""


def adam_init(weights: Tensor) -> AdamState:
    """Moments before the first step."""
    return AdamState(torch.zeros_like(weights), torch.zeros_like(weights), weights.new_zeros(len(weights), 1))


def adam_step(
    state: AdamState,
    weights: Tensor,
    gradient: Tensor,
    *,
    learning_rate: float | Tensor,
    beta1: float,
    beta2: float,
    clip_norm: float,
    shared_scale: bool = False,
    epsilon: float = 1e-8,
) -> tuple[AdamState, Tensor, Tensor]:
    r"""One step of Adam in every replica whose gradient is finite.

    .. math:: m \leftarrow \beta_1 m + (1-\beta_1) g, \quad v \leftarrow \beta_2 v + (1-\beta_2) g^2, \quad
              w \leftarrow w - \eta\, \frac{m / (1-\beta_1^t)}{\sqrt{v / (1-\beta_2^t)} + \epsilon}

    A gradient longer than ``clip_norm`` times the running root mean square of its norm is scaled down before.

    Args:
        state: moments.
        weights: ``[replica, parameters]``.
        gradient: ``[replica, parameters]``.
        learning_rate: :math:`\eta`, for all or one per parameter.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        clip_norm: longest accepted gradient, relative.
        shared_scale: divide all parameters of a replica by their common root mean square instead of each by its own; for directions that
            are equally steep already.
        epsilon: :math:`\epsilon`.  Gradients much longer than this are scaled to a length of about one, much shorter ones keep their
            proportions, so that a large value makes plain gradient descent of rate :math:`\eta / \epsilon` near the solution.

    Returns:
        Moments, weights, and which replicas were skipped, ``[replica]``.

    References:
        Kingma, Ba, arXiv:1412.6980, algorithm 1.
    """
    finite = torch.isfinite(gradient).all(-1, keepdim=True)
    gradient = torch.where(finite, gradient, 0.0)
    gradient = _clip(state, gradient, clip_norm, beta2)
    num_steps = state.num_steps + 1
    mean = beta1 * state.mean + (1 - beta1) * gradient
    square = beta2 * state.square + (1 - beta2) * gradient.square()
    typical = (square / (1 - beta2**num_steps)).sqrt()
    if shared_scale:
        typical = typical.square().mean(-1, keepdim=True).sqrt()
    update = (mean / (1 - beta1**num_steps)) / (typical + epsilon)
    moments = AdamState(
        torch.where(finite, mean, state.mean), torch.where(finite, square, state.square), torch.where(finite, num_steps, state.num_steps)
    )
    return moments, torch.where(finite, weights - learning_rate * update, weights), ~finite.squeeze(-1)


def _clip(state: AdamState, gradient: Tensor, clip_norm: float, beta2: float) -> Tensor:
    typical = (state.square.sum(-1, keepdim=True) / (1 - beta2 ** state.num_steps.clamp_min(1))).sqrt()
    norm = gradient.norm(dim=-1, keepdim=True)
    # Before the first gradient that is not zero there is no typical norm to compare with.
    limit = torch.where(typical > 0, clip_norm * typical, norm)
    return gradient * (limit / norm.clamp_min(torch.finfo(norm.dtype).tiny)).clamp_max(1.0)
