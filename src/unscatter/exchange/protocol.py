"""What a rank does with its generator's flat gradient before the step and with its flat weights after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Exchange(Protocol):
    """Shares a generator between ranks; knows flat tensors and ranks, not methods.

    A fit calls :meth:`start` once, then at every step :meth:`before_step` and :meth:`after_step`, and :meth:`total` at the end of a round.
    Every call that waits for other ranks ends with an error when its time-out has passed.
    """

    @property
    def rank(self) -> int:
        """Number of this rank within the group that shares a generator, from 0."""
        ...

    @property
    def num_ranks(self) -> int:
        """Ranks that share a generator, those that were lost included."""
        ...

    @property
    def leads(self) -> bool:
        """Whether this rank judges the fit and writes down its result: the first one that is still there."""
        ...

    @property
    def in_step(self) -> bool:
        """Whether all ranks make the same steps, so that they have to be resumed from checkpoints of the same one."""
        ...

    @property
    def step_scale(self) -> float:
        """Factor for the generator's next step, one with synchronous exchanges."""
        ...

    def start(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Begin a fit, or another round of it: the constants and first weights of the leading rank, on all ranks.

        Raises:
            PeerLostError: a rank is missing after the time-out.
        """
        ...

    def before_step(self, gradient: Tensor) -> Tensor:
        """Combine the flat gradient ``[replica, parameters]`` with those of other ranks."""
        ...

    def after_step(self, weights: Tensor) -> Tensor:
        """Combine the flat weights ``[replica, parameters]`` with those of other ranks.

        The tensor belongs to the exchange from here on, which may change it in place.
        """
        ...

    def round_over(self) -> bool:
        """Whether the others have finished this round and wait for this rank to come to :meth:`total` as it is.

        Never with a synchronous exchange, where all ranks finish a round together.
        """
        ...

    def total(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums over the ranks, the same bits on all of them: what each has found in a round, brought together at its end."""
        ...

    def agree(self, text: str) -> str:
        """What the leading rank says, on all ranks."""
        ...

    def request_stop(self) -> None:
        """Ask all ranks to stop after a step, as when one of them receives a signal."""
        ...

    def stop_agreed(self) -> bool:
        """Whether all ranks are to stop after this step; synchronous exchanges say so at the same step everywhere."""
        ...

    def statistics(self) -> dict[str, float]:
        """Figures for the metrics, for instance the staleness in steps."""
        ...

    def close(self) -> None:
        """Give back what the exchange holds."""
        ...


@dataclass
class NoExchange:
    """The exchange of a world of one rank: nothing to combine, nobody to wait for."""

    _stop: bool = False

    @property
    def rank(self) -> int:
        """The only one, 0."""
        return 0

    @property
    def num_ranks(self) -> int:
        """One."""
        return 1

    @property
    def leads(self) -> bool:
        """Always."""
        return True

    @property
    def in_step(self) -> bool:
        """With itself."""
        return True

    @property
    def step_scale(self) -> float:
        """One."""
        return 1.0

    def start(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of this rank."""
        return dict(tensors)

    def before_step(self, gradient: Tensor) -> Tensor:
        """Return the gradient of this rank."""
        return gradient

    def after_step(self, weights: Tensor) -> Tensor:
        """Return the weights of this rank."""
        return weights

    def round_over(self) -> bool:
        """Never: there are no others."""
        return False

    def total(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of this rank."""
        return dict(tensors)

    def agree(self, text: str) -> str:
        """Return the text."""
        return text

    def request_stop(self) -> None:
        """Remember it."""
        self._stop = True

    def stop_agreed(self) -> bool:
        """Whether it was requested."""
        return self._stop

    def statistics(self) -> dict[str, float]:
        """Return nothing: there is nothing to measure."""
        return {}

    def close(self) -> None:
        """Hold nothing, so give nothing back."""
