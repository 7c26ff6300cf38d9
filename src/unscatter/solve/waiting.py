"""How much of the time of the steps goes into waiting for data."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from unscatter.events import EventSource, WaitingSource


@dataclass
class WaitingTime:
    """Compares the time that batches waited for data with that of the steps.

    Args:
        source: that the steps draw from; one that does not wait is left out of all records.

    Example:
        >>> from unscatter.problems import proxy2d
        >>> from unscatter.events import InMemoryEvents
        >>> waiting = WaitingTime(InMemoryEvents(proxy2d(nodes=17).simulate(num_events=10)))
        >>> with waiting.step():
        ...     pass
        >>> waiting.since_last(), waiting.overall()
        ({}, {})
    """

    source: EventSource
    steps_s: float = 0.0
    _seen: tuple[float, float] = (0.0, 0.0)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around one step."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.steps_s += time.perf_counter() - began

    def since_last(self) -> dict[str, float]:
        """Share of the time of the steps since the last call, as ``waited_share``."""
        if not isinstance(self.source, WaitingSource):
            return {}
        waited, steps = self.source.waited_s, self.steps_s
        before, self._seen = self._seen, (waited, steps)
        return {"waited_share": _share(waited - before[0], steps - before[1])}

    def overall(self) -> dict[str, float]:
        """Share of the time of all steps."""
        return {"waited_share": _share(self.source.waited_s, self.steps_s)} if isinstance(self.source, WaitingSource) else {}


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
