"""Faults of random kind, rank and step on real ranks, and what must hold after each of them.

Every rank descends its own quadratic, whose minimum is the unit vector of its rank,

    z <- z + rate / mass * (e_i - z),    then the exchange.

So the joint answer holds, in component i, the share that rank i has in it: a rank whose work is lost, merged twice or merged although it
was damaged is seen at once.  What the shares should be follows from when each rank has made its steps, as one process computes it in
:func:`expected_shares`: each step moves the common average by an equal part, whoever makes it, and a rank that goes on after the others
have finished moves itself alone.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import re
import shutil
import signal
import tempfile
import time
import traceback
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from unscatter.errors import PeerLostError
from unscatter.exchange.async_ring import AsyncRing
from unscatter.exchange.build import build_exchange
from unscatter.exchange.protocol import Exchange
from unscatter.exchange.rendezvous import Rendezvous
from unscatter.exchange.settings import ExchangeSettings
from unscatter.exchange.transports import Fault, Faulty, Transport
from unscatter.exchange.world import World

Kind = Literal["kill", "stop", "pause", "slow", "disconnect", "nan", "corrupt", "drop", "delay", "duplicate", "restart", "late"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: What a synchronous exchange has to notice.
SYNCHRONOUS: tuple[Kind, ...] = ("kill", "stop")
_PROCESS = ("kill", "stop", "pause", "restart")
_MESSAGES = ("disconnect", "nan", "corrupt", "drop", "delay", "duplicate")

STEPS, ROUNDS = 150, 2
RATE = 0.01
#: Copies of each component: a buffer that was torn or damaged does not have the same number in all of them.
COPIES = 16
STEP_S = 0.004
SILENCE_S, STRAGGLER_S, TIMEOUT_S = 1.0, 1.0, 12.0
#: Time-out of the synchronous exchange.
SYNCHRONOUS_S = 4.0
#: Nothing may take longer: twice the time-out, which is the longest wait, and the steps.
LIMIT_S = 40.0
#: Messages per step that a rank which ends its rounds has merged at least, whatever happens to it, after so many steps.
ENOUGH_MERGED, _MIXING_STEPS = 0.1, 50
#: Seconds without a step after which a rank does not count as one of those that go.
_GAP_S = 0.5

_PRELOAD = ["torch", "numpy", "unscatter.exchange.build", "tests.exchange.fault_campaign"]


@dataclass(frozen=True, kw_only=True)
class Injection:
    """A fault, by its coordinates."""

    kind: Kind
    rank: int
    step: int
    """Of the rank, from 1; after it the fault begins."""
    lasts: float
    """Seconds of ``stop``, ``pause``, ``late`` and until ``restart``; steps of the others."""
    after_s: float = 0.0
    """Seconds from the step to the signal, so that it strikes anywhere in a step."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One job of some ranks and its faults."""

    number: int
    exchange: Literal["async-ring", "allreduce"] = "async-ring"
    transport: Literal["shared-memory", "tcp"] = "shared-memory"
    num_ranks: int = 4
    faults: tuple[Injection, ...] = ()

    def __str__(self) -> str:
        where = self.transport if self.exchange == "async-ring" else self.exchange
        faults = ", ".join(f"{f.kind}(rank={f.rank}, step={f.step}, lasts={f.lasts:.2g})" for f in self.faults)
        return f"trial {self.number} on {where}, {self.num_ranks} ranks: {faults or 'no fault'}"

    def of(self, rank: int, *kinds: Kind) -> list[Injection]:
        """Faults of a rank."""
        return [fault for fault in self.faults if fault.rank == rank and (not kinds or fault.kind in kinds)]


def draw_trial(seed: int, number: int, *, num_ranks: int = 4, kinds: Sequence[Kind] = KINDS, synchronous: float = 0.1) -> Trial:
    """The trial of a number; the same for the same seed.

    Example:
        >>> draw_trial(1, 7) == draw_trial(1, 7)
        True
    """
    random = np.random.default_rng((seed, number))
    if random.random() < synchronous:
        # Not at the last step, and stopped for longer than the others wait.
        fault = replace(_draw(random, SYNCHRONOUS, num_ranks), lasts=2.5 * SYNCHRONOUS_S, after_s=0.0)
        fault = replace(fault, step=min(fault.step, STEPS * ROUNDS - 20))
        return Trial(number=number, exchange="allreduce", num_ranks=num_ranks, faults=(fault,))
    transport = random.choice(["shared-memory", "tcp"])
    count = 1 + (random.random() < 0.3)
    faults = tuple(_draw(random, kinds, num_ranks) for _ in range(count))
    return Trial(number=number, transport=transport, num_ranks=num_ranks, faults=faults)


def _draw(random: np.random.Generator, kinds: Sequence[Kind], num_ranks: int) -> Injection:
    kind: Kind = kinds[int(random.integers(len(kinds)))]
    # One in five strikes at the end of a round, where ranks meet.
    step = int(random.integers(1, ROUNDS + 1)) * STEPS if random.random() < 0.2 else int(random.integers(1, STEPS * ROUNDS + 1))
    lasts = {
        "stop": random.uniform(1.3, 3.0) * SILENCE_S,
        "pause": random.uniform(0.1, 0.8) * SILENCE_S,
        "late": random.uniform(0.1, 2.0),
        "restart": random.uniform(0.0, 2.0) * SILENCE_S,
        "slow": float(random.integers(2, 6)),
    }.get(kind, float(random.integers(1, 40)))
    return Injection(kind=kind, rank=int(random.integers(num_ranks)), step=step, lasts=lasts, after_s=random.uniform(0, 0.03))


@dataclass(frozen=True)
class Report:
    """What a rank says at its end."""

    weights: np.ndarray
    counted: list[int]
    """Ranks in the last sums."""
    meeting: int
    """Number of the last sums."""
    before: np.ndarray
    """Shares that came out of the sums before."""
    statistics: dict[str, float]
    leads: bool
    num_rounds: int
    num_steps: int


@dataclass
class Verdict:
    """What came of a trial."""

    trial: Trial
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    deviation: float = 0.0
    """Largest difference of a share from what it should be."""
    merged: float = math.inf
    """Messages per step that the rank with the fewest has merged."""
    lost: float = 0.0
    """Lost ranks as counted by the rank that leads."""


class Ledger:
    """Times of all steps, the sums that followed them (counted from 1), and the last saved weights of all ranks.

    They lie in files, so that they outlive the ranks.
    """

    def __init__(self, directory: Path, num_ranks: int) -> None:
        self.times = _mapped(directory / "times", (num_ranks, 2, 3 * STEPS * ROUNDS))
        self.rounds = _mapped(directory / "rounds", (num_ranks, 2, 3 * STEPS * ROUNDS))
        self.saved = _mapped(directory / "saved", (num_ranks, 1 + COPIES * (num_ranks + 1)))

    def save(self, rank: int, step: int, weights: Tensor) -> None:
        self.saved[rank, 1:] = weights.numpy()
        self.saved[rank, 0] = step

    def load(self, rank: int) -> tuple[int, Tensor]:
        return int(self.saved[rank, 0]), torch.tensor(self.saved[rank, 1:], dtype=torch.float32)


def _mapped(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    return np.memmap(path, dtype=np.float64, mode="r+" if path.exists() else "w+", shape=shape)


def expected_shares(ledger: Ledger, last: Report) -> np.ndarray:
    """Shares of the ranks in the last sums, and at the end that of the start, by one process that knows when each step was made."""
    num_ranks = len(ledger.saved)
    steps = np.argwhere(ledger.rounds == last.meeting + 1)
    order = sorted((float(ledger.times[rank, life, index]), int(rank)) for rank, life, index in steps)
    moments = [np.array([time_s for time_s, other in order if other == rank]) for rank in range(num_ranks)]
    common, ends = last.before, {}
    for time_s, rank in order:
        going = sum(_goes(moments[other], time_s) for other in range(num_ranks))
        common = common + RATE / max(going, 1) * (np.eye(num_ranks + 1)[rank] - common)
        if time_s == moments[rank][-1]:
            ends[rank] = common
    return np.mean([ends.get(rank, common) for rank in last.counted], axis=0)


def _goes(moments: np.ndarray, time_s: float) -> bool:
    """Whether a rank makes steps before and after a moment."""
    before, after = moments[moments <= time_s], moments[moments >= time_s]
    return len(before) > 0 and len(after) > 0 and after[0] - before[-1] < _GAP_S


def run_trial(trial: Trial, *, seed: int = 0) -> Verdict:
    """Run the ranks of a trial and judge what they leave."""
    begin = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="unscatter-faults-"))
    try:
        job = _Job(trial, directory, seed)
        job.run()
        verdict = _judge_ring(job) if trial.exchange == "async-ring" else _judge_synchronous(job)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    verdict.seconds = time.monotonic() - begin
    return verdict


class _Job:
    """The processes of a trial, as their launcher sees them."""

    def __init__(self, trial: Trial, directory: Path, seed: int) -> None:
        self.trial, self.directory, self.seed = trial, directory, seed
        self.ledger = Ledger(directory, trial.num_ranks)
        self.store = TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=60), wait_for_workers=False)
        self.name = f"faults-{uuid.uuid4().hex[:8]}"
        self.world = World(
            size=trial.num_ranks,
            local_size=trial.num_ranks,
            port=self.store.port,
            hosts_rendezvous=False,
            job=self.name,
            secret=uuid.uuid4().hex,
            launcher="unscatter",
        )
        self.reports: dict[int, Report | str] = {}
        self.ended_s: dict[int, float] = {}
        self.killed: dict[int, float] = {}
        self.struck_s = time.monotonic()
        self.failures: list[str] = []
        self._pipes: dict[Connection, int] = {}
        self._processes: dict[int, BaseProcess] = {}
        self._agenda: list[tuple[float, int, str]] = []

    def run(self) -> None:
        now = time.monotonic()
        for rank in range(self.trial.num_ranks):
            late = self.trial.of(rank, "late")
            self._agenda.append((now + (late[0].lasts if late else 0.0), rank, "start"))
        end = now + LIMIT_S
        while (self._agenda or self._pipes) and time.monotonic() < end:
            self._do_what_is_due()
            for pipe in wait(list(self._pipes), timeout=0.002):
                self._listen(cast(Connection, pipe))
        self._clear_up()

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        for item in [item for item in sorted(self._agenda) if item[0] <= now]:
            self._agenda.remove(item)
            self._do(item[1], item[2])

    def _do(self, rank: int, what: str) -> None:
        process = self._processes.get(rank)
        if what in ("start", "start again"):
            self._start(rank, life=int(what != "start"))
        elif process is not None and process.is_alive():
            assert process.pid is not None
            if what == "SIGKILL":
                self.killed[rank] = time.monotonic()
            os.kill(process.pid, getattr(signal, what))

    def _start(self, rank: int, life: int) -> None:
        context = multiprocessing.get_context("forkserver")
        ours, theirs = context.Pipe(duplex=False)
        arguments = (theirs, replace(self.world, rank=rank, local_rank=rank), self.trial, self.directory, self.seed, life)
        process = context.Process(target=_main, args=arguments, daemon=True)
        process.start()
        theirs.close()
        self._pipes[ours], self._processes[rank] = rank, process
        if life:
            self.killed.pop(rank, None)

    def _listen(self, pipe: Connection) -> None:
        rank = self._pipes[pipe]
        try:
            said = pipe.recv()
        except EOFError:
            del self._pipes[pipe]
            return
        if isinstance(said, Injection):
            self._strike(said)
        else:
            self.reports[rank], self.ended_s[rank] = said, time.monotonic()

    def _strike(self, fault: Injection) -> None:
        at = self.struck_s = time.monotonic() + fault.after_s
        if fault.kind in ("stop", "pause"):
            self._agenda += [(at, fault.rank, "SIGSTOP"), (at + fault.lasts, fault.rank, "SIGCONT")]
        else:
            self._agenda.append((at, fault.rank, "SIGKILL"))
        if fault.kind == "restart":
            self._agenda.append((at + 0.01 + fault.lasts, fault.rank, "start again"))

    def _clear_up(self) -> None:
        """End what has not ended by itself, which is a failure."""
        end = time.monotonic() + 5.0
        for rank, process in self._processes.items():
            process.join(max(0.0, end - time.monotonic()))
            if process.is_alive():
                self.failures.append(f"rank {rank} did not end within {LIMIT_S:g} s")
                process.kill()
                process.join(10)
        left = sorted(path.name for path in Path("/dev/shm").glob(f"unscatter-{self.name}*"))
        if left:
            self.failures.append(f"left in shared memory: {left}")
            for name in left:
                (Path("/dev/shm") / name).unlink(missing_ok=True)

    @property
    def survivors(self) -> list[int]:
        return [rank for rank in range(self.trial.num_ranks) if rank not in self.killed]


def _judge_ring(job: _Job) -> Verdict:
    trial, verdict = job.trial, Verdict(job.trial, job.failures)
    reports = {rank: report for rank in job.survivors if isinstance(report := job.reports.get(rank), Report)}
    for rank in job.survivors:
        if rank not in reports:
            verdict.failures.append(f"rank {rank} failed: {job.reports.get(rank, 'no word')}")
    if verdict.failures or not reports:
        return verdict
    first = max(reports.values(), key=lambda report: report.num_rounds)
    for rank, report in reports.items():
        if not np.array_equal(report.weights, first.weights):
            verdict.failures.append(f"rank {rank} does not have the same bits as the others")
        # One that was started again may find that the others have ended their rounds.
        if report.num_steps < _MIXING_STEPS or trial.of(rank, "restart"):
            continue
        verdict.merged = min(verdict.merged, report.statistics["merged"] / report.num_steps)
        if report.statistics["merged"] < ENOUGH_MERGED * report.num_steps:
            verdict.failures.append(f"rank {rank} has merged {report.statistics['merged']:g} messages in {report.num_steps} steps")
    verdict.failures += _count_failures(trial, job, first.counted)
    verdict.failures += _share_failures(verdict, job, first)
    verdict.lost = next((report.statistics["lost_ranks"] for report in reports.values() if report.leads), 0.0)
    if job.killed and verdict.lost < len(job.killed) and not any(fault.step % STEPS == 0 for fault in trial.faults):
        verdict.failures.append(f"ranks {sorted(job.killed)} were lost, but {verdict.lost:g} are counted")
    return verdict


def _count_failures(trial: Trial, job: _Job, counted: Sequence[int]) -> Iterator[str]:
    """A rank may be missing in the last sums only if it was silent for longer than it may be, or died."""
    silent = {fault.rank for fault in trial.faults if fault.kind in ("kill", "stop", "restart")}
    missing = set(range(trial.num_ranks)) - set(counted) - silent
    if missing:
        yield f"ranks {sorted(missing)} are missing in the last sums"


def _share_failures(verdict: Verdict, job: _Job, first: Report) -> Iterator[str]:
    num_ranks = job.trial.num_ranks
    parts = first.weights.reshape(num_ranks + 1, COPIES)
    if not np.isfinite(parts).all() or np.ptp(parts, axis=1).max() > 1e-5:
        yield f"the answer is damaged: {parts.mean(1)} with spreads {np.ptp(parts, axis=1)}"
        return
    shares = parts.mean(1)
    if abs(shares.sum() - 1) > 1e-4 or shares.min() < -1e-5:
        yield f"the answer is no average of the ranks' answers: {shares}"
    expected = expected_shares(job.ledger, first)
    verdict.deviation = float(np.abs(shares - expected).max())
    if verdict.deviation > tolerance(job.trial):
        yield f"shares in the answer are {shares.round(3)} instead of {expected.round(3)}"


def tolerance(trial: Trial) -> float:
    """Allowed difference of a share.

    A third of what the loss of a rank, or its being counted twice, would make.  A fault in the last round, or a rank that comes back in it
    with what it believed a round ago, may leave too little time to bring together again what ranks have learnt apart; then one rank may
    speak for itself alone in the last sums, which moves its share by up to (1 - 1/N) / N.
    """
    back_late = {"stop", "restart"}
    # Faults of messages and slowness last so many steps, the others seconds.
    ends = [fault.step + (0 if fault.kind in (*_PROCESS, "late") else fault.lasts) for fault in trial.faults]
    recent = any(fault.kind in back_late or end >= STEPS * (ROUNDS - 1) for fault, end in zip(trial.faults, ends, strict=True))
    return (1 - 1 / trial.num_ranks) / trial.num_ranks if recent else 1 / (3 * trial.num_ranks)


def _judge_synchronous(job: _Job) -> Verdict:
    verdict = Verdict(job.trial, job.failures)
    (fault,) = job.trial.faults
    for rank in range(job.trial.num_ranks):
        said = str(job.reports.get(rank, "no word"))
        if isinstance(job.reports.get(rank), Report):
            said = "it has ended as if nothing had happened"
        if rank != fault.rank and not (said.startswith("PeerLostError") and re.search(rf"(for|from) rank {fault.rank}\b", said)):
            verdict.failures.append(f"rank {rank} does not name rank {fault.rank}: {said}")
    late = max((ended - job.struck_s for rank, ended in job.ended_s.items() if rank != fault.rank), default=0.0)
    if late > 2 * SYNCHRONOUS_S:
        verdict.failures.append(f"it took {late:.1f} s until all survivors had the error")
    return verdict


def _main(pipe: Connection, world: World, trial: Trial, directory: Path, seed: int, life: int) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    try:
        work = _Work(pipe, Rendezvous.join(world, timeout_s=TIMEOUT_S), trial, Ledger(directory, trial.num_ranks), seed, life)
        pipe.send(work.run())
    except Exception as error:  # noqa: BLE001 - the launcher judges it
        known = isinstance(error, PeerLostError)
        pipe.send(f"{type(error).__name__}: {error}" + ("" if known and trial.exchange != "async-ring" else f"\n{traceback.format_exc()}"))


class _Work:
    """What one rank does: rounds of steps, sums after each, and a verdict of the rank that leads."""

    def __init__(self, pipe: Connection, rendezvous: Rendezvous, trial: Trial, ledger: Ledger, seed: int, life: int) -> None:
        self.pipe, self.rank, self.trial, self.ledger, self.life = pipe, rendezvous.world.rank, trial, ledger, life
        self.random = np.random.default_rng((seed, trial.number, self.rank))
        self.step, self.num_made = 0, 0
        self.slow_until = 0.0
        self.exchange = _exchange(rendezvous, trial, seed, life)
        units = torch.eye(trial.num_ranks + 1).repeat_interleave(COPIES, dim=1)
        self.start, self.minimum = units[-1], units[self.rank]

    def run(self) -> Report:
        exchange = self.exchange
        try:
            weights = exchange.start({"weights": self.start})["weights"]
            if self.life:
                self.step, weights = self.ledger.load(self.rank)
                weights = self.start if self.step == 0 else weights
            rounds, verdict, meeting = 0, "", 0
            before, sums = weights, {}
            while verdict != "stop":
                if not (self.step and self.step % STEPS == 0 and rounds == 0):
                    weights = self._round(weights)
                meeting = self._meeting
                before = sums["weights"] / sums["ranks"].sum() if rounds else weights if self.life and meeting else self.start
                sums = exchange.total({"weights": weights, "ranks": torch.eye(self.trial.num_ranks)[self.rank]})
                weights = sums["weights"] / sums["ranks"].sum()
                rounds += 1
                verdict = exchange.agree("stop" if exchange.leads and self.step >= STEPS * ROUNDS else "")
            counted = np.flatnonzero(sums["ranks"].numpy()).tolist()
            shares = before.reshape(-1, COPIES).double().mean(1).numpy()
            return Report(weights.numpy(), counted, meeting, shares, exchange.statistics(), exchange.leads, rounds, self.num_made)
        finally:
            exchange.close()

    def _round(self, weights: Tensor) -> Tensor:
        end = min((self.step // STEPS + 1) * STEPS, ROUNDS * STEPS)
        while self.step < end:
            time.sleep(STEP_S * self.random.uniform(0.5, 1.5) * (100 if self.step < self.slow_until else 1))
            weights = self._step(weights)
            self.step += 1
            over = self.step < end and self.exchange.round_over()
            self._note(weights)
            if over:
                self.step = end
        return weights

    def _step(self, weights: Tensor) -> Tensor:
        exchange = self.exchange
        gradient = exchange.before_step(weights - self.minimum)
        scale = exchange.step_scale
        return exchange.after_step(weights - RATE * scale * gradient)

    @property
    def _meeting(self) -> int:
        """Number of the next sums."""
        return self.exchange.board._num_sums if isinstance(self.exchange, AsyncRing) and self.exchange.board else 0

    def _note(self, weights: Tensor) -> None:
        self.ledger.rounds[self.rank, self.life, self.num_made] = self._meeting + 1
        self.ledger.times[self.rank, self.life, self.num_made] = time.monotonic()
        self.num_made += 1
        if self.step % 10 == 0:
            self.ledger.save(self.rank, self.step, weights)
        for fault in self.trial.of(self.rank) if self.life == 0 else ():
            if fault.step == self.step:
                self._begin(fault)

    def _begin(self, fault: Injection) -> None:
        if fault.kind == "slow":
            self.slow_until = self.step + fault.lasts
        elif fault.kind in _PROCESS:
            self.pipe.send(fault)


def _exchange(rendezvous: Rendezvous, trial: Trial, seed: int, life: int) -> Exchange:
    if trial.exchange != "async-ring":
        return build_exchange(ExchangeSettings(name=trial.exchange, timeout_s=SYNCHRONOUS_S), rendezvous)
    settings = ExchangeSettings(
        timeout_s=TIMEOUT_S, silence_s=SILENCE_S, straggler_s=STRAGGLER_S, transport=trial.transport, host="127.0.0.1"
    )
    ring = build_exchange(settings, rendezvous)
    assert isinstance(ring, AsyncRing)
    faults = tuple(_message_fault(fault) for fault in trial.faults if fault.kind in _MESSAGES and life == 0)
    if faults:
        inner = ring.open_transport

        def opened(*arguments: Any) -> Transport:
            return Faulty(inner(*arguments), faults, seed=seed)

        ring.open_transport = opened
    return ring


def _message_fault(fault: Injection) -> Fault:
    until = fault.step + int(fault.lasts)
    return Fault(kind=cast(Any, fault.kind), rank=fault.rank, step=fault.step, until=until, versions=3)


def preload() -> None:
    """Let later ranks be forked from a process that has imported everything already."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOAD)


def run_trials(trials: Sequence[Trial], *, seed: int, at_once: int = 2) -> Iterator[Verdict]:
    """Run trials, some at the same time, since their ranks mostly sleep; verdicts in the order of the trials."""
    preload()
    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(lambda trial: run_trial(trial, seed=seed), trials)
