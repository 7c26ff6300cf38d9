"""Shared memory between ranks of a node: whole messages, newest wins, health, and nothing left behind."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.exchange.transports.peers import confirm_first, filled, live, next_message, peer, publish, publish_many, wait_until
from unscatter.errors import ExchangeError, ShapeError
from unscatter.exchange.transports import Header, SharedMemoryTransport, Transport, mailbox, remove_abandoned
from unscatter.exchange.transports.buffers import PIECE, copy_and_sum
from unscatter.exchange.transports.processes import Process
from unscatter.exchange.transports.segment import segment_path, shared_directory

SIZE = 1003
Make = Callable[..., SharedMemoryTransport]


@pytest.fixture
def job(request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"test {os.getpid()} {request.node.name}"
    yield name
    assert not segment_path(name).exists(), "a segment was left behind"


@pytest.fixture
def make(job: str) -> Iterator[Make]:
    made: list[SharedMemoryTransport] = []

    def build(rank: int, **changes: Any) -> SharedMemoryTransport:
        made.append(SharedMemoryTransport(**{**options(job, rank), **changes}))
        return made[-1]

    yield build
    for transport in made:
        transport.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("shared-memory")]


def options(job: str, rank: int, **changes: Any) -> dict[str, Any]:
    return {"job": job, "rank": rank, "ranks": (0, 1, 2), "num_lanes": 2, "num_parameters": SIZE, "silence_s": 1.0, **changes}


def test_message_arrives_as_it_was_sent(make: Make) -> None:
    sender, reader = make(0), make(1)
    assert isinstance(sender, Transport)
    assert (sender.rank, sender.num_ranks, sender.num_lanes) == (0, 3, 2)
    payload = torch.randn(SIZE)
    header = Header(3, 7, 11, 0.25, float(payload.sum(dtype=torch.float64)))
    sender.publish(1, 1, header, payload)
    message = reader.poll(0, 1)
    assert message is not None
    assert message.header == header
    assert torch.equal(message.payload, payload)


def test_owner_may_change_the_payload_after_publishing(make: Make) -> None:
    sender, reader = make(0), make(1)
    payload = filled(1, SIZE)
    sender.publish(1, 0, Header(1, 1, 1, 1.0, float(SIZE)), payload)
    payload.fill_(9.0)
    assert torch.equal(next_message(reader, 0).payload, filled(1, SIZE))


def test_newest_wins_and_is_returned_once(make: Make) -> None:
    sender, reader = make(0), make(1)
    assert reader.poll(0, 0) is None
    for version in range(1, 6):
        publish(sender, 1, version, SIZE)
    message = reader.poll(0, 0)
    assert message is not None
    assert message.header.version == 5
    assert reader.poll(0, 0) is None


def test_mailboxes_of_lanes_senders_and_targets_are_separate(make: Make) -> None:
    first, second, reader = make(0), make(1), make(2)
    publish(first, 2, 1, SIZE, lane=0)
    publish(first, 2, 2, SIZE, lane=1)
    publish(second, 2, 3, SIZE, lane=0)
    publish(second, 0, 4, SIZE, lane=1)
    assert [next_message(reader, source, lane).header.version for source, lane in ((0, 0), (0, 1), (1, 0))] == [1, 2, 3]
    assert reader.poll(1, 1) is None
    assert next_message(first, 1, 1).header.version == 4


@pytest.mark.parametrize("size", [5004, 600_012])
def test_payload_is_whole_however_fast_it_is_overwritten(size: int, job: str, make: Make) -> None:
    count = 10_000 if size < 10**5 else 200
    reader = make(1, num_parameters=size)
    with peer(publish_many, SharedMemoryTransport, options(job, 0, num_parameters=size), size, 1, count) as sender:
        sender.get()
        sender.tell("go")
        last = reads = 0
        while last < count:
            message = reader.poll(0, 0)
            if message is not None:
                version = message.header.version
                assert -float(message.payload.min()) == float(message.payload.max()) == float(message.payload.abs().min()) == version > last
                last, reads = version, reads + 1
        assert reads > 1
        assert reader.statistics()["messages_received"] == reads
        assert sender.get()["messages_sent"] == count


def test_confirmed_transfer_is_seen_by_its_sender_only(job: str, make: Make) -> None:
    sender, third = make(0), make(2)
    with peer(confirm_first, SharedMemoryTransport, options(job, 1), 0) as reader:
        publish(sender, 1, 4, SIZE, transfer=6)
        reader.get()
        header, payload = reader.get()
        assert header.transfer == sender.confirmed(1, 0) == 6
        assert (payload == 4.0).all()
        assert sender.confirmed(1, 1) == sender.confirmed(2, 0) == third.confirmed(1, 0) == 0


@pytest.mark.parametrize(("kind", "value"), [("nan", float("nan")), ("inf", float("inf")), ("flipped bits", 1e20)])
def test_damaged_payload_is_refused_and_counted(kind: str, value: float, make: Make) -> None:
    sender, reader = make(0), make(1)
    damaged = filled(2, SIZE)
    damaged[77] = value
    sender.publish(1, 0, Header(1, 1, 1, 0.5, 2.0 * SIZE), damaged)
    assert reader.poll(0, 0) is None
    assert reader.poll(0, 0) is None
    assert reader.statistics()["messages_refused"] == 1
    publish(sender, 1, 3, SIZE)
    assert next_message(reader, 0).header.version == 3


def test_damaged_header_is_refused(job: str, make: Make) -> None:
    sender, reader = make(0), make(1)
    publish(sender, 1, 1, SIZE)
    share = struct.pack("<d", 0.5)
    content = segment_path(job).read_bytes()
    with segment_path(job).open("r+b") as file:
        file.seek(content.index(share))
        file.write(struct.pack("<d", 0.75))
    assert reader.poll(0, 0) is None
    assert reader.statistics()["messages_refused"] == 1


def test_check_that_is_not_finite_is_refused(make: Make) -> None:
    sender, reader = make(0), make(1)
    sender.publish(1, 0, Header(1, 1, 1, 0.5, float("nan")), filled(1, SIZE))
    assert reader.poll(0, 0) is None
    assert reader.statistics()["messages_refused"] == 1


def publish_half(sender: SharedMemoryTransport, version: int, size: int) -> None:
    """Die after the first piece of a payload."""

    def killed_here(payload: torch.Tensor, slot: torch.Tensor) -> None:
        slot[:PIECE].copy_(payload[:PIECE])
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mailbox, "copy", killed_here)
        with pytest.raises(SystemExit):
            publish(sender, 1, version, size)


def test_sender_killed_while_writing_leaves_the_message_before(make: Make) -> None:
    size = PIECE + 10
    reader, sender = make(1, num_parameters=size), make(0, num_parameters=size)
    publish(sender, 1, 1, size)
    publish_half(sender, 2, size)
    assert torch.equal(next_message(reader, 0).payload, filled(1, size))
    publish(sender, 1, 3, size)
    assert torch.equal(next_message(reader, 0).payload, filled(3, size))


def test_message_that_is_overwritten_while_being_read_is_read_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    size = PIECE + 10
    reader, sender = make(1, num_parameters=size), make(0, num_parameters=size)

    def overtaken(slot: torch.Tensor, into: torch.Tensor) -> float:
        monkeypatch.undo()
        publish(sender, 1, 2, size)
        publish_half(sender, 3, size)  # goes where the reader reads
        copy_and_sum(slot, into)
        return float(size)  # as if the torn payload added up to the sum of the first one

    publish(sender, 1, 1, size)
    monkeypatch.setattr(mailbox, "copy_and_sum", overtaken)
    assert torch.equal(next_message(reader, 0).payload, filled(2, size))


def test_nothing_is_known_of_a_rank_that_has_not_come(make: Make) -> None:
    assert make(0).health(2) == (True, -1, 0.0, False)


def test_killed_peer_is_noticed_and_may_come_back(job: str, make: Make) -> None:
    observer = make(0)
    with peer(live, SharedMemoryTransport, options(job, 1), 5) as other:
        other.get()
        assert observer.health(1)[:2] == (True, 5)
        publish(observer, 1, 1, SIZE)
        other.kill()
        assert wait_until(lambda: not observer.health(1).alive, 5.0)
        assert observer.health(1)[1] == 5
        assert not observer.health(1).done
    with peer(confirm_first, SharedMemoryTransport, options(job, 1), 0) as other:
        other.get()
        assert other.get()[0].version == 1
        assert wait_until(lambda: observer.health(1).alive)


def test_death_is_noticed_before_the_silence_has_passed(job: str, make: Make) -> None:
    observer = make(0, silence_s=60.0)
    with peer(live, SharedMemoryTransport, options(job, 1), 5) as other:
        other.get()
        other.kill()
        assert wait_until(lambda: not observer.health(1).alive, 15.0)


def test_stopped_peer_is_noticed_and_alive_again_when_continued(job: str, make: Make) -> None:
    observer = make(0)
    with peer(live, SharedMemoryTransport, options(job, 1), 5) as other:
        other.get()
        os.kill(other.process.pid or 0, signal.SIGSTOP)
        assert wait_until(lambda: not observer.health(1).alive, 5.0)
        assert observer.health(1).silent_s > 1.0
        os.kill(other.process.pid or 0, signal.SIGCONT)
        assert wait_until(lambda: observer.health(1).alive, 5.0)


def test_peer_in_a_long_step_stays_alive(job: str, make: Make) -> None:
    observer = make(0, silence_s=0.5)
    with peer(live, SharedMemoryTransport, options(job, 1, silence_s=0.5), 5) as other:
        other.get()
        assert not wait_until(lambda: not observer.health(1).alive, 1.5)


def test_rank_that_leaves_in_good_order_is_done(make: Make) -> None:
    observer, other = make(0), make(1)
    other.beat(8)
    publish(other, 0, 3, SIZE)
    other.close()
    other.close()
    assert observer.health(1)[1] == 8
    assert observer.health(1).done
    assert next_message(observer, 1).header.version == 3


def test_last_rank_removes_the_segment_after_others_were_killed(job: str, make: Make) -> None:
    survivor = make(0)
    with peer(live, SharedMemoryTransport, options(job, 1), 0) as other:
        other.get()
        other.kill()
    assert segment_path(job).exists()
    survivor.close()
    assert not segment_path(job).exists()


def test_segment_of_a_dead_job_is_replaced(job: str, make: Make) -> None:
    with peer(live, SharedMemoryTransport, options(job, 0, num_parameters=50), 0) as other:
        other.get()
        other.kill()
    assert segment_path(job).exists()
    sender, reader = make(0), make(1)
    assert reader.poll(0, 0) is None
    publish(sender, 1, 1, SIZE)
    assert next_message(reader, 0).header.version == 1


def test_abandoned_segments_are_removed_and_those_in_use_are_not(job: str, make: Make, tmp_path: Path) -> None:
    with peer(live, SharedMemoryTransport, options(job, 0, directory=tmp_path), 0) as other:
        other.get()
        assert remove_abandoned(tmp_path) == []
        other.kill()
        assert remove_abandoned(tmp_path) == [segment_path(job, tmp_path)]
    assert list(tmp_path.iterdir()) == []


def test_new_job_removes_what_dead_ones_have_left(job: str, make: Make, tmp_path: Path) -> None:
    with peer(live, SharedMemoryTransport, options(f"{job} dead", 0, directory=tmp_path), 0) as other:
        other.get()
        other.kill()
    make(0, directory=tmp_path)
    assert list(tmp_path.iterdir()) == [segment_path(job, tmp_path)]


def test_ranks_that_start_together_find_one_segment(job: str, make: Make) -> None:
    transports: dict[int, SharedMemoryTransport] = {}
    for _ in range(10):
        barrier = threading.Barrier(3)

        def start(rank: int, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            transports[rank] = SharedMemoryTransport(**options(job, rank))

        threads = [threading.Thread(target=start, args=(rank,)) for rank in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        publish(transports[0], 1, 1, SIZE)
        publish(transports[1], 2, 2, SIZE)
        assert next_message(transports[1], 0).header.version == 1
        assert next_message(transports[2], 1).header.version == 2
        for transport in transports.values():
            transport.close()
        assert not segment_path(job).exists()


def test_other_settings_are_refused_with_both(job: str, make: Make) -> None:
    make(0)
    with pytest.raises(ExchangeError, match=r"holds 3 ranks, 2 lanes, 1003 numbers of 4 bytes.* but this rank needs 3 ranks, 2 lanes, 9 "):
        make(1, num_parameters=9)
    with pytest.raises(ExchangeError, match=r"for ranks \[0, 1, 5\]"):
        make(1, ranks=(0, 1, 5))


def test_place_of_a_running_rank_is_not_taken(job: str, make: Make) -> None:
    with peer(live, SharedMemoryTransport, options(job, 1), 0) as other:
        other.get()
        with pytest.raises(ExchangeError, match=f"rank 1 in job '{job}' is taken by process {other.process.pid}") as caught:
            make(1)
        assert str(caught.value).endswith(f"kill {other.process.pid}")


def test_memory_that_does_not_suffice_is_said_at_the_start(job: str, make: Make) -> None:
    with pytest.raises(ExchangeError, match=r"need [\d,.]+ MB of shared memory in '.*' where [\d,.]+ MB are free"):
        make(0, num_parameters=10**12)


def test_file_of_another_kind_is_not_touched_while_in_use(job: str, make: Make) -> None:
    with pytest.raises(ExchangeError, match="cannot open the shared memory"):
        make(0, directory=shared_directory() / "missing")


def test_payload_that_does_not_fit_is_refused(make: Make) -> None:
    sender = make(0)
    header = Header(1, 1, 1, 1.0, 0.0)
    with pytest.raises(ShapeError, match=r"'payload' is \(9,\) of torch.float32 on cpu, but .* \(1003,\) of torch.float32"):
        sender.publish(1, 0, header, torch.zeros(9))
    with pytest.raises(ShapeError, match="float64"):
        sender.publish(1, 0, header, torch.zeros(SIZE, dtype=torch.float64))
    with pytest.raises(ExchangeError, match=r"rank 7 does not share memory with rank 0: the ranks of this segment are \[0, 1, 2\]"):
        sender.publish(7, 0, header, torch.zeros(SIZE))


def test_double_precision_is_exact(make: Make) -> None:
    sender, reader = make(0, dtype=torch.float64), make(1, dtype=torch.float64)
    payload = torch.randn(SIZE, dtype=torch.float64) * 1e6
    sender.publish(1, 0, Header(1, 1, 1, 1.0, float(payload.sum())), payload)
    assert torch.equal(next_message(reader, 0).payload, payload)


SCRIPT = """
import sys
from unscatter.exchange.transports import SharedMemoryTransport
transport = SharedMemoryTransport(sys.argv[1], rank=0, ranks=(0,), num_lanes=1, num_parameters=10)
"""


def test_program_that_forgets_to_close_leaves_nothing_and_warns_of_nothing(job: str) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, job], capture_output=True, text=True, timeout=60, check=True, env=os.environ
    )
    assert (result.stdout, result.stderr) == ("", "")


def test_forked_child_does_not_close_the_transport_of_its_parent(make: Make) -> None:
    transport, observer = make(0), make(1)
    transport._process = transport._process._replace(pid=1)  # as a child sees it
    transport.close()
    assert not observer.health(0).done
    transport._process = Process.current()
