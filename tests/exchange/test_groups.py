from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unscatter.errors import SettingsError
from unscatter.exchange.groups import Groups, Ring, ring_distances, split_evenly


@given(total=st.integers(0, 500), parts=st.integers(1, 40))
def test_even_parts_cover_everything_once_and_differ_by_one_at_most(total: int, parts: int) -> None:
    ranges = split_evenly(total, parts)
    assert [number for part in ranges for number in part] == list(range(total))
    assert len(ranges) == parts
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1


@given(num_ranks=st.integers(1, 300))
def test_distances_reach_every_rank_by_sums(num_ranks: int) -> None:
    distances = ring_distances(num_ranks)
    reached = {0}
    for distance in distances:
        reached |= {rank + distance for rank in reached}
    assert set(range(num_ranks)) <= reached
    assert all(distance < num_ranks for distance in distances)


@given(members=st.lists(st.integers(0, 99), min_size=1, max_size=20, unique=True), distance=st.integers(0, 30), data=st.data())
def test_left_of_right_is_where_one_started(members: list[int], distance: int, data: st.DataObject) -> None:
    ring, rank = Ring(tuple(members)), data.draw(st.sampled_from(members))
    assert ring.left(ring.right(rank, distance), distance) == rank


def test_ring_closes_over_the_gaps_of_lost_ranks() -> None:
    ring = Ring((0, 1, 2, 3, 4)).without((2, 3))
    assert ring.right(1) == 4
    assert ring.left(4) == 1
    assert ring.right(4) == 0


@given(num_ranks=st.integers(1, 100), data=st.data())
def test_groups_hold_every_rank_once_under_its_own_leader(num_ranks: int, data: st.DataObject) -> None:
    groups = Groups(num_ranks, data.draw(st.integers(1, num_ranks)))
    inner = [groups.inner_group(leader) for leader in groups.outer_group]
    assert [rank for group in inner for rank in group] == list(range(num_ranks))
    assert all(groups.leader(rank) == group[0] for group in inner for rank in group)


@pytest.mark.parametrize("size", [0, 7])
def test_groups_that_cannot_be_made_are_an_error_with_the_range(size: int) -> None:
    with pytest.raises(SettingsError, match=r"groups of \d ranks cannot be made of 6: set exchange.group_size to a number from 1 to 6"):
        Groups(6, size)
