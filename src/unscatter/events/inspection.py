"""What the events of a channel are like as a whole, counted block by block where they lie in a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

from unscatter.arrays import Events


@runtime_checkable
class Findings(Protocol):
    """What was seen in some events; the sum over the blocks of a channel is what all of its events show."""

    def __add__(self, later: Any, /) -> Any:
        """What these events and later ones of the same channel show together: findings of the same kind."""
        ...

    def judge(self, channel: str) -> None:
        """Refuse the events of a channel that are not what they are said to be.

        Raises:
            EventsError: they are not.
        """
        ...


#: From some events to what they show.
Inspection: TypeAlias = Callable[[Events], Findings]
