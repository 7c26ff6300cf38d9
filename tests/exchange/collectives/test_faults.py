"""A rank is killed, stopped, slow or leaves: every survivor gets an error that names it, in time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple

import pytest

from tests.exchange.collectives.workers import EXCHANGES, MISSING, faulty
from tests.exchange.ranks import Outcome, run_ranks

NUM_RANKS = 3
#: Longest time that a failure may take to be known: the time-out of the exchange, the period of grace, and the start of many processes.
_LIMIT_S = 20.0
_AT_ONCE = 3


class Fault(NamedTuple):
    """What happens to a rank of an exchange."""

    name: str
    victim: int
    kind: str
    timeout_s: float
    rank_0_hosts: bool = False


NAMES = [pytest.param(name, marks=pytest.mark.skipif(name in MISSING, reason=MISSING.get(name, ""))) for name in EXCHANGES]
KILLED = {name: Fault(name, 1, "kill", 8.0) for name in EXCHANGES if name not in MISSING}
#: One for each way of waiting: on gloo, on point-to-point calls, on the coordinator.
STOPPED = {name: Fault(name, 2, "stop", 3.0) for name in ("allreduce", "grouped", "quorum")}
KILLED_0, STOPPED_0 = Fault("allreduce", 0, "kill", 8.0, True), Fault("allreduce", 0, "stop", 3.0, True)
SLOW, LEAVES = Fault("allreduce", 1, "slow", 3.0), Fault("allreduce", 1, "leave", 8.0)
ALL = [*KILLED.values(), *STOPPED.values(), KILLED_0, STOPPED_0, SLOW, LEAVES]


@cache
def outcomes() -> dict[Fault, list[Outcome]]:
    """Some faults at the same time, as their ranks mostly wait; all at once, the start of the processes would outlast the time-outs."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(ALL, pool.map(_outcome, ALL), strict=True))


def _outcome(fault: Fault) -> list[Outcome]:
    without = fault.victim if fault.kind in ("kill", "stop") else None
    return run_ranks(NUM_RANKS, faulty, *fault[:4], timeout_s=60.0, rank_0_hosts=fault.rank_0_hosts, without=without)


def survivors(fault: Fault) -> dict[int, str]:
    found = {rank: outcome for rank, outcome in enumerate(outcomes()[fault]) if rank != fault.victim}
    assert all(isinstance(outcome.value, str) for outcome in found.values()), found
    assert max(outcome.seconds for outcome in found.values()) < _LIMIT_S
    return {rank: outcome.value for rank, outcome in found.items()}


@pytest.mark.parametrize("name", NAMES)
def test_killed_rank_is_named_on_every_survivor_with_the_step_and_what_to_type(name: str) -> None:
    for rank, text in survivors(KILLED[name]).items():
        assert f"PeerLostError: rank {rank} of {NUM_RANKS} has heard nothing from rank 1 for " in text
        assert "(last at step " in text
        assert "unscatter resume" in text
        assert "async-ring" in text


@pytest.mark.parametrize("name", list(STOPPED))
def test_rank_that_is_stopped_is_named_after_the_time_out(name: str) -> None:
    for text in survivors(STOPPED[name]).values():
        assert "has heard nothing from rank 2 for " in text


def test_lost_rank_0_is_named_although_the_board_is_lost_with_it() -> None:
    for text in survivors(KILLED_0).values():
        assert "has heard nothing from rank 0 for " in text


def test_stopped_rank_0_is_named_although_the_board_is_frozen_with_it() -> None:
    for text in survivors(STOPPED_0).values():
        assert "has heard nothing from rank 0 for " in text


def test_slow_rank_is_called_late_and_hears_that_the_others_have_given_up() -> None:
    for text in survivors(SLOW).values():
        assert "has waited up to 3 s for rank 1, alive but not yet as far" in text
    assert "came too late to step" in outcomes()[SLOW][1].value


def test_rank_that_leaves_early_is_named_as_one_that_left() -> None:
    for text in survivors(LEAVES).values():
        assert "needs rank 1 at step" in text
        assert "which left in good order" in text
