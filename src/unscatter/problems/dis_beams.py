"""Whether measured events belong to the beams of their problem: they must obey Q2 = x y s."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from torch import Tensor

from unscatter.arrays import Events
from unscatter.errors import EventsError
from unscatter.events.inspection import Inspection
from unscatter.theories.dis import Beams

#: What a measured electron tells, and what problems compare unless told otherwise.
COLUMNS = ("x", "Q2", "y")
#: Relative difference of s that is taken for other beams where more than half of the events show it to the same side: where their median
#: does.
_MAX_DEVIATION = 0.01
#: The same of a single event.  Three significant digits of x, Q2 and y move it by 1.5 %, four decimals of the lowest x by a few per cent.
_MAX_EVENT_DEVIATION = 0.1
#: So many single events, or this share where that is more, may be off by accident.  Resolution does not make any: what it does to Q2 and
#: y, it does to the x that follows from them, except where x or y end outside (0, 1); those events are not counted.
_FEW, _FEW_SHARE = 3, 0.01


def beam_inspection(beams: Beams) -> Inspection:
    """What counts the events that do not belong to beams.

    Example:
        >>> import torch
        >>> events = Events(torch.tensor([[0.01, 99.0, 0.5], [0.1, 19.8, 0.01]]), ("x", "Q2", "y"))
        >>> found = beam_inspection(Beams(18.0, 275.0))(events)
        >>> found.judge("proton")
        >>> found.num_events, (found + found).num_events
        (2, 4)
    """
    return partial(_inspect, beams)


class Some(NamedTuple):
    """Some of the events, those of one kind."""

    number: int = 0
    """How many."""
    row: int = 0
    """The first of them."""
    first: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Its x, Q2 and y."""

    def joined(self, later: Some, num_before: int) -> Some:
        """These and those of later rows, which begin at the row ``num_before``."""
        if self.number == 0:
            return later._replace(row=num_before + later.row)
        return self._replace(number=self.number + later.number)

    @property
    def shown(self) -> str:
        """The first, for messages."""
        x, Q2, y = self.first
        made = Q2 / (x * y) if x * y != 0 else math.inf
        return f"row {self.row} of those that are read, counted from 0: x = {x:g}, Q2 = {Q2:g} GeV2 and y = {y:g} make {made:g} GeV2"


@dataclass(frozen=True)
class BeamFindings:
    """How far Q2 / (x y) of events is from s of the beams; numbers alone, so that blocks of a store add up to what they are together.

    Args:
        beams: of the problem.
        num_events: all that were seen.
        num_meaningful: those with x and y in (0, 1).
        low: those clearly below s.
        high: those clearly above s.
        off: the meaningful ones that are too far away for a single event.
    """

    beams: Beams
    num_events: int = 0
    num_meaningful: int = 0
    low: Some = Some()
    high: Some = Some()
    off: Some = Some()

    def __add__(self, later: BeamFindings, /) -> BeamFindings:
        """What these events and later ones show together."""
        before = self.num_events
        return BeamFindings(
            self.beams,
            before + later.num_events,
            self.num_meaningful + later.num_meaningful,
            self.low.joined(later.low, before),
            self.high.joined(later.high, before),
            self.off.joined(later.off, before),
        )

    def judge(self, channel: str) -> None:
        """Refuse events of other beams; a few may be rounded, or have lost their meaning to the resolution.

        Raises:
            EventsError: most of them show another s, or more than a few do not belong to the beams.
        """
        for side, some in (("below", self.low), ("above", self.high)):
            if 2 * some.number > self.num_events:
                raise EventsError(self._other_beams(channel, side, some))
        if self.off.number > max(_FEW, _FEW_SHARE * self.num_meaningful):
            raise EventsError(self._too_many_off(channel))

    def _other_beams(self, channel: str, side: str, some: Some) -> str:
        beams = self.beams
        return (
            f"the events of channel '{channel}' belong to other beams: {some.number:,} of {self.num_events:,} have Q2 / (x y) more than "
            f"{_MAX_DEVIATION:.0%} {side} the s = {beams.s:g} GeV2 of beams of {beams.electron_energy_GeV:g} on "
            f"{beams.hadron_energy_GeV:g} GeV. The first is {some.shown}.\n"
            "Give the problem the beams of the events, or look whether the columns x, Q2 (in GeV2) and y are what their names say."
        )

    def _too_many_off(self, channel: str) -> str:
        s = self.beams.s
        return (
            f"{self.off.number:,} of {self.num_meaningful:,} events of channel '{channel}' do not belong to the beams: Q2 / (x y) is off "
            f"s = {s:g} GeV2 by more than {_MAX_EVENT_DEVIATION:.0%}, where at most {_FEW_SHARE:.0%} may be. "
            f"The first is {self.off.shown}.\n"
            "Take x, Q2 and y from one reconstruction, and look whether samples of several beams are mixed; or cut these events: "
            f"cuts: ['abs(Q2 / (x * y * {s:g}) - 1) < {_MAX_EVENT_DEVIATION:g}']."
        )


def _inspect(beams: Beams, events: Events) -> BeamFindings:
    if any(name not in events.columns for name in COLUMNS):
        return BeamFindings(beams, events.num_events)
    x, Q2, y = values = tuple(events.column(name).double() for name in COLUMNS)
    ratio = Q2 / (x * y * beams.s)
    meaningful = (x > 0) & (x < 1) & (y > 0) & (y < 1)
    # A ratio that is not a number is none of the beams', either.
    low, high = ~(ratio > 1 - _MAX_DEVIATION), ratio >= 1 + _MAX_DEVIATION
    off = meaningful & ~((ratio - 1).abs() < _MAX_EVENT_DEVIATION)
    return BeamFindings(beams, events.num_events, int(meaningful.sum()), *(_some(kind, values) for kind in (low, high, off)))


def _some(chosen: Tensor, values: tuple[Tensor, ...]) -> Some:
    number = int(chosen.sum())
    if number == 0:
        return Some()
    row = int(chosen.int().argmax())
    x, Q2, y = (float(value[row]) for value in values)
    return Some(number, row, (x, Q2, y))
