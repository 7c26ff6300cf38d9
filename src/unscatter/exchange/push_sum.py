r"""Push-sum in opinions: the arithmetic of the asynchronous ring, without any communication.

Every rank holds an opinion :math:`z_i` (its weights) and a positive mass :math:`w_i`, one at the start.  A **transfer** gives a share of
the mass away together with the opinion that goes with it, and keeps the rest; whoever takes it averages,

.. math:: z_j \leftarrow \frac{w_j z_j + s z_i}{w_j + s}, \qquad w_j \leftarrow w_j + s .

Neither changes :math:`\sum_i w_i z_i` and :math:`\sum_i w_i`, sums over ranks and transfers under way.  So all opinions approach the
average, however late a transfer is taken, and nothing that a rank has learnt is lost.  A transfer has a number: taken twice it counts
once.  A lane carries one transfer at a time: as long as its target has not taken it, the rank keeps its mass, so a slow or silent target
never drains it.  A transfer that is not taken for long may have been lost or refused on its way: it is published again under its number,
with what the rank believes by then.

References:
    Kempe, Dobra, Gehrke, FOCS 2003 (push-sum); Assran et al., arXiv:1811.10792 (its use for training).
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: Share of its mass that a rank gives away with one transfer.
SHARE = 0.5
#: Share of its mass that a rank always keeps: what it learns must count.
_KEPT = 0.25
#: Turns of a lane after which a transfer that was not taken is published again.
_PATIENCE = 16


def age_factor(lag: int, max_staleness: int | None) -> float:
    """How much an opinion counts that is so many steps behind another one: fully up to ``max_staleness``, then less and less.

    Example:
        >>> age_factor(10, 32), age_factor(320, 32), age_factor(320, None)
        (1.0, 0.1, 1.0)
    """
    if max_staleness is None or lag <= max_staleness:
        return 1.0
    return max_staleness / lag


@dataclass
class Outgoing:
    """A lane out of a rank: the transfer that is under way."""

    target: int
    transfer: int
    share: float
    version: int
    """Number of its last publication."""
    waited: int = 0
    """Turns of the lane since then."""


@dataclass
class PushSum:
    """Mass, clock and lanes of one rank.

    Args:
        first_transfer: number of the first transfer; larger than those of any earlier life of this rank.
        max_staleness: steps beyond which an opinion counts less; None for never.
    """

    first_transfer: int = 1
    max_staleness: int | None = None
    mass: float = 1.0
    clock: int = 0
    """Steps behind the opinion: those of this rank, or of a rank that it has heard of by any way and that is further."""
    outgoing: dict[int, Outgoing] = field(default_factory=dict)
    _taken: dict[tuple[int, int], int] = field(default_factory=dict)
    _next_number: int = field(init=False)
    """Of a publication; a transfer has that of its first one."""

    def __post_init__(self) -> None:
        self._next_number = self.first_transfer

    def book(self, lane: int, confirmed: int) -> None:
        """Note what the target of a lane has taken.

        Args:
            lane: which.
            confirmed: number of the last transfer that the target has taken from this lane.
        """
        if lane in self.outgoing and confirmed >= self.outgoing[lane].transfer:
            del self.outgoing[lane]

    def may_give(self, lane: int, target: int) -> bool:
        """Whether the lane is free for a new transfer to ``target``, and enough mass is left to give some away."""
        if lane in self.outgoing and self.outgoing[lane].target != target:
            # The ring has changed: what the old target has not taken stays here.
            self.take_back(lane)
        return lane not in self.outgoing and (1 - SHARE) * self.mass >= _KEPT * self.total_mass

    def give(self, lane: int, target: int) -> Outgoing:
        """Set a share of the mass aside for ``target``."""
        share = SHARE * self.mass
        self.mass -= share
        number = self._number()
        self.outgoing[lane] = Outgoing(target, number, share, version=number)
        return self.outgoing[lane]

    def is_overdue(self, lane: int) -> bool:
        """Whether the transfer of a lane has not been taken for so long that it may be lost; asked once per turn of the lane."""
        if lane not in self.outgoing:
            return False
        self.outgoing[lane].waited += 1
        return self.outgoing[lane].waited > _PATIENCE

    def repeat(self, lane: int) -> Outgoing:
        """Publish the transfer of a lane again: taken twice it still counts once."""
        under_way = self.outgoing[lane]
        under_way.version, under_way.waited = self._number(), 0
        return under_way

    def _number(self) -> int:
        self._next_number += 1
        return self._next_number - 1

    def take_back(self, lane: int) -> None:
        """Undo the transfer of a lane, because its target is gone or is no neighbour any more."""
        self.mass += self.outgoing.pop(lane).share

    def is_new(self, source: int, lane: int, transfer: int) -> bool:
        """Whether a transfer was not taken before."""
        return transfer > self._taken.get((source, lane), 0)

    def coefficient(self, share: float, clock: int) -> float:
        """How much of an opinion with ``share`` of mass that is ``clock`` steps old goes into the average."""
        own = age_factor(clock - self.clock, self.max_staleness) * self.mass
        other = age_factor(self.clock - clock, self.max_staleness) * share
        return other / (own + other)

    def take(self, source: int, lane: int, transfer: int, share: float, clock: int) -> None:
        """Book a transfer whose opinion has been averaged in."""
        self._taken[source, lane] = transfer
        self.mass += share
        self.clock = max(self.clock, clock)

    @property
    def step_scale(self) -> float:
        r"""Factor :math:`1/w` for steps of this rank, so that each moves the average over all ranks alike, whatever mass the rank holds.

        It is bounded, for the sake of stability, where mass was lost with ranks that died.
        """
        return min(1.0 / self.mass, 1.0 / _KEPT)

    @property
    def total_mass(self) -> float:
        """Mass of this rank and of its transfers that nobody has confirmed."""
        return self.mass + sum(lane.share for lane in self.outgoing.values())
