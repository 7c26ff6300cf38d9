"""Layers whose weights carry a replica axis, so that many small networks train as one batched product."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unscatter.errors import SettingsError

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "leaky-relu": nn.LeakyReLU,
    "softplus": nn.Softplus,
}


class ReplicaLinear(nn.Module):
    r"""Affine map of each replica, :math:`y_{r} = x_{r} W_{r} + b_{r}`.

    Weights are drawn from :math:`\mathcal{U}(-\sqrt{1/n}, \sqrt{1/n})` for :math:`n` inputs, independently in every replica.

    Args:
        num_replicas: length of the leading axis.
        num_inputs: columns that go in.
        num_outputs: columns that come out.
        generator: source of the initial weights.

    Example:
        >>> ReplicaLinear(4, 3, 8)(torch.zeros(4, 100, 3)).shape
        torch.Size([4, 100, 8])
    """

    def __init__(self, num_replicas: int, num_inputs: int, num_outputs: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        bound = math.sqrt(1 / max(num_inputs, 1))
        self.weight = nn.Parameter(_uniform((num_replicas, num_inputs, num_outputs), bound, generator))
        self.bias = nn.Parameter(_uniform((num_replicas, 1, num_outputs), bound, generator))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[replica, rows, inputs]`` to ``[replica, rows, outputs]``."""
        return torch.baddbmm(self.bias, x, self.weight)


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator | None) -> Tensor:
    return (2 * torch.rand(shape, generator=generator) - 1) * bound


class ReplicaMlp(nn.Sequential):
    """Fully connected network of each replica.

    Args:
        num_replicas: length of the leading axis.
        sizes: number of columns of the input, of every hidden layer and of the output.
        activation: ``silu``, ``gelu``, ``tanh``, ``leaky-relu`` or ``softplus``.
        generator: source of the initial weights.

    Raises:
        SettingsError: an unknown activation.

    Example:
        >>> ReplicaMlp(2, (3, 16, 16, 1))(torch.zeros(2, 5, 3)).shape
        torch.Size([2, 5, 1])
    """

    def __init__(
        self, num_replicas: int, sizes: Sequence[int], *, activation: str = "silu", generator: torch.Generator | None = None
    ) -> None:
        if activation not in _ACTIVATIONS:
            raise SettingsError(f"there is no activation '{activation}'; the allowed ones are {sorted(_ACTIVATIONS)}.")
        layers: list[nn.Module] = []
        for num_inputs, num_outputs in zip(sizes[:-1], sizes[1:], strict=True):
            layers += [ReplicaLinear(num_replicas, num_inputs, num_outputs, generator=generator), _ACTIVATIONS[activation]()]
        super().__init__(*layers[:-1])
