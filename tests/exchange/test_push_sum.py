from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unscatter.exchange.push_sum import PushSum, age_factor


@given(
    order=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60),
    opinions=st.lists(st.floats(-5, 5), min_size=4, max_size=4),
)
def test_mass_and_mass_times_opinion_are_conserved_whatever_is_late(order: list[tuple[int, int]], opinions: list[float]) -> None:
    ranks, z = [PushSum() for _ in range(4)], list(opinions)
    mail: dict[int, tuple[int, int, float, float]] = {}
    for sender, taker in order:
        target = (sender + 1) % 4
        ranks[sender].book(0, ranks[target]._taken.get((sender, 0), 0))
        if ranks[sender].may_give(0, target):
            given_ = ranks[sender].give(0, target)
            mail[target] = (sender, given_.transfer, given_.share, z[sender])
        if taker in mail:
            source, transfer, share, opinion = mail[taker]
            if ranks[taker].is_new(source, 0, transfer):
                z[taker] += ranks[taker].coefficient(share, 0) * (opinion - z[taker])
                ranks[taker].take(source, 0, transfer, share, 0)
    on_the_way = [m for target, m in mail.items() if ranks[target].is_new(m[0], 0, m[1])]
    mass = sum(rank.mass for rank in ranks) + sum(share for _, _, share, _ in on_the_way)
    moment = sum(rank.mass * opinion for rank, opinion in zip(ranks, z, strict=True)) + sum(m[2] * m[3] for m in on_the_way)
    assert mass == pytest.approx(4, abs=1e-12)
    assert moment == pytest.approx(sum(opinions), abs=1e-9)


def test_a_lane_carries_one_transfer_until_it_is_taken_so_that_a_silent_target_drains_nobody() -> None:
    rank = PushSum()
    assert rank.may_give(0, 1)
    first = rank.give(0, 1)
    assert (rank.mass, first.share) == (0.5, 0.5)
    assert not any(rank.may_give(0, 1) for _ in range(100))
    rank.book(0, first.transfer)
    assert rank.may_give(0, 1)
    assert rank.mass == 0.5


def test_a_transfer_counts_once_however_often_it_is_read() -> None:
    rank = PushSum()
    rank.take(3, 0, 17, 0.25, 5)
    assert not rank.is_new(3, 0, 17)
    assert rank.is_new(3, 1, 17)
    assert rank.is_new(3, 0, 18)


def test_what_a_lost_target_has_not_taken_comes_back_under_a_number_of_its_own() -> None:
    rank = PushSum()
    lost = rank.give(0, 1)
    rank.take_back(0)
    assert rank.mass == 1.0
    assert rank.give(0, 1).transfer > lost.transfer


def test_steps_move_the_average_alike_whatever_the_mass_within_a_bound() -> None:
    rank = PushSum()
    assert rank.step_scale == 1.0
    rank.give(0, 1)
    assert rank.step_scale * rank.mass == 1.0
    for lane in range(1, 6):
        rank.give(lane, 1)
    assert rank.step_scale == 4.0


def test_a_rank_keeps_a_quarter_of_its_mass_whoever_does_not_take_the_rest() -> None:
    rank = PushSum()
    for lane in range(6):
        if rank.may_give(lane, 1):
            rank.give(lane, 1)
    assert rank.mass == 0.25
    assert rank.total_mass == 1.0


def test_a_changed_ring_takes_back_what_the_old_target_has_not_taken() -> None:
    rank = PushSum()
    rank.give(0, 1)
    assert rank.may_give(0, 2)
    assert rank.mass == 1.0


@pytest.mark.parametrize(("own_clock", "clock", "expected"), [(100, 100, 0.5), (100, 80, 0.5), (1000, 100, 0.1), (100, 1000, 0.9)])
def test_opinions_beyond_the_bound_of_staleness_count_less_on_either_side(own_clock: int, clock: int, expected: float) -> None:
    # A lag of 900 steps with a bound of 100 leaves a ninth.
    rank = PushSum(max_staleness=100, mass=1.0, clock=own_clock)
    assert rank.coefficient(1.0, clock) == pytest.approx(expected)


def test_age_never_drops_an_opinion_altogether() -> None:
    assert age_factor(10**6, 32) > 0


def test_clock_follows_the_furthest_rank_that_was_heard_of() -> None:
    rank = PushSum(clock=5)
    rank.take(1, 0, 1, 0.5, 40)
    assert rank.clock == 40
    rank.take(2, 0, 1, 0.5, 7)
    assert rank.clock == 40
