"""Wait until all ranks are there, or say which are not."""

from __future__ import annotations

import time

from unscatter.errors import PeerLostError
from unscatter.exchange.rendezvous import Rendezvous

#: How much longer the others wait than rank 0, which has to notice first that somebody is missing.
_MARGIN_S = 5.0


def roll_call(board: Rendezvous, *, timeout_s: float) -> None:
    """Return on all ranks when all have called this.

    Args:
        board: part of the board that is used for one roll call only.
        timeout_s: how long to wait.

    Raises:
        PeerLostError: names the ranks that did not come.
    """
    board.put(f"here/{board.world.rank}", b"")
    if board.world.rank == 0:
        missing = _missing(board, timeout_s)
        board.put("result", ",".join(map(str, missing)).encode())
    else:
        missing = _numbers(board.get("result", of="rank 0", timeout_s=timeout_s + _MARGIN_S))
    if missing:
        raise PeerLostError(
            f"rank {board.world.rank} of {board.world.size} has waited {timeout_s:g} s for the other ranks to join the exchange; "
            f"missing: {', '.join(map(str, missing))}.\nStart all of them, see their logs, or raise exchange.timeout_s."
        )


def _missing(board: Rendezvous, timeout_s: float) -> list[int]:
    end = time.monotonic() + timeout_s
    return [rank for rank in range(board.world.size) if board.first({f"here/{rank}"}, timeout_s=max(0.0, end - time.monotonic())) is None]


def _numbers(text: bytes) -> list[int]:
    return [int(number) for number in text.decode().split(",") if number]
