"""The loop: step, record, keep, and stop when nothing can tell synthetic from measured events."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unscatter.arrays import RandomStream
from unscatter.errors import DivergenceError, SettingsError, UnscatterError
from unscatter.events import EventSource
from unscatter.exchange import Exchange, NoExchange
from unscatter.methods import Gan, Method
from unscatter.pipeline import Problem
from unscatter.pipeline.check import check_gradients
from unscatter.pipeline.outlook import check_outlook
from unscatter.solve.fit import Fit
from unscatter.solve.memory import check_fit
from unscatter.solve.observers import Observer, Observers
from unscatter.solve.outcome import Diagnosis, Verdict, conclude, judge
from unscatter.solve.pilot import needs_pilot, piloted
from unscatter.solve.settings import SolveSettings
from unscatter.solve.sources import EventsGiven, as_source, check_per_channel, shard_of, split_off, stop_reading, warn_if_sorted
from unscatter.solve.waiting import WaitingTime


def solve(
    problem: Problem,
    events: EventsGiven,
    *,
    method: Method[Any] | None = None,
    settings: SolveSettings | None = None,
    observer: Observer | None = None,
    exchange: Exchange | None = None,
    resume_from: Mapping[str, Tensor] | None = None,
    seconds_before: float = 0.0,
) -> Fit:
    """Fit the parameters of a problem to events.

    Args:
        problem: parameter space, forward model, observables.  Results are compared with its truth where it has one; for measured events,
            which have none, give ``dataclasses.replace(problem, truth=None)``.
        events: measured events per channel, in memory or in a store (its path, or :class:`~unscatter.events.StoredEvents`), or a source
            of one's own.
        method: :class:`~unscatter.methods.Gan` with its defaults when None.
        settings: how long, how many replicas, when to stop.
        observer: told what happens; may ask to stop.
        exchange: how ranks share the generator; not at all when None.
        resume_from: tensors of a checkpoint of the same problem, events, method and settings.
        seconds_before: time that the run has taken up to that checkpoint.

    Returns:
        The fit; its ``stop_reason`` says whether it converged, ran out of rounds or was interrupted.

    Raises:
        SettingsError: events and problem do not fit together, or the fit does not fit into memory.
        EventsError: events outside the grid.
        TheoryError: neither events nor rates depend on some parameter.
        DivergenceError: too many steps were skipped because they were not finite.

    Example:
        >>> from unscatter.problems import proxy2d
        >>> problem = proxy2d(nodes=17)
        >>> fit = solve(problem, problem.simulate(num_events=2000, seed=1), settings=SolveSettings(steps=5, max_rounds=1, held_out=0.2))
        >>> fit.num_steps
        5
    """
    settings = SolveSettings() if settings is None else settings
    device = _device(settings)
    method = Gan() if method is None else method
    check_per_channel(problem, events)
    check_fit(problem, events, method, settings.replicas, device)
    exchange = NoExchange() if exchange is None else exchange
    job = _prepare(problem, events, method, settings, Observers(() if observer is None else (observer,)), exchange)
    clock = _Clock(seconds_before)
    if resume_from is None:
        check_gradients(problem)
        check_outlook(problem)
        job = _with_pilot(job, device)
    rng = RandomStream(settings.seed)
    state = job.method.init(
        job.problem, job.shard, rng, num_steps=settings.steps, exchange=exchange, device=device, fitted_start=job.has_pilot
    )
    if resume_from is not None:
        state = job.method.restore(state, resume_from)
    # A checkpoint of the end of a round is resumed by judging it, as the uninterrupted run does.
    at_end = state.step > 0 and state.step % settings.steps == 0
    while True:
        if not at_end:
            state, interrupted = _round(job, state, clock)
            if interrupted:
                return _concluded(job, state, Verdict(stop_reason="interrupted"), clock)
        joined = job.method.join(state)
        verdict = _judged(job, joined)
        if verdict.stop_reason is not None:
            return _concluded(job, joined, verdict, clock)
        at_end = False


@dataclass(frozen=True, eq=False)
class _Job:
    problem: Problem
    method: Method[Any]
    training: EventSource
    held_out: EventSource | None
    settings: SolveSettings
    observer: Observers
    exchange: Exchange

    @cached_property
    def shard(self) -> EventSource:
        """The training events of this rank; all of them where it is the only one."""
        return shard_of(self.training, self.exchange)

    @cached_property
    def waiting(self) -> WaitingTime:
        """How long the steps of this rank have waited for their events."""
        return WaitingTime(self.shard)

    @property
    def has_pilot(self) -> bool:
        """Whether the replicas start from a fit."""
        return needs_pilot(self.problem, self.training, self.settings.pilot_steps)

    @property
    def last_step(self) -> int:
        return self.settings.steps * self.settings.max_rounds


@dataclass
class _Clock:
    """Seconds of this run, those before a resume included."""

    before: float
    start: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.start


def _with_pilot(job: _Job, device: torch.device) -> _Job:
    """The job with a problem that starts from a fit, where an ensemble needs one.

    A resumed run has its start in the checkpoint.
    """
    settings = job.settings
    if not job.has_pilot:
        return job

    def report(done: int, steps: int) -> None:
        job.observer.piloted(done, steps)
        if _stop_agreed(job):
            raise KeyboardInterrupt

    rng = RandomStream(settings.seed)
    problem = piloted(
        job.problem, job.training, job.method, num_steps=settings.pilot_steps, rng=rng, device=device, report=report, exchange=job.exchange
    )
    return replace(job, problem=problem)


def _round(job: _Job, state: Any, clock: _Clock) -> tuple[Any, bool]:
    """Steps up to the end of the round; whether somebody asked to stop."""
    settings = job.settings
    end = min((state.step // settings.steps + 1) * settings.steps, job.last_step)
    job.observer.started(state.step, end)
    while state.step < end:
        state, metrics = _step_or_save(job, state, clock)
        due = state.step % settings.log_every == 0 or state.step == end
        if due:
            _check_finite(job.method, state)
            job.observer.progressed(_record(job, state, metrics, clock.seconds))
        if state.step < end and job.exchange.round_over():
            state = job.method.leave_round(state, end)
        stop = _stop_agreed(job)
        if stop or state.step % settings.checkpoint_every == 0 or state.step == end:
            _keep(job, state, clock)
        if stop:
            return state, True
    return state, False


def _step_or_save(job: _Job, state: Any, clock: _Clock) -> tuple[Any, Mapping[str, Tensor]]:
    """A step; if it raises, the state before it is kept as a checkpoint."""
    try:
        with job.waiting.step():
            return job.method.step(state, job.shard)
    except UnscatterError:
        if state.step > 0:
            _keep(job, state, clock)
        raise


def _keep(job: _Job, state: Any, clock: _Clock) -> None:
    """A checkpoint of the state."""
    scalars = {"seconds": clock.seconds, "parameters": list(job.problem.space.names)}
    job.observer.checkpoint(state.step, job.method.tensors(state), scalars)


def _stop_agreed(job: _Job) -> bool:
    """Whether to stop after this step; with several ranks all of them do."""
    if job.observer.stop_requested():
        job.exchange.request_stop()
    return job.exchange.stop_agreed()


def _judged(job: _Job, state: Any) -> Verdict:
    """The verdict of the rank that leads, on all ranks."""
    if not job.exchange.leads:
        return Verdict(job.exchange.agree("") or None)
    rates = job.method.uses_rates(state)
    diagnosis = Diagnosis(job.problem, job.method.result(state), job.training, job.held_out, job.settings, rates)
    verdict = judge(diagnosis, last=state.step >= job.last_step)
    # Another rank may have spoken first, if this one was stopped meanwhile.
    return replace(verdict, stop_reason=job.exchange.agree(verdict.stop_reason or "") or None)


def _concluded(job: _Job, state: Any, verdict: Verdict, clock: _Clock) -> Fit:
    stop_reading(job.shard)
    fit = conclude(job.problem, job.method, state, job.training, verdict, clock.seconds)
    return replace(
        fit, summary=fit.summary | job.waiting.overall() | {"num_ranks": job.exchange.num_ranks, "exchange": job.exchange.statistics()}
    )


def _prepare(
    problem: Problem, events: EventsGiven, method: Method[Any], settings: SolveSettings, observer: Observers, exchange: Exchange
) -> _Job:
    warn_if_sorted(events, exchange.num_ranks)
    training, held_out = split_off(as_source(problem, events, settings), settings)
    return _Job(problem, method, training, held_out, settings, observer, exchange)


def _device(settings: SolveSettings) -> torch.device:
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("device is 'cuda', but PyTorch finds no GPU here: set device to 'cpu' or 'auto'.")
    if settings.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(settings.device)


def _record(job: _Job, state: Any, metrics: Mapping[str, Tensor], seconds: float) -> dict[str, Any]:
    """One line of the metrics: means over the replicas, and what the exchange has counted so far."""
    method, counted = job.method, job.exchange.statistics()
    estimate = method.result(state)
    latest = method.current(state).double().mean(0).tolist()
    averaged = estimate.parameters.double().mean(0).tolist()
    return {
        "step": state.step,
        "seconds": seconds,
        **{name: float(value.double().mean()) for name, value in metrics.items()},
        "skipped": int(method.skipped(state).sum()),
        **job.waiting.since_last(),
        **({"exchange": counted} if counted else {}),
        "parameters": dict(zip(estimate.names, latest, strict=True)),
        "averaged": dict(zip(estimate.names, averaged, strict=True)),
    }


def _check_finite(method: Method[Any], state: Any) -> None:
    share, allowed = method.skipped_share(state), method.max_skipped
    # The first hundred steps are too few for a share to mean anything.
    if state.step >= 100 and share > allowed:
        raise DivergenceError(
            f"{share:.0%} of the first {state.step} steps were not finite and were skipped, more than the allowed {allowed:.0%}.\n"
            "Lower generator.learning_rate and discriminator.learning_rate, or look for infinities with problem.check()."
        )
