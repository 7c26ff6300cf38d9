"""Generators: what proposes parameters, in the unbounded latent space of a parameter space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unscatter.networks.linear import ReplicaMlp


class Generator(nn.Module):
    """Abstract generator: noise ``[replica, batch, noise_size]`` to latent parameters ``[replica, batch, latent_size]``.

    Every parameter tensor has the replica axis first.  A generator without noise proposes one point per replica, whatever the batch.
    """

    #: Columns of the noise.
    noise_size: int
    #: Latent point that each replica starts from, a buffer ``[replica, latent_size]``.
    start: Tensor

    def forward(self, noise: Tensor) -> Tensor:
        """Propose latent parameters."""
        raise NotImplementedError


class DirectGenerator(Generator):
    r"""The parameters themselves are what is learnt, one point per replica.

    .. math:: \ell_r = \ell_{0r} + A_r\, v_r

    with the learnt :math:`v_r` and a fixed matrix :math:`A_r` that makes all directions equally steep (the identity by default).

    Args:
        start: :math:`\ell_{0r}`, latent starting point of each replica, ``[replica, latent_size]``.
        directions: :math:`A_r`, ``[replica, latent_size, latent_size]``.

    Example:
        >>> DirectGenerator(torch.zeros(3, 6))(torch.empty(3, 1, 0)).shape
        torch.Size([3, 1, 6])
    """

    start: Tensor
    directions: Tensor
    noise_size = 0

    def __init__(self, start: Tensor, directions: Tensor | None = None) -> None:
        super().__init__()
        preconditioned = directions is not None
        if directions is None:
            directions = torch.eye(start.shape[-1], dtype=start.dtype, device=start.device).repeat(len(start), 1, 1)
        self.register_buffer("start", start)
        self.register_buffer("directions", directions)
        #: Whether the directions are equally steep, so that one step size suits them all.
        self.preconditioned = preconditioned
        self.point = nn.Parameter(torch.zeros_like(start))

    def forward(self, noise: Tensor) -> Tensor:
        """Return the learnt point, ``[replica, 1, latent_size]``; the noise is ignored."""
        return (self.start.unsqueeze(-1) + self.directions @ self.point.unsqueeze(-1)).mT


class NetworkGenerator(Generator):
    """A network fed with normal noise, as published: it proposes a distribution of parameters.

    Args:
        start: latent point around which the untrained network proposes, ``[replica, latent_size]``.
        noise_size: columns of noise.
        hidden: columns of every hidden layer.
        activation: see :class:`~unscatter.networks.linear.ReplicaMlp`.
        generator: source of the initial weights.

    Example:
        >>> NetworkGenerator(torch.zeros(3, 6))(torch.randn(3, 100, 6)).shape
        torch.Size([3, 100, 6])
    """

    start: Tensor

    def __init__(
        self,
        start: Tensor,
        *,
        noise_size: int = 6,
        hidden: Sequence[int] = (64, 64),
        activation: str = "leaky-relu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.noise_size = noise_size
        self.register_buffer("start", start)
        self.network = ReplicaMlp(len(start), (noise_size, *hidden, start.shape[-1]), activation=activation, generator=generator)

    def forward(self, noise: Tensor) -> Tensor:
        """Map noise to latent parameters, ``[replica, batch, latent_size]``."""
        return self.start.unsqueeze(1) + self.network(noise)
