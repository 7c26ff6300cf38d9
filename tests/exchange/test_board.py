"""Meetings of asynchronous ranks of which one is lost, late, slow or started again; two boards over one store, without processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.distributed import HashStore, Store  # pyright: ignore[reportPrivateImportUsage]

from unscatter.exchange.board import Board
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.world import World


@pytest.fixture
def store() -> Store:
    return HashStore()


def board(store: Store, rank: int, size: int = 2) -> Board:
    world = World(rank=rank, size=size, local_rank=rank, local_size=size, port=1, hosts_rendezvous=False)
    return Board(Rendezvous(world, store, timeout_s=1.0), straggler_s=0.05)


def numbers(value: float) -> dict[str, torch.Tensor]:
    return {"x": torch.tensor([value])}


def nobody(rank: int) -> bool:
    return False


def first(rank: int) -> bool:
    return rank == 0


def test_of_two_ranks_that_both_lead_the_first_one_to_speak_is_believed_by_both(store: Store) -> None:
    one, other = board(store, 0), board(store, 1)
    one.rendezvous.offer_long("sum", b"first")
    other.rendezvous.offer_long("sum", b"a longer second")
    assert one.rendezvous.get_offered("sum") == other.rendezvous.get_offered("sum") == b"first"


def test_a_rank_that_was_stopped_while_it_led_finds_what_the_others_have_found_without_it(store: Store) -> None:
    sleeper, other = board(store, 0), board(store, 1)
    found = other.total(numbers(3.0), is_lost=first)
    assert torch.equal(sleeper.total(numbers(5.0), is_lost=nobody)["x"], found["x"])
    assert float(found["x"]) == 3.0
    assert other.agree("enough", is_lost=first) == sleeper.agree("go on", is_lost=nobody) == "enough"
    assert sleeper.speaker == other.speaker == 1


def test_the_sums_do_not_wait_for_ever_for_a_first_rank_that_is_alive_and_does_not_come(store: Store) -> None:
    assert float(board(store, 1).total(numbers(3.0), is_lost=nobody)["x"]) == 3.0


def test_a_first_rank_that_is_slow_is_told_to_come_and_is_in_the_sums(store: Store) -> None:
    slow, other = board(store, 0), board(store, 1)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(other.total, numbers(3.0), is_lost=nobody)
        while not slow.is_over():
            assert not found.done()
        assert float(slow.total(numbers(5.0), is_lost=nobody)["x"]) == 8.0
        assert float(found.result()["x"]) == 8.0


def test_a_round_is_over_for_a_rank_that_is_missing_in_its_sums(store: Store) -> None:
    sleeper, other = board(store, 0), board(store, 1)
    assert not sleeper.is_over()
    other.total(numbers(3.0), is_lost=first)
    assert sleeper.is_over()


def test_a_rank_that_is_started_again_after_the_last_sums_ends_with_them(store: Store) -> None:
    one = board(store, 0)
    shared = one.share(numbers(1.0), is_lost=nobody)
    for value in (3.0, 4.0):
        one.total(numbers(value), is_lost=lambda rank: rank == 1)
        one.agree("enough" if value == 4.0 else "", is_lost=nobody)
    again = board(store, 1)
    again.catch_up()
    assert torch.equal(again.share(numbers(9.0), is_lost=nobody)["x"], shared["x"])
    assert again.num_starts == one.num_starts
    assert float(again.total(numbers(9.0), is_lost=nobody)["x"]) == 4.0
    assert again.agree("", is_lost=nobody) == "enough"


def test_a_rank_that_is_started_again_in_another_fit_begins_with_the_sums_of_that_fit(store: Store) -> None:
    one = board(store, 0)
    for _ in range(2):
        one.share(numbers(1.0), is_lost=nobody)
        one.total(numbers(3.0), is_lost=lambda rank: rank == 1)
    one.share(numbers(2.0), is_lost=nobody)
    again = board(store, 1)
    again.catch_up()
    assert float(again.share(numbers(9.0), is_lost=nobody)["x"]) == 2.0
    assert not again.is_over()
