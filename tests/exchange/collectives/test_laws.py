"""The laws of every synchronous exchange, among real processes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.exchange.collectives.workers import BAD, EXCHANGES, MISSING, PARAMETERS, RATE, REPLICAS, STEPS, Trace, everything, gradient
from tests.exchange.ranks import run_ranks, values

WORLDS = [1, 2, 3, 5, 8]
AVAILABLE = [name for name in EXCHANGES if name not in MISSING]
NAMES = [pytest.param(name, marks=pytest.mark.skipif(name in MISSING, reason=MISSING.get(name, ""))) for name in EXCHANGES]
#: Exchanges that hand out the mean of all ranks in every step.
MEANS = [name for name in NAMES if name.values[0] in ("allreduce", "ring", "quorum of all", "horovod")]
#: Steps after which all ranks have the same weights, where that is not after each.
MEETINGS = {"localsteps": [2, 5], "grouped": [2, 5]}


@cache
def runs(num_ranks: int) -> list[dict[str, Any]]:
    return values(run_ranks(num_ranks, everything, AVAILABLE, timeout_s=90.0))


def traces(num_ranks: int, name: str) -> list[Trace]:
    return [run[name] for run in runs(num_ranks)]


def gradients(step: int, ranks: range) -> np.ndarray:
    return np.stack([gradient(step, rank).double().numpy() for rank in ranks])


def bad_rows(num_ranks: int) -> int:
    return int(num_ranks > BAD[1])


def close(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=3e-6 * max(1.0, float(np.abs(expected).max())))


def mean(step: int, num_ranks: int) -> np.ndarray:
    """The float64 average over the ranks; a row with one bad element is left out as a whole."""
    rows = gradients(step, range(num_ranks))
    rows[~np.isfinite(rows).all(-1)] = np.nan
    return np.nanmean(rows, 0)


@pytest.mark.parametrize("num_ranks", WORLDS)
@pytest.mark.parametrize("name", MEANS)
def test_mean_equals_the_float64_average_of_one_process(name: str, num_ranks: int) -> None:
    for trace in traces(num_ranks, name):
        for step in range(STEPS):
            close(trace.combined[step], mean(step, num_ranks))


@pytest.mark.parametrize("num_ranks", WORLDS)
def test_late_gradient_is_that_of_the_step_before_and_zero_at_the_first(num_ranks: int) -> None:
    for trace in traces(num_ranks, "late"):
        assert not trace.combined[0].any()
        for step in range(1, STEPS):
            close(trace.combined[step], mean(step - 1, num_ranks))


@pytest.mark.parametrize("num_ranks", WORLDS)
def test_local_steps_average_the_weights_at_every_third_step_only(num_ranks: int) -> None:
    weights = np.ones((num_ranks, REPLICAS, PARAMETERS))
    for step in range(STEPS):
        weights = weights - RATE * gradients(step, range(num_ranks))
        if step % 3 == 2:
            finite = np.isfinite(weights).all(-1, keepdims=True)
            weights = np.broadcast_to(np.nanmean(np.where(finite, weights, np.nan), 0), weights.shape)
        for rank, trace in enumerate(traces(num_ranks, "localsteps")):
            close(trace.weights[step], weights[rank])


@pytest.mark.parametrize("num_ranks", WORLDS)
def test_groups_share_gradients_at_every_step_and_all_ranks_share_both_at_every_third(num_ranks: int) -> None:
    weights = np.ones((num_ranks, REPLICAS, PARAMETERS))
    for step in range(STEPS):
        outer = step % 3 == 2
        for rank, trace in enumerate(traces(num_ranks, "grouped")):
            group = range(num_ranks) if outer else range(rank - rank % 2, min(rank - rank % 2 + 2, num_ranks))
            shared = mean(step, num_ranks) if outer else gradients(step, group).mean(0)
            close(trace.combined[step], shared)
            weights[rank] -= RATE * shared
        weights = np.broadcast_to(weights.mean(0), weights.shape).copy() if outer else weights
        for rank, trace in enumerate(traces(num_ranks, "grouped")):
            close(trace.weights[step], weights[rank])


@pytest.mark.parametrize("num_ranks", WORLDS)
def test_members_of_a_group_hold_the_same_bits_after_every_step(num_ranks: int) -> None:
    found = traces(num_ranks, "grouped")
    for first, second in zip(found[0::2], found[1::2], strict=False):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(first.weights, second.weights, strict=True))


@pytest.mark.parametrize("num_ranks", WORLDS)
@pytest.mark.parametrize("name", NAMES)
def test_weights_are_bitwise_equal_on_all_ranks(name: str, num_ranks: int) -> None:
    first, *others = traces(num_ranks, name)
    steps = MEETINGS.get(name, range(STEPS))
    for other in others:
        for step in steps:
            assert first.weights[step].tobytes() == other.weights[step].tobytes()


@pytest.mark.parametrize("num_ranks", WORLDS)
def test_quorum_skips_the_same_on_all_ranks(num_ranks: int) -> None:
    skipped = {trace.statistics["skipped_contributions"] for trace in traces(num_ranks, "quorum")}
    # None where the bad contribution came after the last round.
    assert skipped in ({0.0}, {float(bad_rows(num_ranks))})


@pytest.mark.parametrize("num_ranks", WORLDS)
@pytest.mark.parametrize("name", [name for name in NAMES if name.values[0] != "quorum"])
def test_bad_contribution_is_left_out_and_counted_on_all_ranks(name: str, num_ranks: int) -> None:
    for trace in traces(num_ranks, name):
        # With groups the bad row comes at an outer step, and would otherwise be counted in its group only.
        assert trace.statistics["skipped_contributions"] == bad_rows(num_ranks)
        assert trace.statistics["steps"] == STEPS
        assert np.isfinite(trace.weights[-1]).all()


@pytest.mark.parametrize("num_ranks", WORLDS)
@pytest.mark.parametrize("name", NAMES)
def test_all_ranks_stop_after_the_same_step(name: str, num_ranks: int) -> None:
    stops = {tuple(run[f"{name} stops"].stops) for run in runs(num_ranks)}
    if name == "quorum":  # in which round the request arrives depends on who is first
        assert len(stops) == 1
        assert stops.pop()[-1]
        return
    at = {"late": 2, "localsteps": 2, "grouped": 2}.get(name, 1)
    assert stops == {(False,) * at + (True,)}


@pytest.mark.parametrize("num_ranks", WORLDS)
def test_start_hands_out_the_bits_of_rank_0_with_their_types(num_ranks: int) -> None:
    for run in runs(num_ranks):
        started = run["calls"]["started"]
        np.testing.assert_array_equal(started["weights"], np.full((2, 3), 0.1, dtype=np.float32))
        assert started["count"] == 10**12
        assert started["flags"].tolist() == [True, False]
        assert started["none"].shape == (0, 4)
        assert started["double"].dtype == np.float64


@pytest.mark.parametrize("num_ranks", WORLDS)
def test_total_is_the_sum_over_the_ranks_with_the_same_bits_and_types(num_ranks: int) -> None:
    totals = [run["calls"]["total"] for run in runs(num_ranks)]
    pairs = num_ranks * (num_ranks - 1) // 2
    for total in totals:
        assert total["count"] == num_ranks * 10**12 + pairs
        np.testing.assert_allclose(total["weights"], np.full((2, 3), 0.1 * num_ranks + pairs), rtol=1e-7)
        np.testing.assert_allclose(total["double"], np.full(3, num_ranks / 3 + pairs), rtol=1e-15)
        assert all(total[key].tobytes() == totals[0][key].tobytes() for key in total)
    assert runs(num_ranks)[0]["calls"]["types"] == ["torch.float32", "torch.int64", "torch.float32", "torch.float64"]


@pytest.mark.parametrize("num_ranks", WORLDS)
def test_what_rank_0_says_is_heard_by_all(num_ranks: int) -> None:
    calls = [run["calls"] for run in runs(num_ranks)]
    assert {(call["said"], call["nothing"]) for call in calls} == {("Grüße von 0", "")}
    assert [call["leads"] for call in calls] == [True] + [False] * (num_ranks - 1)
