"""The thread that gives signs of life on the rendezvous board, and finds out who is missing when an exchange fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from unscatter.errors import PeerLostError
from unscatter.exchange.collectives.signs import Absent, Sign, Verdict, is_new, judge
from unscatter.exchange.rendezvous import Rendezvous

#: Seconds between two signs of life, for up to 256 ranks; more ranks share the load of the board.
_INTERVAL_S = 0.5
_RANKS_PER_INTERVAL = 256
#: Seconds without a sign, once a failure is known, after which a rank counts as lost.  Long against the interval, because
#: a machine with more ranks than cores gives a thread its turn late.
_GRACE_S = 3.0


class Watch:
    """Gives signs of life, raises the alarm for all ranks, and judges who is missing.

    Only its own thread touches the board: that may be gone or frozen together with the rank that keeps it, and the training thread must
    not hang there.

    Args:
        board: part of the rendezvous board that belongs to one exchange.
        timeout_s: time-out of the exchange; shortens interval and grace where it is short.
        on_alarm: called, on the thread of the watch, when a failure becomes known.
    """

    def __init__(self, board: Rendezvous, *, timeout_s: float, on_alarm: Callable[[], None]) -> None:
        self.step = 0
        self.calls = 0
        self._board = board
        self._rank = board.world.rank
        self._interval_s = min(_INTERVAL_S, timeout_s / 8) * max(1.0, board.world.size / _RANKS_PER_INTERVAL)
        self._grace_s = max(min(_GRACE_S, timeout_s / 2), 3 * self._interval_s)
        self._on_alarm = on_alarm
        self._sign = Sign()
        self._heard: dict[int, Sign] = {}
        self._heard_board_s = self._first_changed_s = time.monotonic()
        self._verdict = Verdict()
        self._alarm, self._judged, self._turn = threading.Event(), threading.Event(), threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="unscatter-watch", daemon=True)
        self._beat()

    def start(self) -> None:
        """Begin to watch, once all ranks are there."""
        self._thread.start()

    @property
    def alarmed(self) -> bool:
        """Whether a failure is known."""
        return self._alarm.is_set()

    @property
    def first_silent_s(self) -> float:
        """Seconds since rank 0 gave its last sign of life, as far as this rank has seen."""
        return time.monotonic() - self._first_changed_s

    def verdict(self) -> Verdict:
        """Raise the alarm and say who is missing; takes the period of grace, and never much longer."""
        self._raise_alarm()
        self._turn.set()
        if not self._judged.wait(self._grace_s + 4 * self._interval_s + 1.0):
            return self._without_board()
        return self._verdict

    def close(self) -> None:
        """Say that this rank leaves, unless it has failed."""
        self._closing = True
        self._turn.set()
        if self._thread.is_alive():
            self._thread.join(self._grace_s + 1.0 if self.alarmed else 1.0)

    def _run(self) -> None:
        try:
            while not self._closing and not self.alarmed:
                self._turn.wait(self._interval_s)
                self._turn.clear()
                self._look()
            if self.alarmed:
                self._judge()
            else:
                self._beat(state="left")
        except PeerLostError:
            # The board is gone: after a good end nobody asks; otherwise its keeper is the one who is missing.
            self._conclude(self._without_board())

    def _look(self) -> None:
        if self._closing:
            return
        self._beat()
        first = self._read(0)
        if 0 not in self._heard or first.number != self._heard[0].number:
            self._first_changed_s = time.monotonic()
        self._heard[0] = first
        if self._board.has("alarm"):
            self._raise_alarm()

    def _judge(self) -> None:
        self._board.put("alarm", b"")
        self._beat(state="failed")
        before, end = self._read_all(), time.monotonic() + self._grace_s
        after = before
        while time.monotonic() < end and not all(rank == self._rank or _accounted(before[rank], after[rank]) for rank in after):
            time.sleep(self._interval_s / 2)
            self._beat()
            after = self._read_all()
        self._conclude(judge(before, after, own_rank=self._rank, now_s=time.time()))
        self._beat(judged=True)
        self._linger()

    def _linger(self) -> None:
        """Keep the board, if this rank has it, until the others have judged, too."""
        missing = {absent.rank for absent in (*self._verdict.lost, *self._verdict.left)} | {self._rank}
        others = [rank for rank in range(self._board.world.size) if rank not in missing]
        end = time.monotonic() + self._grace_s
        while self._board.world.hosts_rendezvous and time.monotonic() < end and not all(self._read(rank).judged for rank in others):
            time.sleep(self._interval_s / 2)

    def _beat(self, *, state: str | None = None, judged: bool = False) -> None:
        last = self._sign
        self._sign = replace(
            last, number=last.number + 1, step=self.step, calls=self.calls, state=state or last.state, judged=judged, time_s=time.time()
        )
        self._board.put(f"sign/{self._rank}", self._sign.encode())

    def _read(self, rank: int) -> Sign:
        sign = Sign.decode(self._board.get(f"sign/{rank}", of=f"rank {rank}"))
        self._heard_board_s = time.monotonic()
        return sign

    def _read_all(self) -> dict[int, Sign]:
        return {rank: self._read(rank) for rank in range(self._board.world.size)}

    def _conclude(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self._judged.set()
        self._raise_alarm()

    def _raise_alarm(self) -> None:
        if not self._alarm.is_set():
            self._alarm.set()
            self._on_alarm()

    def _without_board(self) -> Verdict:
        """The board does not answer: the rank that keeps it is missing."""
        sign = self._heard.get(0)
        keeper = Absent(0, sign.step if sign else -1, time.monotonic() - self._heard_board_s)
        return Verdict(left=(keeper,)) if sign and sign.state == "left" else Verdict(lost=(keeper,))


def _accounted(before: Sign, after: Sign) -> bool:
    return after.state != "running" or is_new(before, after)
