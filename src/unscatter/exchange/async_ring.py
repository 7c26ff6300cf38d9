"""The asynchronous ring all-reduce: publish, merge whatever has come, go on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from unscatter.errors import PeerLostError
from unscatter.exchange.board import Board
from unscatter.exchange.groups import Ring, ring_distances
from unscatter.exchange.push_sum import Outgoing, PushSum
from unscatter.exchange.staging import Snapshot, Staging, staging_for
from unscatter.exchange.transports import Header, Message, Transport

#: Seconds between two looks at the mailboxes of a rank that must not go on alone.
_WAIT_S = 0.001
#: Seconds between two looks at the board of a rank whose neighbours have finished, and of any other one, which may be a round behind.
_BOARD_S, _BEHIND_S = 0.2, 2.0


class Lane(NamedTuple):
    """A mailbox in and a mailbox out, at one distance of the ring."""

    number: int
    source: int
    target: int


class Parcel(NamedTuple):
    """A transfer whose weights may still be on their way to main memory."""

    given: Outgoing
    is_new: bool
    """Whether it was not published before."""
    clock: int
    """Of this rank when the weights were copied."""
    snapshot: Snapshot


@dataclass
class RingCounts:
    """What has happened so far; all of it goes to the metrics."""

    steps: int = 0
    published: int = 0
    merged: int = 0
    withheld: int = 0
    """Steps after which the weights were not finite and therefore were not published."""
    waited_s: float = 0.0
    staleness_sum: float = 0.0
    staleness_max: int = 0
    lost: int = 0
    """Ranks that went silent; one that comes back and goes again counts twice."""

    def met(self, lag: int) -> None:
        """Record by how many steps a merged opinion was behind."""
        self.merged += 1
        self.staleness_sum += max(lag, 0)
        self.staleness_max = max(self.staleness_max, lag)


@dataclass(eq=False)
class AsyncRing:
    """Averages weights round the ring without waiting for anybody; see ``docs/exchange.md``.

    After every step a rank merges what its left neighbours at the distances 1, 2, 4, ... have sent, and sends its weights with half of its
    mass to one of its right neighbours, the distances in rotation.  Gradients are not exchanged: what they did to the weights is.

    Args:
        open_transport: opens mailboxes for so many numbers of a type, for the fit of a number, without ranks that were lost before;
            closed with the exchange, or when another fit begins.
        rank: number of this rank.
        num_ranks: number of ranks.
        board: where ranks meet at the start and at the end of a round; None for none, in tests of the ring alone.
        distances: of the ring, one per lane; 1, 2, 4, ... when None.
        max_staleness: steps after which a rank that has heard nothing new waits for news, and beyond which older opinions count less;
            None for neither.
        timeout_s: how long such a rank waits before it gives up.
        first_transfer: see :class:`~unscatter.exchange.push_sum.PushSum`.
        look_every_s: seconds between two looks at who is there.
        stage: how weights come to main memory and back; what suits their device by default.
    """

    open_transport: Callable[[int, torch.dtype, int, frozenset[int]], Transport]
    rank: int
    num_ranks: int
    board: Board | None = None
    distances: tuple[int, ...] | None = None
    max_staleness: int | None = 32
    timeout_s: float = 60.0
    first_transfer: int = 1
    look_every_s: float = 0.1
    stage: Callable[[Tensor], Staging] = staging_for
    counts: RingCounts = field(default_factory=RingCounts)
    _transport: Transport | None = field(default=None, init=False)
    _before: Transport | None = field(default=None, init=False)
    """Mailboxes of the fit before, until those of this one are open."""
    _state: PushSum = field(init=False)
    _staging: Staging | None = field(default=None, init=False)
    _parcels: dict[int, Parcel] = field(default_factory=dict, init=False)
    """By lane."""
    _gone: frozenset[int] = field(default=frozenset(), init=False)
    _ring: Ring = field(init=False)
    _lanes: list[Lane] = field(default_factory=list, init=False)
    _looked_round: float = field(default=-math.inf, init=False)
    _last_news: int = field(default=0, init=False)
    _sound: bool = field(default=True, init=False)
    """Whether the weights were finite when they were last looked at."""
    _absent: frozenset[int] = field(default=frozenset(), init=False)
    """Ranks that were lost before this fit began."""
    _looked_at_board: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._state = PushSum(self.first_transfer, self.max_staleness)
        self._close_ring(frozenset())
        self._looked_round = -math.inf
        self._staging = None
        self._parcels = {}
        self.counts.steps = self._last_news = 0

    @property
    def transport(self) -> Transport:
        """Mailboxes of the fit that is under way."""
        assert self._transport is not None, "mailboxes are opened by the first step"
        return self._transport

    @property
    def leads(self) -> bool:
        """Whether this is the first rank that is still there; after a verdict, whether this rank gave it.

        The latter is so on one rank only, however late the others ask and whoever has left by then.
        """
        if self.board is not None and self.board.speaker is not None:
            return self.board.speaker == self.rank
        return all(self._is_dead(rank) for rank in range(self.rank))

    @property
    def in_step(self) -> bool:
        """No: every rank goes at its own pace."""
        return False

    @property
    def mass(self) -> float:
        """Push-sum mass of this rank and of its transfers that nobody has confirmed."""
        return self._state.total_mass

    @property
    def step_scale(self) -> float:
        """Factor for the next step, see :class:`~unscatter.exchange.push_sum.PushSum`."""
        return self._state.step_scale

    def start(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Begin another fit, with new mailboxes: tensors of the first rank, on all ranks."""
        shared = dict(tensors) if self.board is None else self.board.share(tensors, is_lost=self._is_dead)
        self._absent = frozenset(rank for rank in range(self.num_ranks) if self._is_dead(rank))
        self._leave_before()
        # Others still ask whether this rank is there; it leaves once all of them have come to the new mailboxes.
        self._before, self._transport = self._transport, None
        self._forget()
        return shared

    def before_step(self, gradient: Tensor) -> Tensor:
        """Return the gradient of this rank."""
        return gradient

    def after_step(self, weights: Tensor) -> Tensor:
        """Merge what has come, publish the result, and wait only where nothing has come for too long.

        Raises:
            PeerLostError: no neighbour that seems alive has sent anything within the time-out.
        """
        weights = self.mix(weights)
        return self._wait(weights) if self.isolated else weights

    def mix(self, weights: Tensor) -> Tensor:
        """One exchange, without any wait.

        Args:
            weights: after a step of this rank; changed in place, so that nothing has to be allocated.

        Returns:
            Averaged weights.
        """
        if self._transport is None:
            session = 0 if self.board is None else self.board.num_starts
            self._transport = self.open_transport(weights.numel(), weights.dtype, session, self._absent)
            self._leave_before()
        if self.board is not None:
            self.board.speaker = None
        self.counts.steps += 1
        self._state.clock += 1
        self.transport.beat(self.counts.steps)
        self._look_round()
        if self._staging is None:
            self._staging = self.stage(weights)
        self._staging.adopt(weights)
        self._meet(self._staging)
        return self._staging.current()

    def _meet(self, staging: Staging) -> None:
        """Merge what has come, give to whose turn it is, and send what is ready."""
        self._merge_all(staging)
        self._give(staging)
        self._send()

    @property
    def isolated(self) -> bool:
        """Whether nothing new has come for ``max_staleness`` steps from neighbours that seem alive."""
        if self.max_staleness is None or len(self._ring.members) == 1:
            return False
        return self.counts.steps - self._last_news >= self.max_staleness

    def _wait(self, weights: Tensor) -> Tensor:
        begin, staging = time.monotonic(), self._staging
        assert staging is not None, "only a rank that has exchanged its weights before can be isolated"
        staging.adopt(weights)
        while self.isolated and not self.round_over():
            if time.monotonic() - begin > self.timeout_s:
                raise PeerLostError(self._silence())
            time.sleep(_WAIT_S)
            self._look_round()
            self._meet(staging)
        self.counts.waited_s += time.monotonic() - begin
        return staging.current()

    def _silence(self) -> str:
        sources = sorted({lane.source for lane in self._lanes})
        seen = ", ".join(f"rank {source} (last at step {self.transport.health(source).step})" for source in sources)
        return (
            f"rank {self.rank} of {self.num_ranks} has heard nothing new for {self.timeout_s:g} s at step {self.counts.steps}: {seen}.\n"
            "They seem alive but far behind: see logs/. To go on whatever they do: exchange.max_staleness: null"
        )

    def _close_ring(self, gone: frozenset[int]) -> None:
        """Close the ring over ranks that are gone."""
        self._gone, self._ring = gone, Ring(tuple(range(self.num_ranks))).without(tuple(gone))
        distances = ring_distances(self.num_ranks) if self.distances is None else self.distances
        self._lanes = [
            Lane(number, self._ring.left(self.rank, distance), self._ring.right(self.rank, distance))
            for number, distance in enumerate(distances)
            if distance < len(self._ring.members)
        ]

    def _is_dead(self, rank: int) -> bool:
        """Whether a rank says nothing any more, because it was lost or has left.

        That it has finished its round does not keep it alive: it may be lost while it waits for the others.
        """
        if rank in self._absent or rank == self.rank or self._transport is None:
            return rank in self._absent
        return not self._transport.health(rank).alive

    def _is_lost(self, rank: int) -> bool:
        """Whether a rank is dead without having left in good order."""
        return self._is_dead(rank) and (rank in self._absent or not self.transport.health(rank).done)

    def _is_away(self, rank: int) -> bool:
        """Whether a rank is dead, or has finished its round."""
        return self._is_dead(rank) or self.transport.health(rank).done

    def _look_round(self) -> None:
        """See what was taken; close the ring over ranks that are gone, and open it for those that are back."""
        for lane, under_way in list(self._state.outgoing.items()):
            self._state.book(lane, self.transport.confirmed(under_way.target, lane))
        if time.monotonic() - self._looked_round < self.look_every_s:
            return
        self._looked_round = time.monotonic()
        others = (rank for rank in range(self.num_ranks) if rank != self.rank)
        gone = frozenset(rank for rank in others if self._is_away(rank))
        if gone == self._gone:
            return
        self.counts.lost += sum(self._is_lost(rank) for rank in gone - self._gone)
        self._close_ring(gone)
        for lane, under_way in list(self._state.outgoing.items()):
            if under_way.target in gone:
                self._state.take_back(lane)
        self._last_news = self.counts.steps

    def _merge_all(self, staging: Staging) -> None:
        """Merge the newest message of every lane into the weights."""
        for number, source, _ in self._lanes:
            message = self.transport.poll(source, number)
            if message is None:
                continue
            header = message.header
            if self._state.is_new(source, number, header.transfer):
                self._merge(staging, message)
                self._state.take(source, number, header.transfer, header.share, header.clock)
            self.transport.confirm(source, number, header.transfer)

    def _merge(self, staging: Staging, message: Message) -> None:
        """Average with what has come, which the transport has found whole and finite."""
        header = message.header
        self.counts.met(self._state.clock - header.clock)
        self._last_news = self.counts.steps
        staging.blend(message.payload, self._state.coefficient(header.share, header.clock) if self._sound else 1.0)

    def _give(self, staging: Staging) -> None:
        """Set a share aside for the lane whose turn it is, if its last transfer has been taken, or repeat one that may be lost."""
        if not self._lanes:
            return
        number, _, target = self._lanes[self.counts.steps % len(self._lanes)]
        is_new = self._state.may_give(number, target)
        if is_new or self._state.is_overdue(number):
            given = self._state.give(number, target) if is_new else self._state.repeat(number)
            self._parcels[number] = Parcel(given, is_new, self._state.clock, staging.snapshot())

    def _send(self) -> None:
        """Publish the parcels whose weights are in main memory."""
        for number, parcel in list(self._parcels.items()):
            if not parcel.snapshot.ready():
                continue
            del self._parcels[number]
            flat, total = parcel.snapshot.take()
            given = parcel.given
            if self._state.outgoing.get(number) is not given:  # taken back meanwhile
                continue
            self._sound = math.isfinite(total)
            if self._sound:
                self.transport.publish(given.target, number, Header(given.transfer, given.version, parcel.clock, given.share, total), flat)
                self.counts.published += 1
            else:
                self.counts.withheld += 1
                if parcel.is_new:
                    self._state.take_back(number)

    def total(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums over the ranks that are there; those that were lost are missing in it."""
        if self.board is None:
            return dict(tensors)
        if self._transport is not None:
            self._transport.beat(self.counts.steps, done=True)
        sums = self.board.total(tensors, is_lost=self._is_dead)
        if self._transport is not None:
            # Who was lost meanwhile is counted.
            self._looked_round = -math.inf
            self._look_round()
        return sums

    def round_over(self) -> bool:
        """Whether the others have finished this round and wait for this rank to come to them."""
        period_s = _BOARD_S if self._gone or self.isolated else _BEHIND_S
        if self.board is None or time.monotonic() - self._looked_at_board < period_s:
            return False
        self._looked_at_board = time.monotonic()
        return self.board.is_over()

    def agree(self, text: str) -> str:
        """What the leading rank says, on all ranks."""
        return text if self.board is None else self.board.agree(text, is_lost=self._is_dead)

    def request_stop(self) -> None:
        """Ask all ranks to stop."""
        if self.board is not None:
            self.board.request_stop()

    def stop_agreed(self) -> bool:
        """Whether somebody has asked to stop; ranks may hear of it at different steps."""
        return self.board is not None and self.board.stop_requested()

    def statistics(self) -> dict[str, float]:
        """Counts of this rank, the staleness in steps, and what the transport counts."""
        counts = self.counts
        return {
            "published": counts.published,
            "merged": counts.merged,
            "withheld": counts.withheld,
            "waited_s": counts.waited_s,
            "staleness": counts.staleness_sum / max(counts.merged, 1),
            "max_staleness": counts.staleness_max,
            "lost_ranks": counts.lost,
            "mass": self.mass,
            **({} if self._transport is None else self._transport.statistics()),
        }

    def close(self) -> None:
        """Leave in good order."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        self._leave_before()

    def _leave_before(self) -> None:
        if self._before is not None:
            self._before.close()
            self._before = None
