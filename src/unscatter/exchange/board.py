"""What asynchronous ranks say to one another outside of the steps: the start, the end of a round, the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor

from unscatter.errors import PeerLostError
from unscatter.exchange.rendezvous import Rendezvous

#: Seconds between two looks while waiting.
_POLL_S = 0.02
#: Longest time to judge a fit.
_VERDICT_S = 3600.0
#: Seconds for which an answer about a request to stop is good.
_STOP_S = 0.2

IsLost = Callable[[int], bool]


@dataclass(eq=False)
class Board:
    """Meetings of ranks of which any may be missing; every wait is bounded.

    Every meeting has a number, the same on all ranks, since all hold the same meetings in the same order: starts are counted through the
    job, sums within the fit that a start has begun, and a verdict has the number of the sums that it is about.  Whoever leads a meeting may
    die or be stopped in it, so that another rank leads it as well; what the first of them has said stands.

    Args:
        rendezvous: where values are kept.
        straggler_s: once half of the ranks have finished a round, the others are told after so many seconds to come as they are.
    """

    rendezvous: Rendezvous
    straggler_s: float = 5.0
    num_starts: int = 0
    """How many fits have been begun."""
    speaker: int | None = None
    """Who gave the last verdict."""
    _num_sums: int = 0
    """In this fit."""
    _joins_at: int = 0
    """Number of the sums from which a rank that was started again takes part."""
    _stop: bool = False
    _asked_at: float = 0.0

    @property
    def rank(self) -> int:
        """Number of this rank."""
        return self.rendezvous.world.rank

    @property
    def num_ranks(self) -> int:
        """Number of ranks."""
        return self.rendezvous.world.size

    def share(self, tensors: Mapping[str, Tensor], *, is_lost: IsLost) -> dict[str, Tensor]:
        """Tensors of the first rank that is there, on all ranks.

        Raises:
            PeerLostError: it has not come in time.
        """
        key = f"start/{self.num_starts}"
        self.num_starts, self._num_sums = self.num_starts + 1, self._joins_at
        self._joins_at = 0
        return _like(tensors, self._from_first(key, lambda: save(_packed(tensors)), is_lost))

    def agree(self, text: str, *, is_lost: IsLost) -> str:
        """What the first rank that is there says about the last sums, on all ranks; it may take its time, as long as it is there.

        Raises:
            PeerLostError: it has said nothing for an hour.
        """
        key = f"verdict/{self.num_starts}.{self._num_sums}"
        verdict = self._from_first(key, lambda: text.encode(), is_lost, patience_s=_VERDICT_S).decode()
        self.speaker = int(self.rendezvous.get(key))
        return verdict

    def total(self, tensors: Mapping[str, Tensor], *, is_lost: IsLost) -> dict[str, Tensor]:
        """Sums over the ranks, the same bits on all; ranks that are lost, or do not come in time, are missing in them.

        Raises:
            PeerLostError: nobody brought the sums together in time.
        """
        meeting = self._sums
        self._num_sums += 1
        # What a rank has said before it was killed and started again stands.
        if not self.rendezvous.has(f"{meeting}/{self.rank}"):
            self.rendezvous.put_long(f"{meeting}/{self.rank}", save(_packed(tensors)))
            self.rendezvous.count(f"{meeting}/count")
        collector = _Collector(self, meeting, tensors, time.monotonic())
        while not self.rendezvous.has(f"{meeting}/result"):
            if collector.leads(is_lost) and collector.ready(is_lost):
                self.rendezvous.offer_long(f"{meeting}/result", save(_packed(collector.sums())))
            # The collector itself gives up waiting after one time-out; the others give it another one.
            if time.monotonic() - collector.begin > 2 * self.rendezvous.timeout_s:
                raise PeerLostError(
                    f"rank {self.rank} of {self.num_ranks} has waited {2 * self.rendezvous.timeout_s:g} s for the end of a round."
                )
            time.sleep(_POLL_S)
        return _like(tensors, self.rendezvous.get_offered(f"{meeting}/result"))

    def is_over(self) -> bool:
        """Whether the round has ended for most ranks, so that this one is waited for or is already missing in the sums."""
        return self.rendezvous.has(f"{self._sums}/over") or self.rendezvous.has(f"{self._sums}/result")

    def request_stop(self) -> None:
        """Ask all ranks to stop."""
        if not self._stop:
            self._stop = True
            self.rendezvous.put("stop", b"1")

    def stop_requested(self) -> bool:
        """Whether somebody has asked to stop; the board is looked at every fifth of a second."""
        if not self._stop and time.monotonic() - self._asked_at > _STOP_S:
            self._asked_at = time.monotonic()
            self._stop = self.rendezvous.has("stop")
        return self._stop

    def catch_up(self) -> None:
        """Begin with the last meetings that the others have held, for a rank that was started again while they went on.

        The last start holds the constants that all ranks share.  The last sums may be there already: then the rank is a round behind at
        most, and where they were the last ones of the job it ends with what the others have found.
        """
        while self.rendezvous.has(f"start/{self.num_starts + 1}"):
            self.num_starts += 1
        sums = 0
        while self.rendezvous.has(f"sum/{self.num_starts + 1}.{sums + 1}/count"):
            sums += 1
        self._joins_at = sums

    @property
    def _sums(self) -> str:
        """Where the sums of the round that is under way will stand."""
        return f"sum/{self.num_starts}.{self._num_sums}"

    def _from_first(self, key: str, value: Callable[[], bytes], is_lost: IsLost, *, patience_s: float | None = None) -> bytes:
        limit_s = self.rendezvous.timeout_s if patience_s is None else patience_s
        begin = time.monotonic()
        while not self.rendezvous.has(key):
            if all(is_lost(rank) for rank in range(self.rank)):
                self.rendezvous.offer_long(key, value())
            elif time.monotonic() - begin > limit_s:
                raise PeerLostError(
                    f"rank {self.rank} of {self.num_ranks} has waited {limit_s:g} s for rank 0 ('{key}').\n"
                    "See its log, or raise exchange.timeout_s."
                )
            else:
                time.sleep(_POLL_S)
        return self.rendezvous.get_offered(key)


@dataclass(eq=False)
class _Collector:
    """The rank that brings the sums of a round together."""

    board: Board
    meeting: str
    like: Mapping[str, Tensor]
    begin: float
    told: bool = False

    def leads(self, is_lost: IsLost) -> bool:
        """Whether all ranks before this one are lost, or do not come so that somebody else has to see to it."""
        late = time.monotonic() - self.begin > self.board.straggler_s
        return all(is_lost(rank) or (late and not self._is_here(rank)) for rank in range(self.board.rank))

    def ready(self, is_lost: IsLost) -> bool:
        """Whether everybody who can be waited for is there; tells stragglers to come."""
        board, waited = self.board, time.monotonic() - self.begin
        # Nothing is asked of the board beyond one counter until the ranks that are missing matter.
        present = int(board.rendezvous.store.add(f"{self.meeting}/count", 0))
        alive = [rank for rank in range(board.num_ranks) if rank == board.rank or not is_lost(rank)]
        if present >= len(alive) and all(self._is_here(rank) for rank in alive):
            return True
        if not self.told and 2 * present >= len(alive) and waited > board.straggler_s:
            board.rendezvous.put(f"{self.meeting}/over", b"1")
            self.told = True
        return waited > board.rendezvous.timeout_s

    def sums(self) -> dict[str, Tensor]:
        """In the order of the ranks and in double precision, so that everybody who repeats it finds the same."""
        parts = [
            load(self.board.rendezvous.get_long(f"{self.meeting}/{rank}")) for rank in range(self.board.num_ranks) if self._is_here(rank)
        ]
        return {name: _summed([part[name] for part in parts]).to(tensor.dtype) for name, tensor in self.like.items()}

    def _is_here(self, rank: int) -> bool:
        return self.board.rendezvous.has(f"{self.meeting}/{rank}")


def _summed(tensors: list[Tensor]) -> Tensor:
    exact = torch.float64 if tensors[0].is_floating_point() else torch.int64
    return torch.stack([tensor.to(exact) for tensor in tensors]).sum(0)


def _packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _like(tensors: Mapping[str, Tensor], content: bytes) -> dict[str, Tensor]:
    found = load(content)
    return {name: found[name].to(tensor.device) for name, tensor in tensors.items()}
