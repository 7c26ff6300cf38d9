from __future__ import annotations

import socket
import threading
from dataclasses import replace

import pytest

from unscatter.errors import DisagreementError, ExchangeError, PeerLostError
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.world import World


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def board() -> tuple[Rendezvous, Rendezvous]:
    """The same board as two ranks see it."""
    port = free_port()
    first = Rendezvous.join(World(rank=0, size=2, port=port, job="test"), timeout_s=10)
    second = Rendezvous.join(World(rank=1, size=2, port=port, job="test", hosts_rendezvous=False), timeout_s=10)
    return first, second


def test_what_one_rank_writes_the_other_reads_whatever_its_length() -> None:
    first, second = board()
    long = bytes(range(256)) * 40_000
    first.put("short", b"\x00\xff")
    first.put_long("long", long)
    first.put_long("empty", b"")
    assert second.get("short") == b"\x00\xff"
    assert second.get_long("long") == long
    assert second.get_long("empty") == b""


def test_parts_of_the_board_do_not_see_one_another() -> None:
    first, second = board()
    first.below("one").put("key", b"1")
    # A value takes a moment to get from one connection to the other.
    assert second.below("one").get("key") == b"1"
    assert not second.below("other").has("key")


def test_a_value_that_does_not_come_is_an_error_that_says_who_was_waited_for() -> None:
    first, _ = board()
    with pytest.raises(PeerLostError, match=r"rank 0 of 2 has waited 0.3 s for rank 1 \('weights'\)"):
        first.get("weights", of="rank 1", timeout_s=0.3)


def test_ranks_that_run_something_else_are_refused_with_both_values() -> None:
    first, second = board()
    first.compare("runcard", "aaaa")
    first.compare("version", "1")
    second.compare("version", "1")
    with pytest.raises(DisagreementError, match="rank 1 and rank 0 do not run the same runcard: bbbb here, aaaa there"):
        second.compare("runcard", "bbbb")


def test_whoever_keeps_the_board_stays_until_the_others_have_parted() -> None:
    first, second = board()
    thread = threading.Thread(target=first.part, daemon=True)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    second.part()
    thread.join(10)
    assert not thread.is_alive()


def test_whoever_keeps_the_board_does_not_wait_for_ever_for_the_others_to_part() -> None:
    first, _ = board()
    with pytest.raises(PeerLostError, match=r"rank 0 of 2 has waited 0.2 s for the others to begin: 0 of 1 have"):
        replace(first, timeout_s=0.2).part()


def test_a_port_that_is_taken_and_an_address_where_nobody_listens_are_errors_with_the_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ExchangeError, match=f"cannot open the rendezvous at 127.0.0.1:{port}.*\nIf the port is taken"):
            Rendezvous.join(World(port=port), timeout_s=0.3)
    nobody = World(rank=1, size=2, port=free_port(), hosts_rendezvous=False)
    with pytest.raises(ExchangeError, match=f"rank 1 has found no rendezvous at 127.0.0.1:{nobody.port} within 0.3 s"):
        Rendezvous.join(nobody, timeout_s=0.3)
