"""What every method offers, so that the loop, the runs and the reports do not know which one is at work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from unscatter.arrays import RandomStream
from unscatter.events import EventSource
from unscatter.exchange import Exchange
from unscatter.pipeline import Problem

#: Figures of one step, one value per replica, ``{name: [replica]}``, on the device where they arose.
Metrics = dict[str, Tensor]

StateT = TypeVar("StateT")


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a method says about the parameters, on the CPU, where it is judged and written down.

    Args:
        names: one name per parameter.
        samples: parameters, ``[replica, sample, size]``; a single sample where the method learns a point.
        history: parameters of some earlier steps, ``[record, replica, size]``, oldest first, for the settling test; may be empty.
    """

    names: tuple[str, ...]
    samples: Tensor
    history: Tensor

    @property
    def parameters(self) -> Tensor:
        """Mean over the samples, ``[replica, size]``."""
        return self.samples.mean(1)


@runtime_checkable
class Method(Protocol[StateT]):
    """A way to get from events to parameters; pure with respect to its state."""

    @property
    def name(self) -> str:
        """Name on the command line and in runcards."""
        ...

    def init(
        self,
        problem: Problem,
        events: EventSource,
        rng: RandomStream,
        *,
        num_steps: int,
        exchange: Exchange | None = None,
        device: torch.device | str = "cpu",
        fitted_start: bool = False,
    ) -> StateT:
        """Build the state before the first of ``num_steps`` steps; with ``fitted_start`` the problem starts from a fit to its events."""
        ...

    def step(self, state: StateT, events: EventSource) -> tuple[StateT, Metrics]:
        """Go one step on; the state that was passed in stays valid."""
        ...

    def join(self, state: StateT) -> StateT:
        """The state at the end of a round with what all ranks have found, for judging; every rank has to call this."""
        ...

    def leave_round(self, state: StateT, last_step: int) -> StateT:
        """The state at the end of a round whose last steps are left out, because the other ranks have done theirs."""
        ...

    def current(self, state: StateT) -> Tensor:
        """Parameters that the generator proposes at this step, mean over its noise, ``[replica, size]``."""
        ...

    def result(self, state: StateT) -> Estimate:
        """Say what is known now."""
        ...

    def tensors(self, state: StateT) -> dict[str, Tensor]:
        """Everything that a checkpoint must hold."""
        ...

    def restore(self, state: StateT, tensors: Mapping[str, Tensor]) -> StateT:
        """The state that :meth:`tensors` came from, rebuilt on a fresh state of the same problem and settings."""
        ...

    def uses_rates(self, state: StateT) -> bool:
        """Whether the numbers of events are fitted, beside their shapes."""
        ...

    def skipped(self, state: StateT) -> Tensor:
        """How many steps each replica skipped because they were not finite, ``[..., replica]``."""
        ...

    def skipped_share(self, state: StateT) -> float:
        """Largest share of its steps that any replica skipped."""
        ...

    @property
    def max_skipped(self) -> float:
        """Share of skipped steps beyond which a fit is given up."""
        ...

    def settings_record(self) -> dict[str, Any]:
        """Settings as plain values, for run directories and reports."""
        ...
