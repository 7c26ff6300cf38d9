"""Some trials of every kind of fault on real ranks; `benchmarks/exchange/faults.py` makes hundreds of them."""

from __future__ import annotations

from functools import cache

import pytest

from tests.exchange.fault_campaign import KINDS, STEPS, SYNCHRONOUS_S, Injection, Kind, Trial, Verdict, draw_trial, run_trials

#: What a fault lasts, in the units of its kind.
LASTS: dict[Kind, float] = {"stop": 2.0, "pause": 0.4, "late": 0.5, "restart": 0.5, "slow": 3}


def fault(kind: Kind, rank: int, step: int) -> Injection:
    return Injection(kind=kind, rank=rank, step=step, lasts=LASTS.get(kind, 10), after_s=0.005)


TRIALS = {
    **{kind: Trial(number=number, faults=(fault(kind, number % 4, 40),)) for number, kind in enumerate(KINDS)},
    "disconnect over TCP": Trial(number=20, transport="tcp", faults=(fault("disconnect", 1, 60),)),
    "kill over TCP": Trial(number=21, transport="tcp", faults=(fault("kill", 2, 60),)),
    "kill of the first rank that collects": Trial(number=22, faults=(fault("slow", 3, STEPS - 3), fault("kill", 0, STEPS))),
    "kill of the first rank, which waits, over TCP": Trial(
        number=23, transport="tcp", faults=(fault("slow", 3, STEPS - 3), fault("kill", 0, STEPS))
    ),
    "restart after the end": Trial(number=24, faults=(Injection(kind="restart", rank=3, step=2 * STEPS - 5, lasts=2.5),)),
    "first rank slow at the end": Trial(number=25, faults=(fault("slow", 0, 2 * STEPS - 20),)),
    "synchronous, kill": Trial(number=26, exchange="allreduce", faults=(fault("kill", 0, 30),)),
    "synchronous, stop": Trial(
        number=27, exchange="allreduce", faults=(Injection(kind="stop", rank=1, step=30, lasts=2.5 * SYNCHRONOUS_S),)
    ),
}


@cache
def verdicts() -> dict[str, Verdict]:
    """All of them, some at the same time, since ranks mostly sleep and wait."""
    return dict(zip(TRIALS, run_trials(list(TRIALS.values()), seed=1, at_once=4), strict=True))


@pytest.mark.parametrize("name", TRIALS)
def test_nothing_hangs_nothing_is_wrong_and_nothing_is_left_after(name: str) -> None:
    assert verdicts()[name].failures == []


def test_the_choice_of_faults_follows_from_the_seed() -> None:
    assert [draw_trial(1, number) for number in range(50)] == [draw_trial(1, number) for number in range(50)]
    assert draw_trial(1, 0) != draw_trial(2, 0)
