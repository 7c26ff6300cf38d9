"""A rank is killed, stopped, slow or leaves: every survivor gets an error that names it, in time."""

from __future__ import annotations

import pytest

from tests.exchange.collectives.workers import EXCHANGES, faulty
from tests.exchange.ranks import Outcome, run_ranks

#: Longest time that a failure may take to be known: the time-out of the exchange, the period of grace and the start of a process.
_LIMIT_S = 15.0


def survivors(outcomes: list[Outcome], victim: int) -> list[str]:
    texts = [outcome.value for rank, outcome in enumerate(outcomes) if rank != victim]
    assert all(isinstance(text, str) for text in texts), outcomes
    assert max(outcome.seconds for outcome in outcomes) < _LIMIT_S
    return texts


@pytest.mark.parametrize("name", list(EXCHANGES))
def test_killed_rank_is_named_on_every_survivor_with_the_step_and_what_to_type(name: str) -> None:
    for rank, text in zip((0, 2), survivors(run_ranks(3, faulty, name, 1, "kill", 20.0), 1), strict=True):
        assert f"PeerLostError: rank {rank} of 3 has heard nothing from rank 1 for " in text
        assert "last at step 4" in text or "last at step 3" in text or "last at step 0" in text
        assert "unscatter resume" in text
        assert "async-ring" in text


def test_lost_rank_0_is_named_although_the_board_is_lost_with_it() -> None:
    for text in survivors(run_ranks(3, faulty, "allreduce", 0, "kill", 20.0, rank_0_hosts=True), 0):
        assert "has heard nothing from rank 0 for " in text


def test_rank_that_is_stopped_is_named_after_the_time_out() -> None:
    for text in survivors(run_ranks(3, faulty, "allreduce", 2, "stop", 2.0, timeout_s=15.0), 2):
        assert "has heard nothing from rank 2 for " in text


def test_stopped_rank_0_is_named_although_the_board_is_frozen_with_it() -> None:
    for text in survivors(run_ranks(3, faulty, "allreduce", 0, "stop", 2.0, timeout_s=15.0, rank_0_hosts=True), 0):
        assert "has heard nothing from rank 0 for " in text


def test_slow_rank_is_called_late_and_hears_that_the_others_have_given_up() -> None:
    outcomes = run_ranks(3, faulty, "allreduce", 1, "slow", 2.0)
    for text in survivors(outcomes, 1):
        assert "has waited up to 2 s for rank 1, alive but not yet as far" in text
    assert "came too late to step" in outcomes[1].value


def test_rank_that_leaves_early_is_named_as_one_that_left() -> None:
    for text in survivors(run_ranks(3, faulty, "allreduce", 1, "leave", 4.0), 1):
        assert "needs rank 1 at step" in text
        assert "which left in good order" in text
