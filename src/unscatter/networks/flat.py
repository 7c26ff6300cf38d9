"""Modules as functions of one flat vector per replica: what optimisers step and exchanges send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unscatter.errors import ShapeError


@dataclass(frozen=True, eq=False)
class FlatModule:
    """A module whose parameters are given with every call as one tensor ``[replica, num_parameters]``.

    Args:
        module: plain module; the first axis of each of its parameters is a multiple of ``num_replicas``.
        num_replicas: length of the replica axis.

    Raises:
        ShapeError: a parameter without the replica axis.

    Example:
        >>> from unscatter.networks import ReplicaLinear
        >>> linear = FlatModule(ReplicaLinear(3, 2, 5), 3)
        >>> linear.initial().shape
        torch.Size([3, 15])
        >>> linear(linear.initial(), torch.zeros(3, 7, 2)).shape
        torch.Size([3, 7, 5])
    """

    module: nn.Module
    num_replicas: int

    def __post_init__(self) -> None:
        for name, parameter in self.module.named_parameters():
            if parameter.ndim == 0 or parameter.shape[0] % self.num_replicas:
                raise ShapeError(
                    f"parameter '{name}' has the shape {tuple(parameter.shape)}, "
                    f"whose first axis is not a multiple of {self.num_replicas} replicas.\n"
                    "Give every parameter the replica axis first, or wrap the module: Replicated([module_0, module_1, ...])."
                )

    @property
    def num_parameters(self) -> int:
        """Parameters of one replica."""
        return sum(p.numel() for p in self.module.parameters()) // self.num_replicas

    def initial(self) -> Tensor:
        """The parameters that the module holds, ``[replica, num_parameters]``."""
        return torch.cat([p.detach().reshape(self.num_replicas, -1) for p in self.module.parameters()], 1)

    def unflatten(self, flat: Tensor) -> dict[str, Tensor]:
        """Parameters by name, as views or copies that carry gradients back to ``flat``."""
        named = dict(self.module.named_parameters())
        parts = flat.split([p.numel() // self.num_replicas for p in named.values()], 1)
        return {name: part.reshape(p.shape) for (name, p), part in zip(named.items(), parts, strict=True)}

    def __call__(self, flat: Tensor, *inputs: Tensor) -> Tensor:
        """Call the module with the parameters of ``flat``."""
        return torch.func.functional_call(self.module, self.unflatten(flat), inputs)


class Replicated(nn.Module):
    """Several copies of any plain module side by side, batched by :func:`torch.func.vmap`.

    For users' own networks that know nothing of replicas.

    Args:
        modules: one module per replica, all of the same structure.

    Example:
        >>> Replicated([torch.nn.Linear(2, 5) for _ in range(3)])(torch.zeros(3, 7, 2)).shape
        torch.Size([3, 7, 5])
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        parameters, buffers = torch.func.stack_module_state(list(modules))
        self._names = {name.replace(".", "__"): name for name in parameters}
        self._buffers_by_name = buffers
        # Hidden in a tuple: the template's own parameters must not be registered beside the stacked ones.
        self._template = (modules[0],)
        for key, name in self._names.items():
            self.register_parameter(key, nn.Parameter(parameters[name].detach().clone()))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Call copy ``r`` on ``inputs[..][r]``."""
        parameters = {name: getattr(self, key) for key, name in self._names.items()}

        def call(parameters: dict[str, Tensor], buffers: dict[str, Tensor], *arguments: Tensor) -> Tensor:
            return torch.func.functional_call(self._template[0], (parameters, buffers), arguments)

        return torch.func.vmap(call)(parameters, self._buffers_by_name, *inputs)
