"""The weights of a rank between the device where they are trained and main memory, where messages come and go.

Copies from and to a GPU go through pinned memory on a stream of their own, and nobody waits for them: a message is sent at the first step
that finds its copy complete, with the weights as they were when the copy was begun; what has come is averaged in by the device as soon as
it is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from unscatter.exchange.transports.buffers import blend_, copy, payload_sum


@runtime_checkable
class Snapshot(Protocol):
    """The weights as they were at a moment, on their way to main memory."""

    def ready(self) -> bool:
        """Whether they have arrived."""
        ...

    def take(self) -> tuple[Tensor, float]:
        """The flat weights and their sum, once they are ready; valid until the next snapshot or blend."""
        ...


@runtime_checkable
class Staging(Protocol):
    """Where the weights of one rank are, and how they meet those in messages."""

    def current(self) -> Tensor:
        """The weights as they are now, in the shape and on the device of those that were adopted."""
        ...

    def adopt(self, weights: Tensor) -> None:
        """Go on with the weights after another step; they are changed in place."""
        ...

    def blend(self, payload: Tensor, share: float) -> None:
        """Average with what a message brings: it counts ``share``, the weights the rest."""
        ...

    def snapshot(self) -> Snapshot:
        """Begin to copy the weights to main memory."""
        ...


def staging_for(weights: Tensor) -> Staging:
    """The staging that suits the device of the weights.

    Example:
        >>> staging = staging_for(torch.zeros(1, 2))
        >>> staging.adopt(torch.zeros(1, 2))
        >>> staging.blend(torch.tensor([2.0, 4.0]), 0.5)
        >>> staging.snapshot().take(), staging.current()
        ((tensor([1., 2.]), 3.0), tensor([[1., 2.]]))
    """
    return DeviceStaging(weights.device, weights.numel(), weights.dtype) if weights.is_cuda else HostStaging()


class HostStaging:
    """Weights in main memory: nothing has to be copied, unless they do not lie there in one piece."""

    _given: Tensor
    _flat: Tensor
    _total: float | None

    def current(self) -> Tensor:
        """The weights as they are now."""
        return self._flat.to(self._given.device).view_as(self._given) if self._is_copy else self._flat.view_as(self._given)

    def adopt(self, weights: Tensor) -> None:
        """Go on with the weights after another step."""
        # The short way first: with cold caches a call of PyTorch takes as long as copying ten thousand numbers.
        self._is_copy = not (weights.is_cpu and weights.is_contiguous())
        self._given, self._total = weights, None
        self._flat = weights.detach().reshape(-1).cpu() if self._is_copy else weights.detach().view(-1)

    def blend(self, payload: Tensor, share: float) -> None:
        """Average with what a message brings."""
        self._total = blend_(self._flat, payload, share)

    def snapshot(self) -> HostStaging:
        """The weights themselves: they are sent before the next step changes them."""
        return self

    def ready(self) -> bool:
        """At once."""
        return True

    def take(self) -> tuple[Tensor, float]:
        """The flat weights and their sum."""
        return self._flat, payload_sum(self._flat) if self._total is None else self._total


@dataclass(frozen=True, eq=False)
class _Slot:
    """Memory for one copy on its way: the same numbers on the host, pinned, and on the device."""

    host: Tensor
    device: Tensor
    passed: torch.cuda.Event
    """The last use of this memory that was queued."""


@dataclass(frozen=True, eq=False)
class _DeviceSnapshot:
    slot: _Slot
    give_back: Callable[[_Slot], None]

    def ready(self) -> bool:
        """Whether the copy is complete."""
        return self.slot.passed.query()

    def take(self) -> tuple[Tensor, float]:
        """The flat weights, pinned, and their sum."""
        self.give_back(self.slot)
        return self.slot.host, payload_sum(self.slot.host)


class DeviceStaging:
    """Weights on a GPU.

    The stream of the training thread only ever gets short work: a copy within the device, or an average that waits for its numbers on the
    device and not on the host.

    Args:
        device: where the weights are.
        num_parameters: how many.
        dtype: their type.
    """

    _given: Tensor
    _flat: Tensor

    def __init__(self, device: torch.device, num_parameters: int, dtype: torch.dtype) -> None:
        self._device, self._num_parameters, self._dtype = device, num_parameters, dtype
        self._side = torch.cuda.Stream(device)
        self._slots: list[_Slot] = []

    def current(self) -> Tensor:
        """The weights as they are now."""
        return self._flat.view_as(self._given)

    def adopt(self, weights: Tensor) -> None:
        """Go on with the weights after another step."""
        self._given, self._flat = weights, weights.detach().reshape(-1)

    def blend(self, payload: Tensor, share: float) -> None:
        """Queue the average: over the side stream to the device, then into the weights."""
        slot, compute = self._idle_slot(), torch.cuda.current_stream(self._device)
        copy(payload, slot.host)
        with torch.cuda.stream(self._side):
            slot.device.copy_(slot.host, non_blocking=True)
            slot.passed.record(self._side)
        compute.wait_event(slot.passed)
        if share == 1.0:
            self._flat.copy_(slot.device)
        else:
            self._flat.lerp_(slot.device, share)
        slot.passed.record(compute)
        self._slots.append(slot)

    def snapshot(self) -> _DeviceSnapshot:
        """Queue the copy: within the device, so that later steps may change the weights, then over the side stream to the host."""
        slot, compute = self._idle_slot(), torch.cuda.current_stream(self._device)
        slot.device.copy_(self._flat)
        slot.passed.record(compute)
        self._side.wait_event(slot.passed)
        with torch.cuda.stream(self._side):
            slot.host.copy_(slot.device, non_blocking=True)
            slot.passed.record(self._side)
        return _DeviceSnapshot(slot, self._slots.append)

    def _idle_slot(self) -> _Slot:
        """Memory that no queued work uses any more; more of it where all is in use, so that nobody has to wait."""
        for number, slot in enumerate(self._slots):
            if slot.passed.query():
                return self._slots.pop(number)
        host = torch.empty(self._num_parameters, dtype=self._dtype, pin_memory=True)
        return _Slot(host, torch.empty_like(host, device=self._device), torch.cuda.Event())
