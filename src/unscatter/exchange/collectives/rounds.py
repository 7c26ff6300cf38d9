"""Which contribution goes into which round of a quorum: arithmetic without any communication."""

from __future__ import annotations

from torch import Tensor

from unscatter.errors import SettingsError


class Rounds:
    r"""Adds contributions up until enough ranks are there, and then begins the next sum.

    Round :math:`k` closes as soon as

    - ``quorum`` ranks have contributed their step :math:`k`, and
    - every rank has contributed its step :math:`k` - ``max_lag``.

    Its result is the sum of everything that came since round :math:`k-1` closed, late contributions to earlier steps included.  So each
    contribution is in exactly one result, and the results add up to the contributions.

    Args:
        num_ranks: ranks that contribute, each its steps 1, 2, 3, ... in order.
        quorum: ranks that a round waits for, from 1 to all.
        max_lag: steps that a rank may be behind; 0 waits for all ranks.

    Raises:
        SettingsError: ``quorum`` or ``max_lag`` is out of range.

    Example:
        >>> import torch
        >>> rounds = Rounds(3, quorum=2, max_lag=8)
        >>> rounds.add(0, torch.tensor([1.0]))
        >>> rounds.add(2, torch.tensor([10.0]))
        >>> rounds.result(1)
        (tensor([11.]), 2)

        What comes late is in the next round:

        >>> for rank, value in (1, 100.0), (0, 2.0), (2, 20.0):
        ...     rounds.add(rank, torch.tensor([value]))
        >>> rounds.result(2)
        (tensor([122.]), 3)
    """

    def __init__(self, num_ranks: int, *, quorum: int, max_lag: int) -> None:
        if not 1 <= quorum <= num_ranks:
            raise SettingsError(f"a quorum of {quorum} out of {num_ranks} ranks is impossible: set exchange.quorum from 1 to {num_ranks}.")
        if max_lag < 0:
            raise SettingsError(f"no rank can be {max_lag} steps behind: set exchange.max_lag to 0 or more.")
        self._quorum, self._max_lag = quorum, max_lag
        self._steps = [0] * num_ranks
        self._sum: Tensor | None = None
        self._parts = 0
        self._results: dict[int, tuple[Tensor, int]] = {}
        self.closed = 0

    @property
    def left_over(self) -> int:
        """Contributions that came after the last round closed."""
        return self._parts

    def step(self, rank: int) -> int:
        """Contributions of a rank so far."""
        return self._steps[rank]

    def add(self, rank: int, buffer: Tensor) -> None:
        """Take the contribution of a rank to its next step; the buffer is kept."""
        self._steps[rank] += 1
        self._sum = buffer if self._sum is None else self._sum.add_(buffer)
        self._parts += 1
        self._close_if_ready()

    def result(self, step: int) -> tuple[Tensor, int]:
        """Sum of the contributions in a closed round, and their number."""
        return self._results[step]

    def _close_if_ready(self) -> None:
        step = self.closed + 1
        on_time = sum(done >= step for done in self._steps)
        if on_time < self._quorum or min(self._steps) < step - self._max_lag or self._sum is None:
            return
        self._results[step] = self._sum, self._parts
        self._sum, self._parts, self.closed = None, 0, step
        self._forget(min(self._steps))

    def _forget(self, step: int) -> None:
        """Drop results that nobody can ask for any more: ranks ask in order, each after its contribution."""
        for old in [number for number in self._results if number < step]:
            del self._results[old]
