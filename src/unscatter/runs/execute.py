"""Fits that leave a run directory behind, and survive being stopped."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from torch import Tensor

from unscatter.errors import CheckpointError, RunError
from unscatter.exchange import Exchange, NoExchange
from unscatter.files import quoted
from unscatter.methods import Method
from unscatter.pipeline import Problem
from unscatter.runs.checkpoints import Checkpoint
from unscatter.runs.directory import RunDirectory
from unscatter.runs.provenance import collect_provenance
from unscatter.solve import EventsGiven, Fit, Observer, Observers, SolveSettings, solve

#: Seconds that other ranks wait for the directory that the first one makes.
_DIRECTORY_S = 60.0


def execute(
    problem: Problem,
    events: EventsGiven,
    *,
    path: str | Path,
    method: Method[Any] | None = None,
    settings: SolveSettings | None = None,
    runcard_text: str | None = None,
    resolved_text: str | None = None,
    facts: Mapping[str, Any] | None = None,
    observers: Sequence[Observer] = (),
    exchange: Exchange | None = None,
) -> Fit:
    """Fit, and keep everything in a new run directory.

    The directory is made when the first step is about to be taken, so that input that a fit refuses leaves none behind.  The first
    SIGINT (Ctrl-C) or SIGTERM lets the step end and leaves a checkpoint, the second one stops at once.

    Args:
        problem: what is fitted.
        events: measured events, as for :func:`~unscatter.solve.solve`.
        path: the new run directory.
        method: the default method when None.
        settings: how long, how many replicas, when to stop.
        runcard_text: the runcard as it was given, to be kept with the run.
        resolved_text: the runcard with every default filled in.
        facts: more facts for the provenance.
        observers: told what happens, after the run directory.
        exchange: how the ranks of a job share the generator; the first one makes the directory, each leaves checkpoints of its own,
            and the one that leads at the end writes the result.

    Returns:
        The fit.  One that was interrupted has the signal's name in ``summary["interrupted_by"]`` and leaves no result, but a checkpoint.

    Raises:
        RunError: the directory exists already or cannot be written.

    Example:
        >>> import tempfile
        >>> from unscatter.problems import proxy2d
        >>> problem = proxy2d(nodes=17)
        >>> path = Path(tempfile.mkdtemp()) / "fit"
        >>> fit = execute(problem, problem.simulate(num_events=2000), path=path, settings=SolveSettings(steps=5, diagnose=False))
        >>> len(RunDirectory.open(path).read_result("parameters"))
        5
    """
    settings = SolveSettings() if settings is None else settings
    exchange = NoExchange() if exchange is None else exchange
    if exchange.rank == 0:
        RunDirectory.check_free(path)
    with ExitStack() as stack:
        signals = stack.enter_context(StopSignals())

        def begin() -> RunDirectory:
            if exchange.rank > 0:
                return _made_by_first(path)
            run = RunDirectory.create(path)
            stack.enter_context(run.lock())
            if runcard_text is not None:
                run.write_runcard(runcard_text, runcard_text if resolved_text is None else resolved_text)
            run.add_provenance(collect_provenance({"seed": settings.seed}, **(facts or {})))
            return run

        keeper = RunObserver(begin, signals, exchange.rank)
        fit = solve(problem, events, method=method, settings=settings, observer=Observers((keeper, *observers)), exchange=exchange)
        return _write_result(keeper.run, fit, signals, exchange)


def resume(
    path: str | Path,
    problem: Problem,
    events: EventsGiven,
    *,
    method: Method[Any] | None = None,
    settings: SolveSettings | None = None,
    checkpoint: str | Path | None = None,
    facts: Mapping[str, Any] | None = None,
    observers: Sequence[Observer] = (),
    exchange: Exchange | None = None,
) -> Fit:
    """Go on with a run from its newest checkpoint; the result equals that of an uninterrupted run bit for bit.

    With several ranks that holds for synchronous exchanges and the same number of ranks; with another number the fit goes on as well as
    it can, from the checkpoints of the ranks that there were.

    Args:
        path: the run directory.
        problem: as at the start of the run, like ``events``, ``method`` and ``settings``.
        events: measured events.
        method: the default method when None.
        settings: how long, how many replicas, when to stop.
        checkpoint: another checkpoint than the newest; a path, or a name inside ``checkpoints/``.
        facts: more facts for the provenance.
        observers: told what happens, after the run directory.
        exchange: how the ranks of a job share the generator.

    Raises:
        RunError: the run has finished, is missing, or is being written by another process.
        CheckpointError: the checkpoint is missing, damaged, of another version or of other settings.
    """
    settings = SolveSettings() if settings is None else settings
    exchange = NoExchange() if exchange is None else exchange
    run = open_unfinished(path)
    with ExitStack() as stack:
        if exchange.rank == 0:
            stack.enter_context(run.lock())
        signals = stack.enter_context(StopSignals())
        found = run.load_rank_checkpoint(run.load_checkpoint(checkpoint), exchange.rank, in_step=exchange.in_step)
        _check_parameters(run, found, problem)

        def begin() -> RunDirectory:
            if exchange.rank > 0:
                return run
            run.truncate_metrics(found.step)
            run.add_provenance(collect_provenance({"seed": settings.seed}, resumed_from=found.step, **(facts or {})))
            return run

        keeper = RunObserver(begin, signals, exchange.rank)
        fit = solve(
            problem, events, method=method, settings=settings, observer=Observers((keeper, *observers)), exchange=exchange,
            resume_from=found.tensors, seconds_before=float(found.scalars.get("seconds", 0.0)),
        )  # fmt: skip
        return _write_result(keeper.run, fit, signals, exchange)


def _check_parameters(run: RunDirectory, found: Checkpoint, problem: Problem) -> None:
    """Refuse a checkpoint of a fit of other parameters, as another version of a parametrisation has them."""
    fitted, names = found.scalars.get("parameters"), list(problem.space.names)
    if fitted is None or fitted == names:
        return
    raise CheckpointError(
        f"the run '{run.path}' fits the parameters {fitted}, but the problem of this unscatter has {names}.\n"
        f"Finish it with the unscatter that began it, which '{run.provenance}' names, or start anew in another directory."
    )


def _made_by_first(path: str | Path) -> RunDirectory:
    """The directory that the first rank makes; a shared file system may take a moment to show it."""
    end = time.monotonic() + _DIRECTORY_S
    while not (Path(path) / "run.json").is_file() and time.monotonic() < end:
        time.sleep(0.05)
    return RunDirectory.open(path)


def open_unfinished(path: str | Path) -> RunDirectory:
    """Open a run that has no result yet.

    Raises:
        RunError: the run has finished, or is missing.
    """
    run = RunDirectory.open(path)
    if (run.result / "summary.json").is_file():
        reason = run.read_result("summary").get("stop_reason", "finished")
        raise RunError(
            f"the run '{run.path}' has finished ({reason}); there is nothing to resume.\n"
            f"Look at its result: unscatter report {quoted(run.path)}, or start a longer one in another directory."
        )
    return run


class StopSignals:
    """Turns the first SIGINT or SIGTERM into a request to stop, and the second into KeyboardInterrupt.

    Does nothing outside of the main thread, where Python allows no handlers; what was there before comes back at the end.

    Example:
        >>> with StopSignals() as signals:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     signals.received
        <Signals.SIGTERM: 15>
    """

    HANDLED = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._receive) for number in self.HANDLED}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Bring back the handlers that were there before."""
        for number, handler in self._previous.items():
            # None stands for a handler that was not installed from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)


@dataclass(frozen=True)
class RunObserver:
    """Writes metrics and checkpoints into a run directory as they come.

    Args:
        begin: makes or opens the directory, called when there is something to write for the first time.
        signals: asks the loop to stop.
        rank: of this process; metrics are written by the first one only.
    """

    begin: Callable[[], RunDirectory]
    signals: StopSignals
    rank: int = 0

    @cached_property
    def run(self) -> RunDirectory:
        """The run directory."""
        return self.begin()

    def started(self, first_step: int, last_step: int) -> None:
        """Make or open the directory before the first step."""
        _ = self.run

    def progressed(self, record: Mapping[str, Any]) -> None:
        """Append to the metrics."""
        if self.rank == 0:
            self.run.append_metrics(record)

    def checkpoint(self, step: int, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Write a checkpoint."""
        self.run.save_checkpoint(step, tensors, scalars, rank=self.rank)

    def stop_requested(self) -> bool:
        """Whether a signal has come."""
        return self.signals.received is not None


def _write_result(run: RunDirectory, fit: Fit, signals: StopSignals, exchange: Exchange) -> Fit:
    """Write the tables, the summary last: it marks a run as finished."""
    name = signals.received.name if signals.received else None
    if not exchange.leads:
        return replace(fit, summary=fit.summary | ({"interrupted_by": name} if fit.stop_reason == "interrupted" else {}))
    with ExitStack() as stack:
        if exchange.rank > 0:
            # The first rank, which held the lock, is gone.
            stack.enter_context(run.lock())
        return _write_as_leader(run, fit, name)


def _write_as_leader(run: RunDirectory, fit: Fit, name: str | None) -> Fit:
    if fit.stop_reason == "interrupted":
        # A run that was killed while it wrote its result may have left parts of it.
        for part in run.result.iterdir():
            part.unlink()
        return replace(fit, summary=fit.summary | {"interrupted_by": name})
    for name, rows in _tables(fit).items():
        if rows:
            run.write_table(name, rows)
    run.write_result("summary", fit.summary)
    return fit


def _tables(fit: Fit) -> dict[str, Any]:
    tables: dict[str, Any] = {
        "parameters": fit.parameters, "replicas": fit.replicas, "comparison": fit.comparison, "slices": fit.slices, "curves": fit.curves,
        "measurements": fit.measurements,
    }  # fmt: skip
    samples = fit.estimate.samples
    if samples.shape[1] > 1:
        replicas, num_samples, _ = samples.shape
        index = {"replica": [r for r in range(replicas) for _ in range(num_samples)], "sample": [*range(num_samples)] * replicas}
        tables["samples"] = index | dict(zip(fit.estimate.names, samples.flatten(0, 1).double().T.tolist(), strict=True))
    return tables
