"""What all synchronous exchanges share: the other ranks, waiting for them with an end, and the error that names who is missing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from unscatter.errors import DisagreementError, ExchangeError, PeerLostError, first_line
from unscatter.exchange.collectives.courier import Courier
from unscatter.exchange.collectives.failure import failure_text
from unscatter.exchange.collectives.links import Links
from unscatter.exchange.collectives.packing import describe, from_bytes, narrowed, num_bytes, to_bytes, widened
from unscatter.exchange.collectives.roll_call import roll_call
from unscatter.exchange.collectives.watch import Watch
from unscatter.exchange.rendezvous import Rendezvous

T = TypeVar("T")

#: What engines and sockets raise when a connection breaks or a time-out has passed.
_ENGINE_ERRORS = (RuntimeError, OSError, EOFError)
#: Longest time to judge a fit.
_VERDICT_S = 3600.0
#: Seconds that a call gets to end well after the alarm: another rank may have left, or failed, after doing its part of it.
_LAST_CHANCE_S = 1.0


@dataclass
class Tally:
    """What is counted for the metrics."""

    steps: int = 0
    waited_s: float = 0.0
    bytes_sent: float = 0.0
    skipped_contributions: int = 0


class Peers:
    """The ranks of a synchronous exchange, as one of them deals with them.

    Args:
        rendezvous: where they meet; all of them have to build the same exchanges in the same order.
        timeout_s: how long any call waits for the others.

    Raises:
        PeerLostError: not all ranks came within the time-out; names those that did not.
    """

    def __init__(self, rendezvous: Rendezvous, *, timeout_s: float) -> None:
        world = rendezvous.world
        self.rank, self.num_ranks, self.timeout_s = world.rank, world.size, timeout_s
        self.stop_requested = False
        self.stop_agreed = False
        self.tally = Tally()
        self._verdicts = 0
        self._wake = threading.Event()
        self._failure: str | None = None
        # A part of the board of its own: a later exchange must not find the addresses of an earlier one.
        self.board = rendezvous.below(f"exchange/{rendezvous.count(f'exchanges of rank {world.rank}')}")
        self._watch = Watch(self.board, timeout_s=timeout_s, on_alarm=self._wake.set)
        roll_call(self.board, timeout_s=timeout_s)
        self.links = self._connect()
        self._courier = Courier()
        self._watch.start()

    @property
    def failed(self) -> bool:
        """Whether a call has failed, so that nothing can be exchanged any more."""
        return self._failure is not None

    def call(self, job: Callable[[], T]) -> T:
        """Do something that needs the other ranks.

        Raises:
            PeerLostError: it failed or took longer than the time-out; names the ranks that are missing.
        """
        return self.finish(self.begin(job))

    def begin(self, job: Callable[[], T]) -> Future[T]:
        """Begin something that needs the other ranks; jobs are done in the order in which they were begun."""
        if self._failure is not None:
            raise PeerLostError(self._failure)
        self._watch.calls += 1
        return self._courier.submit(job)

    def finish(self, future: Future[T]) -> T:
        """Wait for what was begun, as :meth:`call` does."""
        began = time.monotonic()
        try:
            return self._wait(future)
        except ExchangeError as error:
            if not isinstance(error, PeerLostError):
                raise
            raise self._lost(error) from error
        except _ENGINE_ERRORS as error:
            raise self._lost(error) from error
        finally:
            self.tally.waited_s += time.monotonic() - began

    def count_step(self) -> None:
        """Note that a step begins."""
        self.tally.steps += 1
        self._watch.step = self.tally.steps

    def broadcast(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of rank 0 bit for bit on all ranks, each on the device of this rank's tensor of that name.

        Raises:
            DisagreementError: ranks have tensors of other names, types or shapes; raised on all of them.
        """
        description = self._same(tensors)
        buffer = to_bytes(tensors) if self.rank == 0 else torch.empty(num_bytes(description), dtype=torch.uint8)
        if len(buffer):
            self.call(lambda: self.links.broadcast_(buffer))
        received = from_bytes(description, buffer)
        return {name: tensor.to(tensors[name].device) for name, tensor in received.items()}

    def total(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums over the ranks, added up in float64 or int64; types are kept.

        Raises:
            DisagreementError: ranks have tensors of other names, types or shapes; raised on all of them.
        """
        self._same(tensors)
        sums = widened(tensors)
        for buffer in sums.values():
            if len(buffer):
                self.call(lambda buffer=buffer: self.links.sum_(buffer))
        return narrowed(sums, tensors)

    def agree(self, text: str) -> str:
        """What rank 0 says."""
        message = torch.frombuffer(bytearray(text.encode() + b"\0"), dtype=torch.uint8)[:-1]
        length = torch.tensor([len(message)])
        self.call(lambda: self.links.broadcast_(length))
        buffer = message.clone() if self.rank == 0 else torch.empty(int(length), dtype=torch.uint8)
        if len(buffer):
            self.call(lambda: self.links.broadcast_(buffer))
        return bytes(buffer.tolist()).decode()

    def hear(self, text: str) -> str:
        """What rank 0 says, however long it takes to find it, on the board.

        Raises:
            PeerLostError: rank 0 is lost, or has said nothing for an hour.
        """
        self._verdicts += 1
        key, end = f"verdict/{self._verdicts}", time.monotonic() + _VERDICT_S
        if self.rank == 0:
            self.board.put(key, text.encode())
        while self.board.first({key}, timeout_s=1.0) is None:
            silent = self.rank > 0 and self._watch.first_silent_s > self.timeout_s
            if self._watch.alarmed or silent or time.monotonic() > end:
                raise self._lost(TimeoutError("no verdict"))
        return self.board.get(key).decode()

    def statistics(self) -> dict[str, float]:
        """The tally as figures for the metrics."""
        return {name: float(value) for name, value in vars(self.tally).items()}

    def close(self) -> None:
        """End what was begun, say that this rank leaves, and close the connections."""
        self._courier.close(timeout_s=1.0 if self._failure else self.timeout_s)
        self._watch.close()
        self.links.close()
        self._failure = f"the exchange of rank {self.rank} is closed: build another one."

    def _same(self, tensors: Mapping[str, Tensor]) -> str:
        """The description of the tensors, once it is known that all ranks have the same."""
        own = describe(tensors)
        first = self.agree(own)
        differing = torch.tensor([int(own != first)])
        self.call(lambda: self.links.sum_(differing))
        if int(differing):
            raise DisagreementError(_other_tensors(self.rank, own, first))
        return first

    def _connect(self) -> Links:
        try:
            return Links(self.board, timeout_s=self.timeout_s)
        except RuntimeError as error:
            raise PeerLostError(
                f"rank {self.rank} of {self.num_ranks} cannot connect to the others: {first_line(error)}\n"
                "Can the nodes reach one another? The network interface to use is set by GLOO_SOCKET_IFNAME."
            ) from error

    def _wait(self, future: Future[T]) -> T:
        self._wake.clear()
        future.add_done_callback(lambda _: self._wake.set())
        if not self._watch.alarmed:
            self._wake.wait(self.timeout_s)
        return future.result(timeout=_LAST_CHANCE_S if self._watch.alarmed else 0.0)

    def _lost(self, error: BaseException) -> PeerLostError:
        if self._failure is None:
            verdict = self._watch.verdict()
            self._failure = failure_text(
                verdict, rank=self.rank, num_ranks=self.num_ranks, step=self.tally.steps, timeout_s=self.timeout_s, cause=first_line(error)
            )
        return PeerLostError(self._failure)


def _other_tensors(rank: int, own: str, first: str) -> str:
    who = f"rank {rank} and rank 0 do" if own != first else f"some other rank and rank {rank} do"
    there = f", {first} there" if own != first else ", see the error of that rank"
    return (
        f"{who} not exchange the same tensors (name, type, shape): {own} here{there}.\n"
        "Start all ranks of a job with the same code and the same runcard."
    )
