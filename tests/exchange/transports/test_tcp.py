"""TCP between ranks: whole messages, newest wins, proofs of the secret, broken connections, health, and nothing left behind."""

from __future__ import annotations

import logging
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import torch

from tests.exchange.transports.peers import confirm_first, filled, live, next_message, peer, publish, publish_many, wait_until
from unscatter.errors import ExchangeError, ShapeError
from unscatter.exchange.transports import Header, TcpTransport, Transport
from unscatter.exchange.transports.frames import BEAT, DATA, Frame, Script, pack
from unscatter.exchange.transports.handshake import Identity, introduce
from unscatter.exchange.transports.link import Link

SIZE = 1003
Make = Callable[..., TcpTransport]


def options(rank: int, addresses: dict[int, tuple[str, int]], **changes: Any) -> dict[str, Any]:
    return {
        "rank": rank,
        "num_ranks": 3,
        "num_lanes": 2,
        "num_parameters": SIZE,
        "secret": "s3cret",
        "addresses": addresses,
        "silence_s": 1.0,
        **changes,
    }


@pytest.fixture
def addresses() -> dict[int, tuple[str, int]]:
    return {}


@pytest.fixture
def make(addresses: dict[int, tuple[str, int]]) -> Iterator[Make]:
    made: list[TcpTransport] = []

    def build(rank: int, **changes: Any) -> TcpTransport:
        made.append(TcpTransport(**options(rank, addresses, **changes)))
        addresses[rank] = made[-1].address
        return made[-1]

    yield build
    for transport in made:
        transport.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tcp-")]


def test_message_arrives_as_it_was_sent(make: Make) -> None:
    sender, reader = make(0), make(1)
    assert isinstance(sender, Transport)
    assert (sender.rank, sender.num_ranks, sender.num_lanes) == (0, 3, 2)
    payload = torch.randn(SIZE)
    header = Header(3, 7, 11, 0.25, float(payload.sum(dtype=torch.float64)))
    sender.publish(1, 1, header, payload)
    payload_as_sent = payload.clone()
    payload.fill_(0.0)
    message = next_message(reader, 0, 1)
    assert message.header == header
    assert torch.equal(message.payload, payload_as_sent)
    assert reader.poll(0, 1) is None
    assert reader.poll(0, 0) is None


def test_newest_wins_at_the_sender(make: Make, addresses: dict[int, tuple[str, int]]) -> None:
    sender = make(0)
    for version in range(1, 6):
        publish(sender, 1, version, SIZE)  # before anybody can be called
    reader = make(1)
    assert next_message(reader, 0).header.version == 5
    assert reader.poll(0, 0) is None
    assert sender.statistics()["messages_sent"] == 1


def test_newest_wins_at_the_receiver(make: Make) -> None:
    sender, reader = make(0), make(1)
    for version in range(1, 4):
        publish(sender, 1, version, SIZE)
        assert wait_until(lambda version=version: sender.statistics()["messages_sent"] == version)
    publish(sender, 1, 4, SIZE, lane=1)
    next_message(reader, 0, 1)  # came after the others
    assert next_message(reader, 0).header.version == 3
    assert reader.poll(0, 0) is None
    assert reader.statistics()["messages_received"] == 2


@pytest.mark.parametrize("size", [5004, 600_012])
def test_payload_is_whole_however_fast_it_is_overwritten(size: int, make: Make, addresses: dict[int, tuple[str, int]]) -> None:
    count = 10_000 if size < 10**5 else 100
    reader = make(1, num_parameters=size)
    with peer(publish_many, TcpTransport, options(0, dict(addresses), num_parameters=size), size, 1, count) as sender:
        sender.get()
        sender.tell("go")
        last = reads = 0
        while last < count:
            message = next_message(reader, 0)
            version = message.header.version
            assert -float(message.payload.min()) == float(message.payload.max()) == float(message.payload.abs().min()) == version > last
            last, reads = version, reads + 1
        assert reads > 1
        assert reader.statistics()["messages_received"] == reads
        assert reader.statistics()["messages_refused"] == 0
        sender.get()


def test_confirmed_transfer_is_seen_by_its_sender_only(make: Make, addresses: dict[int, tuple[str, int]]) -> None:
    sender, third = make(0), make(2)
    with peer(confirm_first, TcpTransport, options(1, {}), 0) as reader:
        addresses[1] = reader.get()
        publish(sender, 1, 4, SIZE, transfer=6)
        header, payload = reader.get()
        assert header.transfer == 6
        assert (payload == 4.0).all()
        assert wait_until(lambda: sender.confirmed(1, 0) == 6)
        assert sender.confirmed(1, 1) == sender.confirmed(2, 0) == third.confirmed(1, 0) == 0


def test_broken_connection_heals_and_the_newest_message_arrives(make: Make) -> None:
    sender, reader = make(0), make(1)
    for version in range(1, 15):
        publish(sender, 1, version, SIZE, transfer=version)
        sender.disconnect(1)
        assert wait_until(lambda version=version: (message := reader.poll(0, 0)) is not None and message.header.version == version)
    assert sender.statistics()["connections_made"] > 1


def test_unconfirmed_message_is_sent_again_and_confirmed_is_not(make: Make) -> None:
    sender, reader = make(0), make(1)
    publish(sender, 1, 1, SIZE, transfer=1)
    next_message(reader, 0)
    for made, sent in ((2, 2), (3, 3)):
        sender.disconnect(1)
        assert wait_until(lambda made=made: sender.statistics()["connections_made"] == made)
        assert wait_until(lambda sent=sent: sender.statistics()["messages_sent"] == sent)
    reader.confirm(0, 0, 1)
    assert wait_until(lambda: sender.confirmed(1, 0) == 1)
    sender.disconnect(1)
    assert wait_until(lambda: sender.statistics()["connections_made"] == 4)
    publish(sender, 1, 2, SIZE, lane=1)
    next_message(reader, 0, 1)
    assert sender.statistics()["messages_sent"] == 4
    assert reader.poll(0, 0) is None  # what was sent twice is returned once


def test_confirmation_is_told_again_after_the_connection_broke(make: Make) -> None:
    sender, reader = make(0), make(1)
    publish(sender, 1, 1, SIZE, transfer=5)
    next_message(reader, 0)
    sender.disconnect(1)
    reader.confirm(0, 0, 5)
    assert wait_until(lambda: sender.confirmed(1, 0) == 5)


def test_rank_that_was_killed_and_starts_again_is_found_at_its_new_address(make: Make, addresses: dict[int, tuple[str, int]]) -> None:
    sender = make(0)
    for version in (1, 2):
        with peer(confirm_first, TcpTransport, options(1, {}), 0) as reader:
            addresses[1] = reader.get()
            publish(sender, 1, version, SIZE, transfer=version)
            assert reader.get()[0].version == version
            assert wait_until(lambda version=version: sender.confirmed(1, 0) == version)
            reader.kill()


def test_sender_that_starts_again_may_number_its_versions_anew(make: Make) -> None:
    reader = make(1)
    for _ in range(2):
        sender = make(0)
        publish(sender, 1, 1, SIZE)
        assert next_message(reader, 0).header.version == 1
        sender.close()


def test_killed_peer_is_noticed(make: Make, addresses: dict[int, tuple[str, int]]) -> None:
    observer = make(0)
    with peer(live, TcpTransport, options(1, {}), 5) as other:
        addresses[1] = other.get()
        publish(observer, 1, 1, SIZE)
        assert wait_until(lambda: observer.health(1)[:2] == (True, 5))
        other.kill()
        assert wait_until(lambda: not observer.health(1).alive, 5.0)
        assert not observer.health(1).done


def test_stopped_peer_is_noticed_and_alive_again_when_continued(make: Make, addresses: dict[int, tuple[str, int]]) -> None:
    observer = make(0)
    with peer(live, TcpTransport, options(1, {}), 5) as other:
        addresses[1] = other.get()
        publish(observer, 1, 1, SIZE)
        assert wait_until(lambda: observer.health(1).step == 5)
        os.kill(other.process.pid or 0, signal.SIGSTOP)
        assert wait_until(lambda: not observer.health(1).alive, 5.0)
        publish(observer, 1, 2, SIZE)
        assert not wait_until(lambda: observer.health(1).alive, 2.0)  # longer than a connection is kept
        os.kill(other.process.pid or 0, signal.SIGCONT)
        assert wait_until(lambda: observer.health(1).alive, 5.0)


def test_silent_peer_stays_alive_by_heartbeats_in_both_directions(make: Make) -> None:
    sender, reader = make(0, silence_s=0.5), make(1, silence_s=0.5)
    publish(sender, 1, 1, SIZE)
    next_message(reader, 0)
    sender.beat(17)
    assert wait_until(lambda: reader.health(0).step == 17)
    assert not wait_until(lambda: not (sender.health(1).alive and reader.health(0).alive), 1.5)


def test_nothing_is_known_of_ranks_without_a_connection(make: Make) -> None:
    assert make(0).health(2) == (True, -1, 0.0, False)


def test_target_that_never_answers_counts_as_lost(make: Make) -> None:
    sender = make(0, silence_s=0.3)
    publish(sender, 1, 1, SIZE)
    assert wait_until(lambda: not sender.health(1).alive)


def test_rank_that_leaves_in_good_order_is_done_and_its_last_message_arrives(make: Make) -> None:
    size = 600_000
    one, two, three = (make(rank, num_parameters=size) for rank in range(3))
    publish(one, 1, 1, size)
    next_message(two, 0)
    publish(two, 2, 1, size)
    two.beat(8)
    two.close()
    two.close()
    assert wait_until(lambda: one.health(1).done and three.health(1).done)
    assert three.health(1).step == 8
    assert next_message(three, 1).header.version == 1


def test_end_that_is_announced_is_heard_before_the_connection_closes(make: Make) -> None:
    one, two = make(0, silence_s=60.0), make(1, silence_s=60.0)  # no heartbeat is due
    publish(one, 1, 1, SIZE)
    next_message(two, 0)
    two.beat(4, done=True)
    one.beat(5, done=True)
    assert wait_until(lambda: one.health(1).done and two.health(0).done)


def test_rank_that_goes_on_after_its_end_is_heard_at_once_in_both_directions(make: Make) -> None:
    one, two = make(0, silence_s=60.0), make(1, silence_s=60.0)  # no heartbeat is due
    publish(one, 1, 1, SIZE)
    next_message(two, 0)
    for end in range(2):
        for transport in (one, two):
            transport.beat(10 * end, done=True)
        assert wait_until(lambda: one.health(1).done and two.health(0).done)
        for transport in (one, two):
            transport.beat(10 * end + 1)
        assert wait_until(lambda: not one.health(1).done and not two.health(0).done)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"secret": "guess"}, "does not know the secret"),
        ({"job": "another"}, "does not know the secret"),
        ({"num_parameters": 7}, "has other sizes"),
        ({"num_lanes": 1}, "has other sizes"),
        ({"num_ranks": 9, "rank": 8}, "has another idea of the ranks"),
    ],
)
def test_rank_that_does_not_belong_is_refused_by_both_sides(
    changes: dict[str, Any], reason: str, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    good, reader, bad = make(0), make(1), make(**{"rank": 2, **changes})
    publish(bad, 1, 1, changes.get("num_parameters", SIZE))
    assert wait_until(lambda: reader.statistics()["connections_refused"] >= 1 and bad.statistics()["connections_refused"] >= 1)
    publish(good, 1, 2, SIZE)
    assert next_message(reader, 0).header.version == 2
    assert reader.poll(2, 0) is None
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == len(set(lines)) == 2
    assert any("rank 1 of job '' has refused" in line and f"rank {bad.rank}" in line and reason in line for line in lines)
    assert any(line.startswith(f"rank {bad.rank} of job") and "rank 1 at ('127.0.0.1'" in line and reason in line for line in lines)


def test_server_that_does_not_know_the_secret_gets_no_message(make: Make, addresses: dict[int, tuple[str, int]]) -> None:
    sender = make(0)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(10.0)
        addresses[1] = server.getsockname()[:2]
        publish(sender, 1, 1, SIZE)
        connection, _ = server.accept()
        with closing(connection):
            connection.settimeout(10.0)
            connection.sendall(struct.pack("<4sH", b"unsc", 1) + bytes(32))
            introduction = connection.recv(1000)
            connection.sendall(struct.pack("<4sH", b"unsc", 1) + b"\0" + bytes(32))
            assert connection.recv(1000) == b""
    assert b"s3cret" not in introduction
    assert wait_until(lambda: sender.statistics()["connections_refused"] == 1)


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(500), b"unsc\x09\x00" + bytes(200), struct.pack("<4sH", b"unsc", 1) + bytes(200)]
)
def test_garbage_is_refused_at_once(data: bytes, make: Make) -> None:
    good, reader = make(0), make(1)
    with closing(socket.create_connection(reader.address, timeout=10.0)) as stranger:
        stranger.sendall(data)
        assert wait_until(lambda: reader.statistics()["connections_refused"] == 1, 1.5)
    publish(good, 1, 2, SIZE)
    assert next_message(reader, 0).header.version == 2


def test_stranger_that_says_nothing_is_sent_away(make: Make) -> None:
    good, reader = make(0), make(1, silence_s=0.2)
    with closing(socket.create_connection(reader.address, timeout=10.0)) as stranger:
        stranger.sendall(b"uns")
        publish(good, 1, 2, SIZE)
        assert next_message(reader, 0).header.version == 2
        assert wait_until(lambda: reader.statistics()["connections_refused"] == 1)


def test_strangers_beyond_a_number_are_sent_away_at_once(make: Make) -> None:
    good, reader = make(0), make(1, silence_s=20.0)
    strangers = [socket.create_connection(reader.address, timeout=10.0) for _ in range(25)]
    assert wait_until(lambda: reader.statistics()["connections_refused"] == 25 - 3 - 16)
    for stranger in strangers:
        stranger.close()
    publish(good, 1, 2, SIZE)
    assert next_message(reader, 0).header.version == 2


class Impostor:
    """Rank 2, which knows the secret and then says what it should not."""

    def __init__(self, reader: TcpTransport) -> None:
        identity = Identity(rank=2, num_ranks=3, num_lanes=2, num_parameters=SIZE, itemsize=4, job="", secret="s3cret", incarnation=1)
        self.sock = socket.create_connection(reader.address, timeout=10.0)
        self.link = Link(self.sock)
        self.answered = False
        self.link.follow(self.script(identity))
        assert wait_until(self.go_on)
        self.sock.settimeout(10.0)

    def script(self, identity: Identity) -> Script:
        yield from introduce(self.link, identity, 1)
        self.answered = True
        while True:
            yield memoryview(bytearray(10))

    def go_on(self) -> bool:
        self.link.write()
        self.link.read()
        return self.answered


@pytest.mark.parametrize(
    "frame",
    [
        pack(Frame(DATA, 2, 1, length=2**40)),
        pack(Frame(DATA, 2, 1, length=4 * SIZE, lane=2)),
        pack(Frame(BEAT, 2, 1, length=4)),
        pack(Frame(BEAT, 0, 1)),
        pack(Frame(99, 2, 1)),
        pack(Frame(BEAT, 2, 1))[:-1] + b"\xff",
        bytes(300),
    ],
    ids=["length", "lane", "length of a heartbeat", "sender", "kind", "checksum", "zeros"],
)
def test_frame_that_makes_no_sense_closes_the_connection(frame: bytes, make: Make) -> None:
    good, reader = make(0), make(1)
    with closing(Impostor(reader).sock) as sock:
        sock.sendall(frame)
        assert wait_until(lambda: reader.statistics()["connections_refused"] == 1)
    publish(good, 1, 2, SIZE)
    assert next_message(reader, 0).header.version == 2


def test_half_a_frame_and_silence_disturbs_nobody(make: Make) -> None:
    good, reader = make(0), make(1, silence_s=0.3)
    with closing(Impostor(reader).sock) as sock:
        sock.sendall(pack(Frame(DATA, 2, 1, length=4 * SIZE)) + bytes(2 * SIZE))
        publish(good, 1, 2, SIZE)
        assert next_message(reader, 0).header.version == 2
        sock.settimeout(10.0)
        while sock.recv(1000):  # heartbeats, until the connection is given up
            pass
    assert reader.poll(2, 0) is None
    assert wait_until(lambda: not reader.health(2).alive)


@pytest.mark.parametrize(("value", "crc"), [(1.0, 1), (float("nan"), None)])
def test_damaged_payload_is_refused_and_counted(value: float, crc: int | None, make: Make) -> None:
    good, reader = make(0), make(1)
    payload = filled(1, SIZE)
    payload[5] = value
    if crc is None:
        good.publish(1, 0, Header(1, 1, 1, 1.0, float(SIZE)), payload)
    else:
        with closing(Impostor(reader).sock) as sock:
            header = Header(1, 1, 1, 1.0, float(SIZE))
            sock.sendall(pack(Frame(DATA, 2, 1, length=4 * SIZE, payload_crc=crc, header=header)) + payload.numpy().tobytes())
            assert wait_until(lambda: reader.statistics()["messages_refused"] == 1)
    assert wait_until(lambda: reader.statistics()["messages_refused"] == 1)
    assert reader.poll(0, 0) is None
    assert reader.poll(2, 0) is None
    publish(good, 1, 2, SIZE)
    assert next_message(reader, 0).header.version == 2


def test_impossible_settings_are_refused(make: Make) -> None:
    taken = make(0)
    with pytest.raises(ExchangeError, match=r"cannot listen at 127.0.0.1 port \d+: Address already in use"):
        make(1, port=taken.address[1])
    with pytest.raises(ExchangeError, match="cannot listen at 192.0.2.1 port 0"):
        make(1, host="192.0.2.1")
    with pytest.raises(ExchangeError, match="rank 1 has no secret"):
        make(1, secret="")
    with pytest.raises(ShapeError, match="'payload' is"):
        taken.publish(1, 0, Header(1, 1, 1, 1.0, 0.0), torch.zeros(3))
    with pytest.raises(ExchangeError, match="rank 0 of 3 cannot exchange messages with rank 3"):
        taken.publish(3, 0, Header(1, 1, 1, 1.0, 0.0), torch.zeros(SIZE))


def test_end_of_a_network_thread_is_an_error(make: Make) -> None:
    transport = make(0)
    transport._receiving.close(0.1)
    with pytest.raises(ExchangeError, match="a network thread of rank 0 has ended"):
        transport.beat(1)
