"""The process that adds up for a quorum: threads on rank 0, one for each other rank, and the line that each other rank has to it."""

from __future__ import annotations

import secrets
import socket
import struct
import threading
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from typing import NamedTuple

import torch
from torch import Tensor

from unscatter.exchange.address import own_address
from unscatter.exchange.collectives.rounds import Rounds
from unscatter.exchange.rendezvous import Rendezvous

#: Number of contributions in the result, rounds closed when the contribution came, and rounds closed when the result was given.
_HEAD = struct.Struct("<qqq")


class Reply(NamedTuple):
    """What a rank gets for its contribution."""

    total: Tensor
    """Sum of the contributions in the round."""
    parts: int
    """How many they are."""
    came_at: int
    """Rounds that were closed when the contribution came."""
    closed: int
    """Rounds that are closed now."""


class Coordinator:
    """Takes contributions and gives out the results of rounds.

    Args:
        num_ranks: ranks that contribute.
        quorum: ranks that a round waits for.
        max_lag: steps that a rank may be behind.
    """

    def __init__(self, num_ranks: int, *, quorum: int, max_lag: int) -> None:
        self._settings = (num_ranks, quorum, max_lag)
        self._rounds = Rounds(num_ranks, quorum=quorum, max_lag=max_lag)
        self._changed = threading.Condition()
        self._connected: set[int] = {0}
        self._gone: set[int] = set()
        self._connections: list[Connection] = []

    def listen(self, board: Rendezvous) -> None:
        """Open a port on the interface that reaches the rendezvous, and say on the board where and with which key."""
        key = secrets.token_hex(16)
        # All ranks call at once; with the default backlog of one, calls get lost.
        listener = Listener((own_address(board.world), 0), backlog=self._settings[0], authkey=_secret(board, key))
        host, port = listener.address[:2]
        board.put("coordinator", f"{host} {port} {key}".encode())
        threading.Thread(target=self._accept, args=(listener,), name="unscatter-quorum", daemon=True).start()

    def wait_for_all(self, timeout_s: float) -> None:
        """Return when every rank has called; TimeoutError otherwise."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._connected) == self._settings[0], timeout_s):
                raise TimeoutError("not all ranks have called the coordinator")

    def restart(self) -> None:
        """Begin to count steps anew; nobody may be waiting."""
        with self._changed:
            num_ranks, quorum, max_lag = self._settings
            self._rounds = Rounds(num_ranks, quorum=quorum, max_lag=max_lag)

    @property
    def left_over(self) -> int:
        """Contributions that are in no closed round."""
        return self._rounds.left_over

    def contribute(self, rank: int, buffer: Tensor) -> Reply:
        """Add a rank's contribution to its next step, and wait for the result of that step.

        Raises:
            ConnectionError: a rank has gone while the round was open.
        """
        with self._changed:
            came_at = self._rounds.closed
            self._rounds.add(rank, buffer)
            step = self._rounds.step(rank)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._rounds.closed >= step or bool(self._gone))
            if self._rounds.closed < step:
                raise ConnectionError(f"ranks {sorted(self._gone)} have gone while round {step} was open")
            return Reply(*self._rounds.result(step), came_at, self._rounds.closed)

    def close(self, timeout_s: float) -> None:
        """Wait until all ranks have fetched their results and gone, then close."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._gone) == self._settings[0] - 1, timeout_s)
            self._gone.add(0)
            self._changed.notify_all()
            for connection in self._connections:
                _hang_up(connection)

    def _accept(self, listener: Listener) -> None:
        waiting = self._settings[0] - 1
        while waiting:
            try:
                connection = listener.accept()
            except (AuthenticationError, OSError, EOFError):
                # Somebody who does not know the key, or who hung up: not one of the ranks.
                continue
            waiting -= 1
            with self._changed:
                self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), name="unscatter-quorum", daemon=True).start()
        listener.close()

    def _serve(self, connection: Connection) -> None:
        rank = 0
        try:
            rank = int.from_bytes(connection.recv_bytes(8), "little")
            self._welcome(rank)
            while True:
                buffer = torch.frombuffer(bytearray(connection.recv_bytes()), dtype=torch.float32)
                reply = self.contribute(rank, buffer)
                connection.send_bytes(_HEAD.pack(*reply[1:]))
                connection.send_bytes(reply.total.numpy().data.cast("B"))
        except (OSError, EOFError):
            self._lose(rank, connection)

    def _welcome(self, rank: int) -> None:
        with self._changed:
            self._connected.add(rank)
            self._changed.notify_all()

    def _lose(self, rank: int, connection: Connection) -> None:
        with self._changed:
            self._connections.remove(connection)
            connection.close()
            self._gone.add(rank)
            self._changed.notify_all()


class Line:
    """The connection of another rank to the coordinator.

    Args:
        board: where the coordinator has written its address.
    """

    def __init__(self, board: Rendezvous) -> None:
        host, port, key = board.get("coordinator", of="rank 0").decode().split()
        self._connection = Client((host, int(port)), authkey=_secret(board, key))
        self._connection.send_bytes(board.world.rank.to_bytes(8, "little"))

    def contribute(self, rank: int, buffer: Tensor) -> Reply:
        """Send a contribution and wait for the result of its step.

        Raises:
            EOFError: the coordinator has gone.
        """
        assert buffer.dtype == torch.float32, f"a contribution of rank {rank} is {buffer.dtype}"
        self._connection.send_bytes(buffer.numpy().data.cast("B"))
        head = _HEAD.unpack(self._connection.recv_bytes(_HEAD.size))
        return Reply(torch.frombuffer(bytearray(self._connection.recv_bytes()), dtype=torch.float32), *head)

    def hang_up(self) -> None:
        """End the connection; a call that waits on another thread ends with an error."""
        _hang_up(self._connection)

    def close(self) -> None:
        """Give back what the connection holds, when no call waits any more."""
        self._connection.close()


def _hang_up(connection: Connection) -> None:
    """Shut the socket down: closing its file would not wake up a thread that reads from it."""
    with suppress(OSError), socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as line:
        line.shutdown(socket.SHUT_RDWR)


def _secret(board: Rendezvous, key: str) -> bytes:
    return (board.world.secret + key).encode()
