"""A store as a table of blocks."""

from __future__ import annotations

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
