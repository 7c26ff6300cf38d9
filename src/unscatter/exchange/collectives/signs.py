"""Signs of life: what each rank writes on the board about itself, and what the others conclude from it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, kw_only=True)
class Sign:
    """What a rank says of itself.

    Example:
        >>> sign = Sign(number=3, step=7)
        >>> Sign.decode(sign.encode()) == sign
        True
    """

    number: int = 0
    """Grows with every sign, so that a reader can tell a new one without comparing clocks."""
    step: int = 0
    """Steps begun."""
    calls: int = 0
    """Calls begun that wait for others: the rank with the fewest is the one that others wait for."""
    state: str = "running"
    """``running``, ``failed`` (has noticed a failure and is leaving) or ``left`` (in good order)."""
    judged: bool = False
    """Whether this rank has found out who is missing, so that the board is no longer needed for it."""
    time_s: float = field(default_factory=time.time)
    """When it was written, on the clock of the rank."""

    def encode(self) -> bytes:
        """As bytes for the board."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, text: bytes) -> Sign:
        """From the bytes on the board."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Absent:
    """A rank that did not do its part.

    Args:
        rank: which.
        step: steps that it had begun when last heard, -1 where that is not known.
        silent_s: seconds since it was last heard of.
    """

    rank: int
    step: int
    silent_s: float


@dataclass(frozen=True)
class Verdict:
    """Who is to blame for a failure.

    Args:
        lost: ranks that give no sign of life.
        left: ranks that have closed their exchange.
        late: ranks that live but have not come to the call for which others wait; this rank may be among them.
    """

    lost: tuple[Absent, ...] = ()
    left: tuple[Absent, ...] = ()
    late: tuple[Absent, ...] = ()


def judge(before: Mapping[int, Sign], after: Mapping[int, Sign], *, own_rank: int, now_s: float) -> Verdict:
    """Compare the signs at the beginning and at the end of a period of grace.

    Args:
        before: the signs of all ranks at its beginning.
        after: those at its end.
        own_rank: the rank that judges, and so lives.
        now_s: the time at its end.

    Example:
        >>> signs = {0: Sign(), 1: Sign(step=4, time_s=10.0)}
        >>> judge(signs, signs, own_rank=0, now_s=12.0).lost
        (Absent(rank=1, step=4, silent_s=2.0),)
    """
    absent = {rank: Absent(rank, sign.step, max(0.0, now_s - sign.time_s)) for rank, sign in after.items()}
    left = [rank for rank, sign in after.items() if sign.state == "left"]
    living = {own_rank} | {rank for rank, sign in after.items() if sign.state == "failed" or is_new(before.get(rank), sign)}
    lost = [rank for rank in after if rank not in living and rank not in left]
    calls = max(sign.calls for sign in after.values())
    late = [rank for rank in sorted(living - set(left)) if after[rank].calls < calls]
    return Verdict(*(tuple(absent[rank] for rank in ranks) for ranks in (lost, left, late)))


def is_new(before: Sign | None, after: Sign) -> bool:
    """Whether a sign was written after another one."""
    return before is None or after.number > before.number
