"""Who watches the loop: progress bars, run directories, the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Observer(Protocol):
    """Told what the loop does; may ask it to stop."""

    def started(self, first_step: int, last_step: int) -> None:
        """The loop goes on from ``first_step`` to ``last_step``, where this round ends; called once per round."""
        ...

    def progressed(self, record: Mapping[str, Any]) -> None:
        """One record of the metrics, with ``step``, ``seconds``, losses and parameters."""
        ...

    def checkpoint(self, step: int, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Everything that is needed to go on from here."""
        ...

    def stop_requested(self) -> bool:
        """Whether the loop should leave a checkpoint and return."""
        ...


@runtime_checkable
class PilotObserver(Protocol):
    """An observer that also wants to hear of the pilot, the fit that an ensemble starts from."""

    def piloted(self, steps_done: int, steps: int) -> None:
        """The pilot has done so many of its steps."""
        ...


@dataclass(frozen=True)
class Observers:
    """Several observers as one.

    Args:
        members: told in this order.
    """

    members: Sequence[Observer] = ()

    def piloted(self, steps_done: int, steps: int) -> None:
        """Tell those who want to hear it."""
        for member in self.members:
            if isinstance(member, PilotObserver):
                member.piloted(steps_done, steps)

    def started(self, first_step: int, last_step: int) -> None:
        """Tell all."""
        for member in self.members:
            member.started(first_step, last_step)

    def progressed(self, record: Mapping[str, Any]) -> None:
        """Tell all."""
        for member in self.members:
            member.progressed(record)

    def checkpoint(self, step: int, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Tell all."""
        for member in self.members:
            member.checkpoint(step, tensors, scalars)

    def stop_requested(self) -> bool:
        """Whether any member asks."""
        return any(member.stop_requested() for member in self.members)
