"""Discriminators: one network per replica and channel that tells measured from synthetic events."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unscatter.networks.linear import ReplicaMlp


class Discriminator(nn.Module):
    """Scores events; large where they look measured.

    Args:
        num_replicas: independent fits.
        num_channels: measured data sets; each has a network of its own.
        num_features: columns of the features of an event.
        hidden: columns of every hidden layer.
        activation: see :class:`~unscatter.networks.linear.ReplicaMlp`.
        generator: source of the initial weights.

    Example:
        >>> Discriminator(4, 2, 3)(torch.zeros(4, 2, 100, 3)).shape
        torch.Size([4, 2, 100])
    """

    def __init__(
        self,
        num_replicas: int,
        num_channels: int,
        num_features: int,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "silu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = (num_features, *hidden, 1)
        self.network = ReplicaMlp(num_replicas * num_channels, sizes, activation=activation, generator=generator)

    def forward(self, features: Tensor) -> Tensor:
        """Score ``[replica, channel, num_events, features]`` as ``[replica, channel, num_events]``."""
        return self.network(features.flatten(0, 1)).reshape(features.shape[:-1])
