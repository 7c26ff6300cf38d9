"""The part of the exchange protocol in which all synchronous exchanges are alike."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping

from torch import Tensor

from unscatter.exchange.collectives.contribution import Combined
from unscatter.exchange.collectives.peers import Peers


class Synchronous(ABC):
    """Forwards to the peers; a concrete exchange adds what happens before or after a step."""

    _peers: Peers

    @property
    def rank(self) -> int:
        """Number of this rank, from 0."""
        return self._peers.rank

    @property
    def num_ranks(self) -> int:
        """Ranks that share a generator."""
        return self._peers.num_ranks

    @property
    def leads(self) -> bool:
        """Whether this is rank 0: a synchronous exchange ends when a rank is lost, so nobody takes its place."""
        return self._peers.rank == 0

    @property
    def step_scale(self) -> float:
        """One: all ranks make the same step."""
        return 1.0

    @property
    def in_step(self) -> bool:
        """Yes: all ranks make the same steps."""
        return True

    def start(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of rank 0 on all ranks, bit for bit.

        Raises:
            DisagreementError: ranks have tensors of other names, types or shapes; raised on all of them.
            PeerLostError: a rank is missing.
        """
        self._restart()
        self._peers.stop_agreed = False
        return self._peers.broadcast(tensors)

    def before_step(self, gradient: Tensor) -> Tensor:
        """Count the step and return the gradient of this rank."""
        self._peers.count_step()
        return gradient

    def after_step(self, weights: Tensor) -> Tensor:
        """Return the weights of this rank."""
        return weights

    def round_over(self) -> bool:
        """Never: all ranks finish a round together."""
        return False

    def total(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums over the ranks in float64 or int64, the same bits on all of them; types are kept."""
        return self._peers.total(tensors)

    def agree(self, text: str) -> str:
        """What rank 0 says, on all ranks; it may take its time, as long as it is there.

        Raises:
            PeerLostError: it is lost, or has said nothing for an hour.
        """
        return self._peers.hear(text)

    def request_stop(self) -> None:
        """Ask all ranks to stop; the request travels with the next exchange."""
        self._peers.stop_requested = True

    def stop_agreed(self) -> bool:
        """Whether all ranks are to stop after this step: the same answer on all of them."""
        return self._peers.stop_agreed

    def statistics(self) -> dict[str, float]:
        """``steps``, ``waited_s`` (seconds in which this rank waited), ``bytes_sent``, ``skipped_contributions`` (rows not finite)."""
        return self._peers.statistics()

    def close(self) -> None:
        """Leave and give back connections and threads."""
        self._peers.close()

    def _restart(self) -> None:
        """What an exchange has to forget when another round begins."""
        return

    def _note(self, result: Combined) -> Tensor:
        """Count what was left out, remember whether to stop, and return the mean."""
        self._peers.tally.skipped_contributions += result.skipped
        self._peers.stop_agreed = self._peers.stop_agreed or result.stop
        return result.mean
