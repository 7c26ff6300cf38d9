"""A store as a table of blocks."""

from __future__ import annotations

from unscatter.errors import EventsError
from unscatter.events.store import EventStore
from unscatter.events.streaming.blocks import Block


class StoreTable:
    """A store as a table of blocks; every block is compared with its checksum when it is read for the first time.

    Args:
        store: an open store.
    """

    def __init__(self, store: EventStore) -> None:
        self.store = store
        self.columns, self.weighted = store.columns, store.weighted
        self.num_rows, self.rows_per_block = store.num_rows, store.rows_per_block
        self._checked: set[int] = set()

    def read(self, number: int, columns: tuple[str, ...]) -> Block:
        """Views of the mapped file.

        Raises:
            StoreError: the block is damaged.
        """
        if number not in self._checked:
            self.store.check(number)
            self._checked.add(number)
        found, weight = self.store.block(number), self.store.manifest.weight
        return Block(tuple(found[name] for name in columns), None if weight is None else found[weight])

    def expect(self, numbers: tuple[int, ...]) -> None:
        """Let the operating system fetch these blocks."""
        for number in numbers:
            self.store.expect(number)

    def release(self, number: int) -> None:
        """Give the memory back to the operating system."""
        self.store.release(number)


def check_weights(store: EventStore) -> None:
    """Refuse weights that are negative or all zero; the manifest knows their range.

    Raises:
        EventsError: they are.
    """
    weight = store.manifest.weight
    if weight is None:
        return
    summary = store.manifest.summary(weight)
    if summary.min < 0:
        raise EventsError(
            f"some weights '{weight}' in '{store.path}' are negative, the smallest is {summary.min:g}.\n"
            "Weights are rates: cut these events, or subtract a background with a detector stage instead of negative weights."
        )
    if summary.max == 0:
        raise EventsError(f"all weights '{weight}' in '{store.path}' are zero.")
