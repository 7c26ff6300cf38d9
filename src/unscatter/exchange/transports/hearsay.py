"""What is known of other ranks from what they say."""

from __future__ import annotations

import time

from unscatter.exchange.transports.protocol import Health


class Hearsay:
    """When other ranks were last heard of, how far they were, and whether they have left.

    Args:
        silence_s: seconds without a word after which a rank counts as lost.

    Example:
        >>> hearsay = Hearsay(5.0)
        >>> hearsay.tell(1, 40)
        >>> hearsay.health(1)._replace(silent_s=0.0), hearsay.health(2)
        (Health(alive=True, step=40, silent_s=0.0, done=False), Health(alive=True, step=-1, silent_s=0.0, done=False))
    """

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._heard: dict[int, float] = {}
        self._steps: dict[int, int] = {}
        self._done: set[int] = set()

    def expect(self, rank: int) -> None:
        """Begin to wait for the first word of a rank."""
        self._heard.setdefault(rank, time.monotonic())

    def hear(self, rank: int) -> None:
        """Something has come from a rank."""
        self._heard[rank] = time.monotonic()

    def tell(self, rank: int, step: int, *, done: bool = False) -> None:
        """A rank says how far it is, and whether it leaves in good order."""
        self._steps[rank] = step
        (self._done.add if done else self._done.discard)(rank)
        self.hear(rank)

    def is_done(self, rank: int) -> bool:
        """Whether it has said so."""
        return rank in self._done

    def health(self, rank: int) -> Health:
        """What is known of a rank."""
        heard = self._heard.get(rank)
        silent_s = 0.0 if heard is None else max(time.monotonic() - heard, 0.0)
        return Health(silent_s <= self._silence_s, self._steps.get(rank, -1), silent_s, rank in self._done)
