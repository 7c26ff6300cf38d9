"""The calls of torch.distributed that the exchanges are made of."""

from __future__ import annotations

import importlib
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]

from unscatter.errors import ExchangeError
from unscatter.exchange.rendezvous import Rendezvous


class Links:
    """Connections between all ranks: gloo for tensors in main memory, NCCL for tensors on a GPU.

    The process groups are made directly, without the default group of torch.distributed: a program that has one keeps it, and nothing is
    left behind in its global state.

    Args:
        board: part of the rendezvous board that belongs to one exchange.
        timeout_s: time-out of every call; after one the connections cannot be used any more.
    """

    def __init__(self, board: Rendezvous, *, timeout_s: float) -> None:
        self._board = board
        self._timeout = timedelta(seconds=timeout_s)
        self._groups: dict[str, Any] = {}
        if board.world.size > 1:
            self._groups["cpu"] = self._make("cpu")

    def sum_(self, buffer: Tensor) -> None:
        """Replace a buffer by its sum over the ranks, the same bits on all of them (a chunked ring inside gloo)."""
        if self._groups:
            self._wait(self._group(buffer).allreduce([buffer]), buffer)

    def broadcast_(self, buffer: Tensor) -> None:
        """Replace a buffer by that of rank 0."""
        if self._groups:
            self._wait(self._group(buffer).broadcast(buffer, 0), buffer)

    def send(self, buffer: Tensor, target: int, tag: int) -> None:
        """Send a buffer in main memory; returns when it is received."""
        self._groups["cpu"].send([buffer], target, tag).wait()

    def receive_(self, buffer: Tensor, source: int, tag: int) -> None:
        """Fill a buffer in main memory with what another rank sends."""
        self._groups["cpu"].recv([buffer], source, tag).wait()

    def swap_(self, outgoing: Tensor, target: int, incoming: Tensor, source: int, tag: int) -> None:
        """Send to one rank and receive from another one at the same time."""
        received = self._groups["cpu"].recv([incoming], source, tag)
        sent = self._groups["cpu"].send([outgoing], target, tag)
        received.wait()
        sent.wait()

    def close(self) -> None:
        """Close the connections."""
        self._groups.clear()

    def _group(self, buffer: Tensor) -> Any:
        kind = buffer.device.type
        if kind not in self._groups:
            self._groups[kind] = self._make(kind)
        return self._groups[kind]

    def _make(self, kind: str) -> Any:
        name = {"cpu": "ProcessGroupGloo", "cuda": "ProcessGroupNCCL"}.get(kind)
        engine = getattr(importlib.import_module("torch.distributed"), name or "", None)
        if engine is None:
            raise ExchangeError(f"this build of PyTorch cannot exchange tensors on '{kind}': set the device to 'cpu'.")
        store = PrefixStore(kind, self._board.store)
        return engine(store, self._board.world.rank, self._board.world.size, self._timeout)

    @staticmethod
    def _wait(work: Any, buffer: Tensor) -> None:
        work.wait()
        if buffer.is_cuda:
            # NCCL only queues: what is returned to another thread must be there.
            torch.cuda.current_stream(buffer.device).synchronize()
