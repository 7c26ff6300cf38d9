"""Faults happen where and when they are asked for, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from tests.exchange.transports.peers import filled, next_message, publish, wait_until
from unscatter.exchange.transports import Fault, Faulty, SharedMemoryTransport, TcpTransport, Transport
from unscatter.exchange.transports.faulty import FaultKind

SIZE = 100
Ends = list[Faulty]


def faults(kind: FaultKind) -> tuple[Fault, ...]:
    return (Fault(kind=kind, rank=0, step=40, until=42, peer=1, versions=2), Fault(kind=kind, rank=5, step=0, until=100))


@pytest.fixture
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    job = f"test {os.getpid()} {request.node.name}"
    made = [SharedMemoryTransport(job, rank=rank, ranks=(0, 1, 2), num_lanes=1, num_parameters=SIZE) for rank in range(3)]
    yield [Faulty(transport, faults(request.param)) for transport in made]
    for transport in made:
        transport.close()


def versions_seen(ends: Ends, reader: int, steps: range = range(38, 46)) -> list[int | None]:
    """Versions that a reader finds when rank 0 publishes one per step, numbered by it."""
    seen = []
    for step in steps:
        ends[0].beat(step)
        publish(ends[0], reader, step, SIZE)
        message = ends[reader].poll(0, 0)
        seen.append(None if message is None else message.header.version)
    return seen


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ("drop", [38, 39, None, None, 42, 43, 44, 45]),
        ("delay", [38, 39, None, None, 42, 43, 44, 45]),
        ("corrupt", [38, 39, None, None, 42, 43, 44, 45]),
        ("nan", [38, 39, None, None, 42, 43, 44, 45]),
        ("disconnect", [38, 39, None, None, 42, 43, 44, 45]),
    ],
    indirect=["ends"],
)
def test_messages_suffer_at_the_rank_and_steps_named(ends: Ends, expected: list[int | None]) -> None:
    assert isinstance(ends[0], Transport)
    assert (ends[0].rank, ends[0].num_ranks, ends[0].num_lanes) == (0, 3, 1)
    assert versions_seen(ends, 1) == expected
    assert ends[0].statistics()["faults_injected"] == 2
    assert versions_seen(ends, 2) == list(range(38, 46))
    assert ends[1].statistics()["faults_injected"] == ends[2].statistics()["faults_injected"] == 0


@pytest.mark.parametrize(("ends", "refused"), [("corrupt", 2), ("nan", 2), ("drop", 0)], indirect=["ends"])
def test_damage_is_refused_by_the_reader_and_loss_is_not(ends: Ends, refused: int) -> None:
    versions_seen(ends, 1)
    assert ends[1].statistics()["messages_refused"] == refused


def test_delayed_messages_arrive_so_many_versions_late() -> None:
    made = [SharedMemoryTransport("test delay", rank=rank, ranks=(0, 1), num_lanes=1, num_parameters=SIZE) for rank in range(2)]
    ends = [Faulty(transport, (Fault(kind="delay", rank=0, step=40, until=44, versions=2),)) for transport in made]
    assert versions_seen(ends, 1) == [38, 39, None, None, 40, 41, 44, 45]
    publish(ends[0], 1, 46, SIZE)
    assert torch.equal(next_message(ends[1], 0).payload, filled(46, SIZE))
    for end in ends:
        end.close()


@pytest.mark.parametrize("ends", ["duplicate"], indirect=True)
def test_duplicate_is_returned_once_more_unless_a_newer_one_has_come(ends: Ends) -> None:
    publish(ends[1], 0, 7, SIZE)
    ends[0].beat(40)
    assert [message and message.header.version for message in (ends[0].poll(1, 0) for _ in range(3))] == [7, 7, None]
    publish(ends[1], 0, 8, SIZE)
    ends[0].poll(1, 0)
    ends[0].beat(42)
    publish(ends[1], 0, 9, SIZE)
    assert [message and message.header.version for message in (ends[0].poll(1, 0) for _ in range(3))] == [9, None, None]


@pytest.mark.parametrize("ends", ["disconnect"], indirect=True)
def test_nothing_passes_a_broken_connection_until_it_is_whole_again(ends: Ends) -> None:
    ends[0].confirm(1, 0, 1)
    ends[1].confirm(0, 0, 1)
    assert ends[0].confirmed(1, 0) == ends[1].confirmed(0, 0) == 1
    ends[0].beat(40)
    publish(ends[1], 0, 7, SIZE)
    assert ends[0].poll(1, 0) is None
    ends[0].confirm(1, 0, 2)
    ends[1].confirm(0, 0, 2)
    assert ends[0].confirmed(1, 0) == ends[1].confirmed(0, 0) == 1
    ends[0].beat(42)
    assert ends[0].confirmed(1, 0) == ends[1].confirmed(0, 0) == 2
    assert next_message(ends[0], 1).header.version == 7


def test_disconnect_breaks_a_real_connection() -> None:
    addresses: dict[int, tuple[str, int]] = {}
    made = [
        TcpTransport(rank=rank, num_ranks=2, num_lanes=1, num_parameters=SIZE, secret="s3cret", addresses=addresses) for rank in range(2)
    ]
    addresses.update({transport.rank: transport.address for transport in made})
    sender = Faulty(made[0], (Fault(kind="disconnect", rank=0, step=1),))
    publish(sender, 1, 1, SIZE)
    assert next_message(made[1], 0).header.version == 1
    sender.beat(1)
    publish(sender, 1, 2, SIZE)
    assert wait_until(lambda: made[0].statistics()["connections_lost"] == 1)
    sender.beat(2)
    publish(sender, 1, 3, SIZE)
    assert next_message(made[1], 0).header.version == 3
    sender.close()
    made[1].close()
