"""A fit on several ranks of this machine: the part of the launcher that talks to the user."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from unscatter.cli.codes import ExitCode
from unscatter.cli.messages import print_error
from unscatter.cli.progress import progress_display
from unscatter.files import quoted
from unscatter.launch import JobEnd, JobLogs, JobSettings, run_job
from unscatter.launch.health import RankHealth, read_health
from unscatter.launch.variables import visible_gpus
from unscatter.solve.observers import Observer, Observers

#: Exchanges whose ranks go on when one of them is lost.
SURVIVING = ("async-ring", "none")
#: Exit codes of ranks that have done their work, or left a checkpoint when asked to stop.
_ORDERLY = frozenset({ExitCode.FINE, ExitCode.NOT_GOOD_ENOUGH, ExitCode.INTERRUPTED, ExitCode.TERMINATED})
#: A rank that was last heard of so many seconds before the others does not speak for the job.
_SILENT_S = 30.0


def run_ranks(arguments: Sequence[str], num_ranks: int, *, run: Path, exchange: str, quiet: bool) -> int:
    """Run a command of `unscatter` as several ranks of one job.

    Args:
        arguments: of the command, its name first.
        num_ranks: how many.
        run: the run directory.
        exchange: name of the exchange; decides whether the job survives the loss of a rank.  With ``none`` every rank has a run of its own
            inside of the directory.
        quiet: show no progress.

    Returns:
        The exit code of the job.
    """
    console = Console(stderr=True, highlight=False)
    if not quiet:
        _say_how_shared(console, num_ranks)
    # What the first rank prints goes through a pipe, in which it cannot see how wide the terminal is.
    os.environ.setdefault("COLUMNS", str(shutil.get_terminal_size().columns))
    command = [sys.executable, "-m", "unscatter.cli", *arguments]
    settings = JobSettings(num_ranks=num_ranks, survives=exchange in SURVIVING, orderly=frozenset(map(int, _ORDERLY)))
    independent = exchange == "none"
    if independent:
        settings = replace(settings, end_s=math.inf)
    first = own_run(run, 0) if independent else run
    with progress_display(console, quiet=quiet) as observers:
        end = run_job(command, settings, run=first, tick=Following(observers), report=lambda text: _warn(console, text))
    if end.failure is not None:
        print_error(_with_way_on(end, num_ranks, first))
    elif independent and not quiet:
        where = " ".join(quoted(own_run(run, rank)) for rank in range(num_ranks))
        console.print(f"{num_ranks} independent fits. Side by side:\n  unscatter compare {where}", markup=False, soft_wrap=True)
    return end.code


def own_run(run: Path, rank: int) -> Path:
    """Where a rank that shares nothing leaves what it finds."""
    return run / f"rank{rank}"


def _say_how_shared(console: Console, num_ranks: int) -> None:
    gpus = visible_gpus()
    if gpus and num_ranks > len(gpus):
        _warn(console, f"{num_ranks} ranks share {len(gpus)} GPU{'s' if len(gpus) > 1 else ''}; one rank per GPU is fastest.")
    cores = len(os.sched_getaffinity(0))
    if not gpus and num_ranks > cores:
        _warn(console, f"{num_ranks} ranks share {cores} core{'s' if cores > 1 else ''}; more ranks than cores wait for one another.")


def _warn(console: Console, text: str) -> None:
    console.print(f"[yellow]Warning:[/] {text}", soft_wrap=True)


def _with_way_on(end: JobEnd, num_ranks: int, run: Path) -> str:
    """The failure, and what can be typed next."""
    lines = [end.failure or ""]
    if end.codes[end.failed_rank or 0] == ExitCode.BAD_INPUT:
        return lines[0]
    if any((run / "checkpoints").glob("step-*")):
        lines.append(f"Go on from the last checkpoint: unscatter resume {quoted(run)} --ranks {num_ranks}")
    elif end.logs.is_dir():
        lines.append(f"The logs of all ranks are in {quoted(end.logs)}.")
    return "\n".join(lines)


class Following:
    """Shows what the first rank has written about itself in a display of this process.

    Args:
        observers: the display.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._display, self._last_step, self._step = Observers(observers), -1, -1

    def __call__(self, logs: JobLogs) -> None:
        """Look, and tell the display what is new."""
        health = speaker(read_health(logs.directory)) if self._display.members else None
        if health is None or health.phase == "preparing":
            return
        if health.phase == "pilot":
            if health.step != self._step:
                self._display.piloted(health.step, health.last_step)
                self._step = health.step
            return
        if health.last_step != self._last_step:
            self._display.started(health.step, health.last_step)
            self._last_step, self._step = health.last_step, -1
        if health.record and health.record["step"] != self._step:
            self._display.progressed(health.record)
            self._step = health.record["step"]


def speaker(ranks: Sequence[RankHealth]) -> RankHealth | None:
    """The rank whose progress is shown for that of the job: the first that is heard of.

    Example:
        >>> speaker([RankHealth(rank=0, size=2, heard=1000.0), RankHealth(rank=1, size=2, heard=1100.0)]).rank
        1
    """
    newest = max((health.heard for health in ranks), default=0.0)
    return next((health for health in ranks if health.heard > newest - _SILENT_S), None)
