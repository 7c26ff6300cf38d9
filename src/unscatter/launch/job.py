"""A job of several ranks on this machine: start them, wait for them, and leave none behind."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from unscatter.exchange.transports import remove_abandoned
from unscatter.launch.board import host_board
from unscatter.launch.logs import JobLogs
from unscatter.launch.process import RankProcess, how_it_ended
from unscatter.launch.signals import LauncherSignals
from unscatter.launch.variables import JobVariables, visible_gpus
from unscatter.launch.watching import Watcher

#: Seconds between two looks at the ranks.
_POLL_S = 0.05
#: Seconds between two looks at how the ranks are.
_TICK_S = 0.25


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """How many ranks, and how patient their launcher is."""

    num_ranks: int
    """Processes to start."""
    survives: bool = False
    """Whether ranks go on when one of them is lost, as with the exchange ``async-ring``."""
    orderly: frozenset[int] = frozenset({0})
    """Exit codes of a rank that has done its work or stopped when asked to."""
    stop_s: float = 60.0
    """How long ranks may take to stop when asked to, before they are killed."""
    settle_s: float = 2.0
    """How long ranks may take to end by themselves when another one has died: what they print says most."""
    lost_s: float = 10.0
    """How long they may take after that to leave a checkpoint, when asked to stop."""
    end_s: float = 120.0
    """How long other ranks may take when the first one has done its work."""


@dataclass(frozen=True, kw_only=True)
class JobEnd:
    """How a job ended."""

    code: int
    """Exit code of the job: that of its leading rank, of the rank that died, or 128 and the number of the signal."""
    codes: tuple[int, ...]
    """Of each rank: its exit code, or minus the number of the signal that killed it."""
    failure: str | None = None
    """Which rank died, how, and what it printed last; None where none did, or the others went on."""
    failed_rank: int | None = None
    """Its number."""
    lost: tuple[int, ...] = ()
    """Ranks that died while the others went on."""
    logs: Path
    """Where the logs are."""


def run_job(
    command: Sequence[str],
    settings: JobSettings,
    *,
    run: str | Path,
    tick: Callable[[JobLogs], None] = lambda logs: None,
    report: Callable[[str], None] = lambda text: None,
) -> JobEnd:
    """Run a command as several ranks on this machine, each with a log of its own; what rank 0 prints is shown, too.

    The launcher keeps the rendezvous of the ranks.  The first SIGINT, SIGTERM or SIGHUP is passed on to the ranks, the second one kills
    them.  A rank that dies ends the job, unless the others survive that.  Nothing that was started outlives this call, nor this process.

    Args:
        command: program and arguments; ranks differ in their environment only, see :mod:`unscatter.exchange.environment`.
        settings: how many ranks, and how patient to be.
        run: the run directory, whose ``logs/`` take the logs as soon as the ranks have made it.
        tick: called about four times a second while the ranks run.
        report: told of ranks that were lost while the others go on.

    Returns:
        How it ended.  A rank that died is in ``failure`` and not an exception: the exit code of the job is that rank's.

    Raises:
        RunError: no log can be written beside the run directory.
        ExchangeError: no port can be opened.

    Example:
        >>> import sys, tempfile
        >>> end = run_job([sys.executable, "-S", "-c", "print('done')"], JobSettings(num_ranks=2), run=f"{tempfile.mkdtemp()}/fit")
        done
        >>> end.code, end.codes
        (0, (0, 0))
    """
    logs = JobLogs(run)
    with ExitStack() as stack:
        signals = stack.enter_context(LauncherSignals())
        board = host_board()
        watcher = stack.enter_context(Watcher())
        job = _Job(settings, logs, watcher, signals, report)
        stack.callback(job.clear)
        job.start(command, JobVariables(num_ranks=settings.num_ranks, port=board.port, logs=logs.directory, gpus=visible_gpus()))
        job.wait(tick)
        return job.end()


@dataclass(eq=False)
class _Job:
    settings: JobSettings
    logs: JobLogs
    watcher: Watcher
    signals: LauncherSignals
    report: Callable[[str], None]
    ranks: list[RankProcess] = field(default_factory=list)
    failed: RankProcess | None = None
    lost: list[int] = field(default_factory=list)
    requests: int = 0
    """Signals that have been dealt with."""
    pressed: bool = False
    """Whether ranks were sent anything."""
    due: list[tuple[float, signal.Signals]] = field(default_factory=list)
    """When the ranks are sent what."""

    def start(self, command: Sequence[str], variables: JobVariables) -> None:
        self.logs.note(f"job {variables.job}: {self.settings.num_ranks} ranks of {shlex.join(command)}")
        for rank in range(self.settings.num_ranks):
            log = self.logs.log(rank)
            self.logs.begin(rank, f"rank {rank} of {self.settings.num_ranks}, job {variables.job}")
            self.ranks.append(RankProcess.start(rank, command, variables.of_rank(rank), log, shown=rank == 0))
            self.watcher.watch(self.ranks[-1].group)

    def wait(self, tick: Callable[[JobLogs], None]) -> None:
        next_tick = 0.0
        while self.running:
            self.notice()
            self.obey()
            self.press()
            self.logs.settle()
            if time.monotonic() >= next_tick:
                tick(self.logs)
                next_tick = time.monotonic() + _TICK_S
            time.sleep(_POLL_S)
        self.logs.settle()
        self.logs.note(f"codes of the ranks: {[rank.code for rank in self.ranks]}")
        tick(self.logs)

    @property
    def running(self) -> list[RankProcess]:
        return [rank for rank in self.ranks if rank.code is None]

    def notice(self) -> None:
        """See who has ended, and what follows from that."""
        ended = [rank for rank in self.running if rank.poll() is not None]
        for rank in ended:
            self.watcher.forget(rank.group)
        # A rank that was killed explains those that miss it, not the other way round.
        for rank in sorted(ended, key=lambda rank: ((rank.code or 0) > 0, rank.rank)):
            if rank.code not in self.settings.orderly:
                self.lose(rank)
            elif rank.rank == 0 and not self.due:
                self.ask_to_stop(signal.SIGTERM, after=self.settings.end_s, within=self.settings.lost_s)

    def lose(self, rank: RankProcess) -> None:
        if self.failed is not None or self.requests > 0:
            return
        if self.pressed:
            self.tell(f"rank {rank.rank} had not ended {self.settings.end_s:g} s after the first one, and was stopped.")
            return
        if self.settings.survives and self.running:
            self.lost.append(rank.rank)
            self.tell(f"rank {rank.rank} of {len(self.ranks)} {how_it_ended(rank.code or 0)}; the others go on.")
            return
        self.failed = rank
        self.ask_to_stop(signal.SIGTERM, after=self.settings.settle_s, within=self.settings.lost_s)

    def tell(self, text: str) -> None:
        self.logs.note(text)
        self.report(text)

    def obey(self) -> None:
        """Do what the launcher has been asked by signals."""
        if self.signals.count == self.requests:
            return
        if self.requests == 0 and self.signals.count == 1 and self.signals.first is not None:
            self.ask_to_stop(self.signals.first, after=0.0, within=self.settings.stop_s)
        else:
            self.due = [(0.0, signal.SIGKILL)]
        self.requests = self.signals.count

    def ask_to_stop(self, number: signal.Signals, *, after: float, within: float) -> None:
        now = time.monotonic()
        self.due = [(now + after, number), (now + after + within, signal.SIGKILL)]

    def press(self) -> None:
        """Send what is due."""
        now = time.monotonic()
        for at, number in self.due:
            for rank in self.running if at <= now else ():
                self.pressed = True
                if number == signal.SIGKILL:
                    rank.kill()
                else:
                    rank.send(number)
        self.due = [(at, number) for at, number in self.due if at > now]

    def clear(self) -> None:
        """Leave nobody behind, whatever has happened."""
        for rank in self.running:
            rank.kill()
        for rank in self.running:
            # A process that was killed takes a moment to go.
            rank.process.wait(timeout=30.0)
            self.watcher.forget(rank.group)
        # Shared memory whose last holder was killed.
        remove_abandoned()

    def end(self) -> JobEnd:
        codes = tuple(-1 if rank.code is None else rank.code for rank in self.ranks)
        return JobEnd(
            code=self.exit_code(), codes=codes, failure=None if self.failed is None else self.failure(self.failed),
            failed_rank=None if self.failed is None else self.failed.rank, lost=tuple(self.lost), logs=self.logs.directory,
        )  # fmt: skip

    def exit_code(self) -> int:
        if self.failed is not None and self.failed.code is not None:
            return self.failed.code if self.failed.code > 0 else 128 - self.failed.code
        orderly = [rank.code for rank in self.ranks if rank.code in self.settings.orderly]
        if self.signals.first is not None and (self.ranks[0].code not in self.settings.orderly or not orderly):
            return 128 + self.signals.first
        return next((code for code in orderly if code is not None), 1)

    def failure(self, rank: RankProcess) -> str:
        code = rank.code or 0
        text = f"rank {rank.rank} of {len(self.ranks)} {how_it_ended(code)}, and the job has ended with it."
        if code == -signal.SIGKILL:
            text += " That is also what the system does when memory runs out."
        lines = self.logs.last_lines(rank.rank)
        if rank.rank == 0 and code > 0:
            return f"{text} What it said stands above."
        if not lines:
            return f"{text} Its log is empty."
        return "\n".join([f"{text} The last lines of {self.logs.log(rank.rank).name}:", *(f"  {line}" for line in lines)])
