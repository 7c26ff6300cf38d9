"""What asynchronous ranks say to one another outside of the steps: the start, the end of a round, the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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

    Every meeting has a number, the same on all ranks, since all hold the same meetings in the same order.

    Args:
        rendezvous: where values are kept.
        straggler_s: once half of the ranks have finished a round, the others are told after so many seconds to come as they are.
    """

    rendezvous: Rendezvous
    straggler_s: float = 5.0
    _meetings: dict[str, int] = field(default_factory=dict)
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

    @property
    def num_starts(self) -> int:
        """How many fits have been begun."""
        return self._meetings.get("start", 0)

    def share(self, tensors: Mapping[str, Tensor], *, is_lost: IsLost) -> dict[str, Tensor]:
        """Tensors of the first rank that is there, on all ranks.

        Raises:
            PeerLostError: it has not come in time.
        """
        return _like(tensors, self._from_first("start", lambda: save(_packed(tensors)), is_lost))

    def agree(self, text: str, *, is_lost: IsLost) -> str:
        """What the first rank that is there says, on all ranks; it may take its time, as long as it is there.

        Raises:
            PeerLostError: it has said nothing for an hour.
        """
        return self._from_first("verdict", lambda: text.encode(), is_lost, patience_s=_VERDICT_S).decode()

    def total(self, tensors: Mapping[str, Tensor], *, is_lost: IsLost) -> dict[str, Tensor]:
        """Sums over the ranks, the same bits on all; ranks that are lost, or do not come in time, are missing in them.

        Raises:
            PeerLostError: nobody brought the sums together in time.
        """
        number = self._next("sum")
        self.rendezvous.put_long(f"sum/{number}/{self.rank}", save(_packed(tensors)))
        self.rendezvous.count(f"sum/{number}/count")
        collector = _Collector(self, number, tensors, time.monotonic())
        while not self.rendezvous.has(f"sum/{number}/result"):
            if self._leads(is_lost) and collector.ready(is_lost):
                self.rendezvous.put_long(f"sum/{number}/result", save(_packed(collector.sums())))
            # The collector itself gives up waiting after one time-out; the others give it another one.
            if time.monotonic() - collector.begin > 2 * self.rendezvous.timeout_s:
                raise PeerLostError(
                    f"rank {self.rank} of {self.num_ranks} has waited {2 * self.rendezvous.timeout_s:g} s for the end of a round."
                )
            time.sleep(_POLL_S)
        return _like(tensors, self.rendezvous.get_long(f"sum/{number}/result"))

    def is_over(self) -> bool:
        """Whether the round has ended for most ranks and this one is waited for."""
        return self.rendezvous.has(f"over/{self._meetings.get('sum', 0)}")

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
        """Take part from the next meeting on, for a rank that was started again while the others went on."""
        for kind in ("start", "sum", "verdict"):
            held = f"{kind}/held"
            # The last start is repeated: it holds the constants that all ranks share.
            last = int(self.rendezvous.get(held)) if self.rendezvous.has(held) else -1
            self._meetings[kind] = max(last, 0) if kind == "start" else last + 1

    def _from_first(self, kind: str, value: Callable[[], bytes], is_lost: IsLost, *, patience_s: float | None = None) -> bytes:
        limit_s = self.rendezvous.timeout_s if patience_s is None else patience_s
        number = self._next(kind)
        key, begin = f"{kind}/{number}", time.monotonic()
        while not self.rendezvous.has(key):
            if self._leads(is_lost):
                self.rendezvous.put_long(key, value())
            elif time.monotonic() - begin > limit_s:
                raise PeerLostError(
                    f"rank {self.rank} of {self.num_ranks} has waited {limit_s:g} s for rank 0 ('{kind}').\n"
                    "See its log, or raise exchange.timeout_s."
                )
            else:
                time.sleep(_POLL_S)
        return self.rendezvous.get_long(key)

    def _next(self, kind: str) -> int:
        number = self._meetings.get(kind, 0)
        self._meetings[kind] = number + 1
        self.rendezvous.put(f"{kind}/held", str(number).encode())
        return number

    def _leads(self, is_lost: IsLost) -> bool:
        return all(is_lost(rank) for rank in range(self.rank))


@dataclass(eq=False)
class _Collector:
    """The rank that brings the sums of a round together."""

    board: Board
    number: int
    like: Mapping[str, Tensor]
    begin: float
    told: bool = False

    def ready(self, is_lost: IsLost) -> bool:
        """Whether everybody who can be waited for is there; tells stragglers to come."""
        board, waited = self.board, time.monotonic() - self.begin
        # Nothing is asked of the board beyond one counter until the ranks that are missing matter.
        present = int(board.rendezvous.store.add(f"sum/{self.number}/count", 0))
        alive = [rank for rank in range(board.num_ranks) if rank == board.rank or not is_lost(rank)]
        if present >= len(alive) and all(self._is_here(rank) for rank in alive):
            return True
        if not self.told and 2 * present >= len(alive) and waited > board.straggler_s:
            board.rendezvous.put(f"over/{self.number}", b"1")
            self.told = True
        return waited > board.rendezvous.timeout_s

    def sums(self) -> dict[str, Tensor]:
        """In the order of the ranks and in double precision, so that everybody who repeats it finds the same."""
        parts = [
            load(self.board.rendezvous.get_long(f"sum/{self.number}/{rank}")) for rank in range(self.board.num_ranks) if self._is_here(rank)
        ]
        return {name: _summed([part[name] for part in parts]).to(tensor.dtype) for name, tensor in self.like.items()}

    def _is_here(self, rank: int) -> bool:
        return self.board.rendezvous.has(f"sum/{self.number}/{rank}")


def _summed(tensors: list[Tensor]) -> Tensor:
    exact = torch.float64 if tensors[0].is_floating_point() else torch.int64
    return torch.stack([tensor.to(exact) for tensor in tensors]).sum(0)


def _packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _like(tensors: Mapping[str, Tensor], content: bytes) -> dict[str, Tensor]:
    found = load(content)
    return {name: found[name].to(tensor.device) for name, tensor in tensors.items()}
