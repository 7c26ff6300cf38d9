"""Who talks to whom: rings, groups, leaders and independent groups, as arithmetic without any communication."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from unscatter.errors import SettingsError


def split_evenly(total: int, parts: int) -> tuple[range, ...]:
    """Cut ``range(total)`` into contiguous parts whose lengths differ by one at most; the longer ones come first.

    Example:
        >>> split_evenly(5, 2)
        (range(0, 3), range(3, 5))
    """
    short, longer = divmod(total, parts)
    ends = list(accumulate(short + (part < longer) for part in range(parts)))
    return tuple(range(start, end) for start, end in zip([0, *ends], ends, strict=False))


def ring_distances(num_ranks: int) -> tuple[int, ...]:
    """The distances 1, 2, 4, ... below ``num_ranks``, over which information reaches every rank in about log2 rounds.

    Example:
        >>> ring_distances(6)
        (1, 2, 4)
    """
    return tuple(2**k for k in range(max(num_ranks - 1, 0).bit_length()))


@dataclass(frozen=True)
class Ring:
    """Ranks in a circle.

    Args:
        members: the ranks, in their order round the circle.

    Example:
        >>> Ring((0, 1, 4)).right(4), Ring((0, 1, 4)).left(0)
        (0, 4)
    """

    members: tuple[int, ...]

    def right(self, rank: int, distance: int = 1) -> int:
        """The rank ``distance`` places further on."""
        return self.members[(self.members.index(rank) + distance) % len(self.members)]

    def left(self, rank: int, distance: int = 1) -> int:
        """The rank ``distance`` places back."""
        return self.right(rank, -distance)

    def without(self, lost: Sequence[int]) -> Ring:
        """The ring closed over the gaps that some ranks leave."""
        return Ring(tuple(rank for rank in self.members if rank not in lost))


@dataclass(frozen=True)
class Groups:
    """Ranks in groups of neighbours whose first members lead them.

    Args:
        num_ranks: all ranks.
        size: ranks per group; where it does not divide ``num_ranks`` the last group is smaller.

    Raises:
        SettingsError: a size below one or above the number of ranks.

    Example:
        >>> groups = Groups(6, 4)
        >>> groups.inner_group(5), groups.outer_group
        ((4, 5), (0, 4))
    """

    num_ranks: int
    size: int

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.num_ranks:
            raise SettingsError(
                f"groups of {self.size} ranks cannot be made of {self.num_ranks}: "
                f"set exchange.group_size to a number from 1 to {self.num_ranks}."
            )

    @property
    def outer_group(self) -> tuple[int, ...]:
        """The leaders of all groups."""
        return tuple(range(0, self.num_ranks, self.size))

    def inner_group(self, rank: int) -> tuple[int, ...]:
        """The ranks of the group of ``rank``."""
        first = rank - rank % self.size
        return tuple(range(first, min(first + self.size, self.num_ranks)))

    def leader(self, rank: int) -> int:
        """The leader of the group of ``rank``."""
        return rank - rank % self.size
