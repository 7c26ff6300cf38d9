"""Whole fits on several ranks, each a real process; what is lost, stopped or slow on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.exchange.fits import SETTINGS, fit
from tests.exchange.ranks import run_ranks, values
from unscatter.diagnostics import cramer_rao
from unscatter.problems import proxy2d
from unscatter.runs import RunDirectory


def pulls(parameters: np.ndarray) -> np.ndarray:
    """Distances to the truth in units of the smallest possible error of one fit to all events."""
    problem = proxy2d(nodes=17)
    truth = torch.tensor(problem.truth, dtype=torch.float64)
    sigma = cramer_rao(problem, truth, torch.tensor([7200.0]), rates=False).sigma
    return (parameters - truth.numpy()) / sigma.numpy()


@pytest.mark.parametrize("name", ["async-ring", "allreduce", "localsteps"])
def test_ranks_find_the_truth_together_agree_on_every_bit_and_leave_one_run(name: str, tmp_path: Path) -> None:
    found = values(run_ranks(3, fit, str(tmp_path / "run"), {"name": name}))
    assert all(np.array_equal(one["parameters"], found[0]["parameters"]) for one in found)
    assert [one["leads"] for one in found] == [True, False, False]
    assert all(one["steps"] == SETTINGS.steps and one["reason"] == "not judged" for one in found)
    assert np.abs(pulls(found[0]["parameters"])).max() < 5
    run = RunDirectory.open(tmp_path / "run")
    assert len(run.read_result("parameters")) == 5
    assert run.read_result("summary")["num_ranks"] == 3
    assert [record["step"] for record in run.read_metrics()] == [*range(20, 121, 20)]
    assert [[len(run.checkpoint_files(rank))] for rank in range(3)] == [[2], [2], [2]]


def test_a_synchronous_fit_that_was_stopped_and_resumed_equals_the_uninterrupted_one_bit_for_bit(tmp_path: Path) -> None:
    whole = values(run_ranks(2, fit, str(tmp_path / "whole"), {"name": "allreduce"}))
    stopped = values(run_ranks(2, fit, str(tmp_path / "parts"), {"name": "allreduce"}, {(1, 53): "stop"}))
    assert {one["reason"] for one in stopped} == {"interrupted"}
    assert stopped[0]["steps"] == stopped[1]["steps"] < SETTINGS.steps
    resumed = values(run_ranks(2, resumed_fit, str(tmp_path / "parts"), {"name": "allreduce"}))
    assert np.array_equal(resumed[0]["parameters"], whole[0]["parameters"])


def resumed_fit(*args: object) -> object:
    return fit(*args, go_on=True)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("before", "after", "name"), [(2, 3, "async-ring"), (3, 2, "allreduce")])
def test_a_run_goes_on_with_another_number_of_ranks(before: int, after: int, name: str, tmp_path: Path) -> None:
    stopped = values(run_ranks(before, fit, str(tmp_path / "run"), {"name": name}, {(0, 25): "stop"}))
    assert {one["reason"] for one in stopped} == {"interrupted"}
    found = values(run_ranks(after, resumed_fit, str(tmp_path / "run"), {"name": name}))
    assert {one["steps"] for one in found} == {SETTINGS.steps}
    assert all(np.array_equal(one["parameters"], found[0]["parameters"]) for one in found)


@pytest.mark.parametrize("lost", [0, 2])
def test_async_ring_ends_the_fit_without_a_rank_that_was_killed(lost: int, tmp_path: Path) -> None:
    outcomes = run_ranks(3, fit, str(tmp_path / "run"), {"name": "async-ring"}, {(lost, 30): "kill"}, without=lost)
    found = values([outcome for rank, outcome in enumerate(outcomes) if rank != lost])
    assert np.array_equal(found[0]["parameters"], found[1]["parameters"])
    assert [one["leads"] for one in found] == [True, False]
    assert np.abs(pulls(found[0]["parameters"])).max() < 5
    summary = RunDirectory.open(tmp_path / "run").read_result("summary")
    assert summary["exchange"]["lost_ranks"] == 1


def test_a_synchronous_fit_names_the_rank_that_was_killed_on_every_other_and_can_be_resumed(tmp_path: Path) -> None:
    outcomes = run_ranks(3, fit, str(tmp_path / "run"), {"name": "allreduce"}, {(1, 30): "kill"}, without=1)
    for rank in (0, 2):
        assert f"PeerLostError: rank {rank} of 3 has heard nothing from rank 1" in str(outcomes[rank].error)
    found = values(run_ranks(3, resumed_fit, str(tmp_path / "run"), {"name": "allreduce"}))
    assert {one["steps"] for one in found} == {SETTINGS.steps}
