"""The asynchronous ring under a virtual clock: every run is repeated bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from unscatter.errors import PeerLostError
from unscatter.exchange.async_ring import AsyncRing
from unscatter.exchange.staging import HostStaging, Snapshot, staging_for
from unscatter.exchange.transports import Fault, Faulty, Header, Transport, payload_sum
from unscatter.exchange.transports.faulty import FaultKind
from unscatter.exchange.transports.virtual import VirtualNetwork, VirtualTransport, run_ranks

Duration = Callable[[np.random.Generator, int], float]


def lognormal(random: np.random.Generator, rank: int) -> float:
    return float(random.lognormal(-0.5, 1.0))


def one_slow(random: np.random.Generator, rank: int) -> float:
    return 5.0 if rank == 0 else 1.0


def rings(network: VirtualNetwork, **options: object) -> list[AsyncRing]:
    def opener(rank: int) -> Callable[..., VirtualTransport]:
        return lambda *_: network.transport(rank)

    # Who is there is looked up at every step: the wall clock must not matter here.
    options = {"look_every_s": 0.0} | options
    return [AsyncRing(opener(rank), rank, network.num_ranks, **options) for rank in range(network.num_ranks)]  # pyright: ignore[reportArgumentType]


@dataclass
class LateSnapshot:
    """Weights that are complete in main memory when they were asked for often enough, as those of a busy GPU."""

    flat: Tensor
    questions: int

    def ready(self) -> bool:
        self.questions -= 1
        return self.questions < 0

    def take(self) -> tuple[Tensor, float]:
        return self.flat, payload_sum(self.flat)


class LateStaging:
    """Copies that take some steps."""

    def __init__(self, lag: Callable[[], int]) -> None:
        self.lag, self.host = lag, HostStaging()

    def current(self) -> Tensor:
        return self.host.current()

    def adopt(self, weights: Tensor) -> None:
        self.host.adopt(weights)

    def blend(self, payload: Tensor, share: float) -> None:
        self.host.blend(payload, share)

    def snapshot(self) -> Snapshot:
        return LateSnapshot(self.host.take()[0].clone(), self.lag())


def late(seed: int) -> Callable[[Tensor], LateStaging]:
    random = np.random.default_rng(seed)
    return lambda _: LateStaging(lambda: int(random.integers(0, 4)))


def run(
    network: VirtualNetwork,
    members: list[AsyncRing],
    weights: list[Tensor],
    steps: int,
    duration: Duration,
    update: float = 0.0,
    seed: int = 0,
) -> None:
    """Let every rank do ``steps`` steps; each adds ``update`` to its weights and then exchanges them."""
    random = np.random.default_rng(seed)

    def main(rank: int) -> Generator[float, None, None]:
        for _ in range(steps):
            yield duration(random, rank)
            weights[rank] = members[rank].mix(weights[rank] + update * members[rank].step_scale)

    run_ranks(network, [main(rank) for rank in range(len(members))])


def moments(network: VirtualNetwork, members: list[AsyncRing], weights: list[Tensor]) -> tuple[float, Tensor]:
    """Mass and mass times weights of all ranks and of everything under way, in double precision."""
    taken = {
        (key, header.transfer) for key, header, _ in network.under_way() if members[key[1]]._state.is_new(key[0], key[2], header.transfer)
    }
    mass, moment = 0.0, torch.zeros_like(weights[0], dtype=torch.float64)
    for ring, opinion in zip(members, weights, strict=True):
        mass += ring._state.mass
        moment += ring._state.mass * opinion.double()
        for parcel in ring._parcels.values():  # given, and on their way to main memory
            if parcel.is_new:
                mass += parcel.given.share
                moment += parcel.given.share * cast(LateSnapshot, parcel.snapshot).flat.double().reshape(moment.shape)
    for key, header, payload in network.under_way():
        if (key, header.transfer) in taken:
            mass += header.share
            moment += header.share * payload.double().reshape(moment.shape)
    return mass, moment


@pytest.mark.parametrize("stage", [staging_for, late(1)], ids=["main memory", "late copies"])
@pytest.mark.parametrize("num_ranks", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("duration", [lognormal, one_slow])
def test_weights_approach_the_average_that_one_process_computes(num_ranks: int, duration: Duration, stage: object) -> None:
    network = VirtualNetwork(num_ranks, latency_s=lambda: 0.3)
    members = rings(network, max_staleness=None, stage=stage)
    # Inputs that differ by rank, replica and element.
    weights = [torch.randn(2, 7) * (rank + 1) for rank in range(num_ranks)]
    mean = torch.stack(weights).double().mean(0)
    run(network, members, weights, 200, duration)
    for opinion in weights:
        torch.testing.assert_close(opinion.double(), mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stage", [staging_for, late(2)], ids=["main memory", "late copies"])
@pytest.mark.parametrize("num_ranks", [2, 3, 5, 8])
def test_mass_and_what_ranks_have_learnt_are_conserved_while_messages_are_late(num_ranks: int, stage: object) -> None:
    random = np.random.default_rng(5)
    network = VirtualNetwork(num_ranks, latency_s=lambda: float(random.exponential(2.0)))
    members = rings(network, max_staleness=None, stage=stage)
    weights = [torch.randn(1, 50) for _ in range(num_ranks)]
    before = torch.stack(weights).double().sum(0)
    run(network, members, weights, 60, lognormal)
    mass, moment = moments(network, members, weights)
    assert mass == pytest.approx(num_ranks, abs=1e-9)
    torch.testing.assert_close(moment, before, rtol=1e-4, atol=1e-4)


def test_nobody_waits_for_a_rank_that_is_five_times_slower() -> None:
    network = VirtualNetwork(4)
    members = rings(network)
    weights = [torch.zeros(1, 3) for _ in range(4)]
    run(network, members, weights, 100, one_slow)
    assert members[1].counts.waited_s == 0
    # Rank 0 has made its hundred steps after the others had ended theirs.
    assert network.now_s == pytest.approx(500)


@pytest.mark.parametrize("duration", [lambda random, rank: 1.0, lognormal])
def test_updates_of_all_ranks_move_the_average_as_synchronous_averaging_would(duration: Duration) -> None:
    network = VirtualNetwork(8)
    members = rings(network)
    weights = [torch.zeros(1, 3) for _ in range(8)]
    run(network, members, weights, 100, duration, update=0.01)
    mass, moment = moments(network, members, weights)
    # Ranks that hold very little mass for a while cannot make up for it.
    assert float(moment.mean()) / mass == pytest.approx(1.0, rel=0.15)
    if duration is not lognormal:  # else some have ended long before the others
        assert float(torch.stack(weights).std()) < 0.05


def test_a_run_under_the_virtual_clock_repeats_itself_bit_for_bit() -> None:
    def once() -> list[Tensor]:
        network = VirtualNetwork(5, latency_s=lambda: 0.1)
        weights = [torch.arange(4.0)[None] * (rank + 1) for rank in range(5)]
        run(network, rings(network), weights, 40, lognormal, update=0.1)
        return weights

    assert all(torch.equal(a, b) for a, b in zip(once(), once(), strict=True))


def test_the_ring_closes_over_a_dead_rank_and_the_others_still_agree() -> None:
    network = VirtualNetwork(5)
    members = rings(network)
    weights = [torch.full((1, 2), float(rank)) for rank in range(5)]
    run(network, members, weights, 2, lambda random, rank: 1.0)
    network.kill(2)
    alive = [0, 1, 3, 4]
    for _ in range(60):
        for rank in alive:
            weights[rank] = members[rank].mix(weights[rank])
    survivors = torch.stack([weights[rank] for rank in alive])
    assert float(survivors.max() - survivors.min()) < 1e-5
    assert members[0].statistics()["lost_ranks"] == 1
    assert sum(members[rank].mass for rank in alive) > 2


def test_a_rank_that_is_back_is_taken_into_the_ring_again_and_catches_up() -> None:
    network = VirtualNetwork(3)
    members = rings(network, max_staleness=8)
    weights = [torch.zeros(1, 2) for _ in range(3)]
    run(network, members, weights, 3, lambda random, rank: 1.0)
    network.kill(1)
    for _ in range(400):
        for rank in (0, 2):
            weights[rank] = members[rank].mix(weights[rank] + 0.01)
    network.ranks[1].alive = True
    before = float(weights[0].mean())
    for _ in range(6):
        for rank in range(3):
            weights[rank] = members[rank].mix(weights[rank])
    # What was learnt meanwhile outweighs by far what the sleeper still believed.
    assert float(weights[1].mean()) == pytest.approx(before, rel=0.1)
    assert float(weights[0].mean()) == pytest.approx(before, rel=0.1)


@pytest.mark.parametrize("bad", ["nan", "garbage", "checksum"])
def test_a_damaged_message_is_refused_counted_and_harmless(bad: str) -> None:
    network = VirtualNetwork(2)
    _, right = rings(network)
    payload = torch.full((6,), 3.0)
    header = Header(1, 1, 0, 0.5, 18.0)
    if bad == "nan":
        payload[2] = math.nan
    elif bad == "garbage":
        payload[2] = 1e30
    else:
        header = header._replace(check=17.0)
    network.transport(0).publish(1, 0, header, payload)
    found = right.mix(torch.zeros(1, 6))
    assert torch.equal(found, torch.zeros(1, 6))
    assert right.statistics()["messages_refused"] == 1
    assert right.mass == 1.0
    network.transport(0).publish(1, 0, Header(1, 2, 0, 0.5, 18.0), torch.full((6,), 3.0))
    # Half of its mass is on its way to the other rank, so the two halves count alike.
    assert torch.equal(right.mix(found), torch.full((1, 6), 1.5))


def test_weights_that_are_not_finite_are_not_published_and_recover_from_others() -> None:
    network = VirtualNetwork(2)
    left, right = rings(network)
    left.mix(torch.full((1, 2), math.nan))
    assert left.statistics()["withheld"] == 1
    assert (left._state.mass, left._state.outgoing) == (1.0, {})  # what was not sent is not set aside
    right.mix(torch.ones(1, 2))
    assert torch.equal(left.mix(torch.full((1, 2), math.nan)), torch.ones(1, 2))


def test_weights_that_are_found_not_finite_late_recover_as_well() -> None:
    network = VirtualNetwork(2)
    left, right = rings(network, stage=late(3))
    ill, sound = torch.full((1, 2), math.nan), torch.ones(1, 2)
    for _ in range(20):
        ill, sound = left.mix(ill), right.mix(sound)
        assert torch.equal(sound, torch.ones(1, 2))
    assert torch.equal(ill, torch.ones(1, 2))
    assert left.statistics()["withheld"] >= 1
    assert moments(network, [left, right], [ill, sound])[0] == pytest.approx(2)


def test_a_copy_that_arrives_after_its_transfer_was_taken_back_is_not_sent() -> None:
    network = VirtualNetwork(3)
    members = rings(network, stage=lambda _: LateStaging(lambda: 5))
    weights = [torch.full((1, 2), float(rank)) for rank in range(3)]
    members[0].mix(weights[0])
    assert [parcel.given.target for parcel in members[0]._parcels.values()] == [2]
    network.kill(2)
    for _ in range(10):
        members[0].mix(weights[0])
    assert members[0].mass == pytest.approx(1.0)
    assert not [key for key, _, _ in network.under_way() if key[1] == 2]


def test_a_rank_without_any_news_waits_and_then_names_whom_it_has_waited_for() -> None:
    network = VirtualNetwork(2)
    left, _ = rings(network, max_staleness=3, timeout_s=0.05)
    weights = torch.zeros(1, 2)
    for _ in range(2):
        weights = left.after_step(weights)
    with pytest.raises(PeerLostError, match=r"rank 0 of 2 has heard nothing new for 0.05 s at step 3: rank 1 \(last at step -1\)"):
        left.after_step(weights)
    assert not rings(network, max_staleness=None)[0].isolated


def test_staleness_is_measured_in_steps_behind_the_furthest() -> None:
    network = VirtualNetwork(2, latency_s=lambda: 10.0)
    members = rings(network)
    weights = [torch.zeros(1, 2) for _ in range(2)]
    run(network, members, weights, 40, lambda random, rank: 1.0)
    assert 8 <= members[0].statistics()["staleness"] <= 12


@pytest.mark.parametrize("kind", ["drop", "corrupt", "delay"])
def test_a_lane_whose_message_was_lost_or_refused_goes_on_and_nothing_that_was_learnt_is_lost(kind: FaultKind) -> None:
    network = VirtualNetwork(3)
    members = rings(network)
    for ring in members:
        ring.open_transport = faulty(ring.open_transport, Fault(kind=kind, rank=1, step=3, until=12, versions=5))
    weights = [torch.full((1, 8), float(3 * rank)) for rank in range(3)]
    run(network, members, weights, 12, lambda random, rank: 1.0)
    published = members[1].counts.published
    run(network, members, weights, 150, lambda random, rank: 1.0)
    assert members[1].counts.published > published + 50
    assert sum(ring._state.mass for ring in members) < 3 + 1e-9
    assert float(torch.stack(weights).std(0).max()) < 1e-3


def faulty(open_transport: Callable[..., Transport], fault: Fault) -> Callable[..., Transport]:
    return lambda *arguments: Faulty(open_transport(*arguments), (fault,))


def test_a_rank_that_has_finished_its_round_and_is_then_killed_counts_as_lost_for_whoever_waits_for_it() -> None:
    network = VirtualNetwork(2)
    left, right = rings(network, look_every_s=0.0)
    for ring in (left, right):
        ring.mix(torch.zeros(1, 2))
    left.transport.beat(1, done=True)
    assert not right._is_dead(0)
    network.kill(0)
    assert right._is_dead(0)
    assert right.leads
