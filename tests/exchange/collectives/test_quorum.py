"""A quorum never drops what comes late, and all ranks do the same steps."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.exchange.collectives.workers import PARAMETERS, REPLICAS, Trace, gradient, one_rank_is_late
from tests.exchange.ranks import run_ranks, values
from unscatter.errors import SettingsError
from unscatter.exchange.collectives.rounds import Rounds

NUM_RANKS = 3


@cache
def traces(late_rank: int) -> list[Trace]:
    return values(run_ranks(NUM_RANKS, one_rank_is_late, late_rank))


def last_contributions(steps: int, counts: tuple[int, ...]) -> np.ndarray:
    """Sum of the last few contributions of each rank."""
    parts = [gradient(step, rank, bad=False) for rank, count in enumerate(counts) for step in range(steps - count, steps)]
    return sum((part.double().numpy() for part in parts), np.zeros((REPLICAS, PARAMETERS)))


@pytest.mark.parametrize("late_rank", [0, 1])
def test_late_contributions_are_in_later_steps_and_nothing_is_lost(late_rank: int) -> None:
    found = traces(late_rank)
    steps = len(found[0].combined)
    contributions = sum(gradient(step, rank, bad=False).double().numpy() for step in range(steps) for rank in range(NUM_RANKS))
    applied = NUM_RANKS * sum(mean.astype(np.float64) for mean in found[0].combined)
    assert found[late_rank].statistics["late_contributions"] > 2
    # What comes after the end of the last round is in no step: the last contributions of each rank, as many as are counted.
    missing, left_over = contributions - applied, int(found[0].statistics["contributions_left_over"])
    possible = [ends for ends in product(range(left_over + 1), repeat=NUM_RANKS) if sum(ends) == left_over]
    assert min(np.abs(missing - last_contributions(steps, ends)).max() for ends in possible) < 1e-4


@pytest.mark.parametrize("late_rank", [0, 1])
def test_rounds_go_on_without_the_late_rank(late_rank: int) -> None:
    found = traces(late_rank)
    assert all(trace.times[8] < found[late_rank].times[5] for rank, trace in enumerate(found) if rank != late_rank)


@pytest.mark.parametrize("late_rank", [0, 1])
def test_late_rank_applies_what_it_missed_and_has_the_same_bits_after_the_same_step(late_rank: int) -> None:
    first, *others = traces(late_rank)
    for other in others:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(first.weights, other.weights, strict=True))


@given(st.integers(1, 5), st.data())
def test_every_contribution_is_in_exactly_one_round_in_any_order(num_ranks: int, data: st.DataObject) -> None:
    quorum, max_lag = data.draw(st.integers(1, num_ranks)), data.draw(st.integers(0, 3))
    rounds, steps, waiting = Rounds(num_ranks, quorum=quorum, max_lag=max_lag), 6, [0] * num_ranks
    found = torch.zeros(num_ranks * steps)
    while True:
        ready = [rank for rank in range(num_ranks) if waiting[rank] <= rounds.closed and waiting[rank] < steps]
        if not ready:
            break
        rank, before = data.draw(st.sampled_from(ready)), rounds.closed
        rounds.add(rank, torch.nn.functional.one_hot(torch.tensor(rank * steps + waiting[rank]), num_ranks * steps).float())
        waiting[rank] += 1
        if rounds.closed > before:
            total, parts = rounds.result(rounds.closed)
            assert int(total.sum()) == parts
            assert min(waiting) >= rounds.closed - max_lag
            assert sum(done >= rounds.closed for done in waiting) >= quorum
            found += total
    assert rounds.closed == steps, "a round never closed although every rank went as far as it could"
    assert int(found.max()) <= 1
    assert int(found.sum()) + rounds.left_over == num_ranks * steps


@pytest.mark.parametrize(
    ("quorum", "max_lag", "message"), [(0, 1, "exchange.quorum from 1 to 3"), (4, 1, "a quorum of 4 out of 3"), (2, -1, "-1 steps")]
)
def test_impossible_settings_are_refused(quorum: int, max_lag: int, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Rounds(NUM_RANKS, quorum=quorum, max_lag=max_lag)
