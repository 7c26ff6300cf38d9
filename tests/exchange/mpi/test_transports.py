"""Mailboxes over MPI: what is read is whole and grows, refusals are counted, and ranks know of one another."""

from __future__ import annotations

from typing import Any

import pytest

from tests.exchange.mpi.launch import everything, needs_mpi
from tests.exchange.mpi.workers import SIZE, TRANSPORTS, VERSIONS

pytestmark = [needs_mpi, pytest.mark.parametrize("name", list(TRANSPORTS))]


def runs(name: str) -> list[dict[str, Any]]:
    return [run[name] for run in everything()[:3]]


def test_messages_are_whole_versions_grow_and_the_last_one_comes(name: str) -> None:
    for run in runs(name):
        assert run["wrong"] == 0
        for versions in run["versions"]:
            assert versions == sorted(set(versions))
            assert versions[-1] == VERSIONS


def test_taken_transfers_are_confirmed_to_their_sender(name: str) -> None:
    assert all(run["confirmed"] == [VERSIONS, VERSIONS] for run in runs(name))


def test_payload_that_is_not_what_its_header_says_is_refused_and_counted(name: str) -> None:
    assert all(run["refused"] >= 1 for run in runs(name))


def test_ranks_are_alive_with_their_step_and_then_done(name: str) -> None:
    for run in runs(name):
        assert run["alive"] == [True, True]
        # Pulses in messages come a few times a second only.
        assert all(step == VERSIONS or (name == "messages" and 0 < step < VERSIONS) for step in run["steps"])
    assert runs(name)[0]["done"] == [True, True]


def test_traffic_is_counted(name: str) -> None:
    for run in runs(name):
        statistics = run["statistics"]
        assert statistics["messages_received"] >= 2
        assert statistics["bytes_received"] == statistics["messages_received"] * 4 * SIZE
        assert statistics["bytes_sent"] == statistics["messages_sent"] * 4 * SIZE
