"""Other ranks for the tests of transports: real processes that publish, read, or only live."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import numpy as np
import torch

from unscatter.exchange.transports import Header, Message, Transport, payload_sum

#: Longest wait for anything, in seconds.
WAIT_S = 20.0

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["torch", "unscatter.exchange.transports"])

Open = Callable[..., Transport]


class Peer(NamedTuple):
    """A rank in a process of its own, and the pipe to talk to it."""

    process: BaseProcess
    pipe: Connection

    def get(self) -> Any:
        assert self.pipe.poll(WAIT_S), "the peer says nothing"
        return self.pipe.recv()

    def tell(self, what: object) -> None:
        self.pipe.send(what)

    def kill(self) -> None:
        os.kill(self.process.pid or 0, signal.SIGKILL)
        self.process.join(WAIT_S)


@contextmanager
def peer(work: Callable[..., None], *args: object) -> Iterator[Peer]:
    """Run ``work(pipe, *args)`` in another process, which is gone when the block is."""
    ours, theirs = _context.Pipe()
    process = _context.Process(target=work, args=(theirs, *args), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Peer(process, ours)
        with suppress(BrokenPipeError, OSError):
            ours.send("end")
        process.join(WAIT_S)
        assert not process.is_alive(), "the peer does not end"
    finally:
        with suppress(ProcessLookupError):
            os.kill(process.pid or 0, signal.SIGCONT)
        process.kill()
        process.join()
        ours.close()


def wait_until(condition: Callable[[], bool], seconds: float = WAIT_S) -> bool:
    """Whether a condition has come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def next_message(transport: Transport, source: int, lane: int = 0) -> Message:
    """The next message, waited for."""
    found: list[Message] = []

    def look() -> bool:
        message = transport.poll(source, lane)
        if message is not None:
            found.append(message)
        return bool(found)

    assert wait_until(look), f"no message from rank {source}"
    return found[0]


def filled(version: int, size: int) -> torch.Tensor:
    return torch.full((size,), float(version))


def numbered(version: int, transfer: int = 1) -> Callable[[torch.Tensor], Header]:
    """The header of a payload."""
    return lambda payload: Header(transfer, version, 10 * version, 1 / (1 + version), payload_sum(payload))


def publish(transport: Transport, target: int, version: int, size: int, *, lane: int = 0, transfer: int = 1) -> None:
    """Publish a payload that holds its version in every element."""
    payload = filled(version, size)
    transport.publish(target, lane, numbered(version, transfer)(payload), payload)


def publish_many(pipe: Connection, open_transport: Open, options: dict[str, Any], size: int, target: int, count: int) -> None:
    """Overwrite one mailbox ``count`` times, then stay until told to end; every payload, torn or not, adds up to nothing."""
    transport = open_transport(**options)
    pipe.send(getattr(transport, "address", None))
    pipe.recv()
    signs = torch.ones(size)
    signs[1::2] = -1.0
    for version in range(1, count + 1):
        transport.publish(target, 0, Header(1, version, version, 0.5, 0.0), version * signs)
    pipe.send(transport.statistics())
    pipe.recv()
    transport.close()


def confirm_first(pipe: Connection, open_transport: Open, options: dict[str, Any], source: int) -> None:
    """Confirm the first message and hand back its payload."""
    transport = open_transport(**options)
    pipe.send(getattr(transport, "address", None))
    message = next_message(transport, source)
    transport.confirm(source, 0, message.header.transfer)
    pipe.send((message.header, np.array(message.payload)))
    pipe.recv()
    transport.close()


def live(pipe: Connection, open_transport: Open, options: dict[str, Any], step: int) -> None:
    """Be there at a step until told to end, without calling the transport any more."""
    transport = open_transport(**options)
    transport.beat(step)
    pipe.send(getattr(transport, "address", None))
    pipe.recv()
    transport.close()
