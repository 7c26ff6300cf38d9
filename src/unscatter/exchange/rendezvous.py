"""The board on which ranks find one another, compare what they run, and bring results together; slow and rare, never in a step."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from torch.distributed import DistStoreError, PrefixStore, Store, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from unscatter.errors import DisagreementError, ExchangeError, PeerLostError, first_line
from unscatter.exchange.world import World

T = TypeVar("T")

#: Seconds between two looks at the board.
_POLL_S = 0.01
#: Seconds between two tries to reach it.
_LISTENER_S = 0.2
_PIECE_BYTES = 4 * 2**20


@dataclass(frozen=True, eq=False)
class Rendezvous:
    """A key-value board that all ranks of a job can read and write; waits are bounded.

    Args:
        world: who takes part.
        store: where keys and values are kept.
        timeout_s: how long any call waits for another rank.
    """

    world: World
    store: Store
    timeout_s: float = 60.0

    @classmethod
    def join(cls, world: World, *, timeout_s: float = 60.0) -> Rendezvous:
        """Meet the other ranks at the address of the world; every rank has to call this.

        Raises:
            ExchangeError: the port is taken, or nobody answers at the address.
        """
        if not world.hosts_rendezvous:
            _await_listener(world, timeout_s)
        try:
            store = TCPStore(
                world.address, world.port, is_master=world.hosts_rendezvous, timeout=timedelta(seconds=timeout_s), wait_for_workers=False
            )
        except (RuntimeError, OSError, ValueError) as error:
            raise ExchangeError(_join_failure(world, timeout_s, error)) from error
        return cls(world, PrefixStore(f"unscatter/{world.job}", store), timeout_s)

    def below(self, name: str) -> Rendezvous:
        """The part of the board under ``name``."""
        return Rendezvous(self.world, PrefixStore(name, self.store), self.timeout_s)

    def put(self, key: str, value: bytes) -> None:
        """Write a value for all to read.

        Raises:
            PeerLostError: the board is gone, as when the process that keeps it has died.
        """
        self._guarded(lambda: self.store.set(key, value))  # pyright: ignore[reportArgumentType] - bytes are taken, too

    def get(self, key: str, *, of: str = "another rank", timeout_s: float | None = None) -> bytes:
        """Read a value, waiting until it is there.

        Args:
            key: which.
            of: who writes it, for the error.
            timeout_s: how long to wait, instead of the default.

        Raises:
            PeerLostError: it did not come in time, or the board is gone.
        """
        limit = self.timeout_s if timeout_s is None else timeout_s
        found = self.first({key}, timeout_s=limit)
        if found is None:
            raise PeerLostError(
                f"rank {self.world.rank} of {self.world.size} has waited {limit:g} s for {of} ('{key}').\n"
                f"That rank has probably exited or is much slower: see its log, or raise exchange.timeout_s."
            )
        return self._guarded(lambda: self.store.get(key))

    def put_long(self, key: str, value: bytes) -> None:
        """Write a value of any length; the board itself takes up to 8 MB at once."""
        pieces = range(0, max(len(value), 1), _PIECE_BYTES)
        for number, start in enumerate(pieces):
            self.put(f"{key}/piece/{number}", value[start : start + _PIECE_BYTES])
        # Last, so that whoever finds the key finds all pieces.
        self.put(key, str(len(pieces)).encode())

    def get_long(self, key: str, *, of: str = "another rank") -> bytes:
        """Read a value that :meth:`put_long` has written, waiting until it is there.

        Raises:
            PeerLostError: it did not come in time, or the board is gone.
        """
        return b"".join(self.get(f"{key}/piece/{number}", of=of) for number in range(int(self.get(key, of=of))))

    def offer_long(self, key: str, value: bytes) -> None:
        """Write a value of any length that several ranks may write: the first one stands, for all readers."""
        self.put_long(f"{key}/by {self.world.rank}", value)
        self._guarded(lambda: self.store.compare_set(key, "", str(self.world.rank)))

    def get_offered(self, key: str, *, of: str = "another rank") -> bytes:
        """Read the value of :meth:`offer_long` that stands, waiting until there is one.

        Raises:
            PeerLostError: it did not come in time, or the board is gone.
        """
        return self.get_long(f"{key}/by {self.get(key, of=of).decode()}", of=of)

    def has(self, key: str) -> bool:
        """Whether a value is there."""
        return self._guarded(lambda: self.store.check([key]))

    def first(self, keys: Iterable[str], *, timeout_s: float) -> str | None:
        """The first of some keys that is there; None when the time has passed."""
        keys, end = list(keys), time.monotonic() + timeout_s
        while True:
            for key in keys:
                if self.has(key):
                    return key
            if time.monotonic() >= end:
                return None
            time.sleep(_POLL_S)

    def count(self, key: str) -> int:
        """Add one to a counter and return it."""
        return self._guarded(lambda: self.store.add(key, 1))

    def compare(self, what: str, value: str) -> None:
        """Make sure that all ranks have the same value of something, as the digest of their runcard.

        Raises:
            DisagreementError: they have not; names both values and who has them.
            PeerLostError: the first rank is missing.
        """
        if self.world.rank == 0:
            self.put(f"compare/{what}", value.encode())
            return
        first = self.get(f"compare/{what}", of="rank 0").decode()
        if first != value:
            raise DisagreementError(
                f"rank {self.world.rank} and rank 0 do not run the same {what}: {value} here, {first} there.\n"
                f"Start all ranks of a job with the same {what}."
            )

    def part(self) -> None:
        """Go apart for good; whoever keeps the board stays until the others need it no more.

        Raises:
            PeerLostError: somebody has not come.
        """
        if not self.world.hosts_rendezvous:
            self.count("parted")
            return
        end = time.monotonic() + self.timeout_s
        while (parted := self._guarded(lambda: self.store.add("parted", 0))) < self.world.size - 1:
            if time.monotonic() >= end:
                raise PeerLostError(
                    f"rank {self.world.rank} of {self.world.size} has waited {self.timeout_s:g} s for the others to begin: "
                    f"{parted} of {self.world.size - 1} have.\nSee their logs, or raise exchange.timeout_s."
                )
            time.sleep(_POLL_S)

    def _guarded(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except (DistStoreError, RuntimeError, OSError) as error:
            raise PeerLostError(
                f"rank {self.world.rank} of {self.world.size} has lost the rendezvous at {self.world.address}:{self.world.port}: "
                f"{str(error).splitlines()[0]}\nThe process that keeps it has probably exited: see the logs of the launcher and of rank 0."
            ) from error


def _await_listener(world: World, timeout_s: float) -> None:
    """Wait until somebody listens at the address: PyTorch would fill the log with traces of its own while it waits."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection((world.address, world.port), timeout=max(0.1, end - time.monotonic())).close()
            return
        except OSError as error:
            if time.monotonic() >= end:
                raise ExchangeError(_join_failure(world, timeout_s, error)) from error
        time.sleep(_LISTENER_S)


def _join_failure(world: World, timeout_s: float, error: Exception) -> str:
    cause = first_line(error)
    where = f"{world.address}:{world.port}"
    if world.hosts_rendezvous:
        return (
            f"rank {world.rank} cannot open the rendezvous at {where}: {cause}\nIf the port is taken, choose another one: MASTER_PORT=..."
        )
    return (
        f"rank {world.rank} has found no rendezvous at {where} within {timeout_s:g} s: {cause}\n"
        "Is rank 0 running, and can this node reach that address?"
    )
