"""What a rank does with its generator's flat gradient before the step and with its flat weights after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Exchange(Protocol):
    """Shares a generator between ranks; knows flat tensors and ranks, not methods."""

    def before_step(self, gradient: Tensor) -> Tensor:
        """Combine the flat gradient ``[replica, parameters]`` with those of other ranks."""
        ...

    def after_step(self, weights: Tensor) -> Tensor:
        """Combine the flat weights ``[replica, parameters]`` with those of other ranks."""
        ...

    def statistics(self) -> dict[str, float]:
        """Figures for the metrics, for instance the staleness in steps."""
        ...

    def close(self) -> None:
        """Give back what the exchange holds."""
        ...


@dataclass(frozen=True)
class NoExchange:
    """The exchange ``none``: ranks are independent, so gradients and weights stay as they are."""

    def before_step(self, gradient: Tensor) -> Tensor:
        """Return the gradient of this rank."""
        return gradient

    def after_step(self, weights: Tensor) -> Tensor:
        """Return the weights of this rank."""
        return weights

    def statistics(self) -> dict[str, float]:
        """Return nothing: there is nothing to measure."""
        return {}

    def close(self) -> None:
        """Hold nothing, so give nothing back."""
