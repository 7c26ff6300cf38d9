"""What ``unscatter health`` does: show how each rank of a run is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from unscatter.cli.codes import ExitCode
from unscatter.errors import RunError
from unscatter.launch.health import RankHealth, read_health
from unscatter.report.rounding import plain_number
from unscatter.runs import RunDirectory

#: A rank that has not written for so many seconds may hang; a step, or judging a fit, may also take that long.
_SILENT_S = 60.0
#: What tells that something is wrong, of all that exchanges count, and only where it does; the rest is in ``logs/rank0.json`` and so on.
_FIGURES = ("staleness", "waited_s", "lag", "lost_ranks", "messages_refused", "skipped_contributions")


def health(run: Path) -> ExitCode:
    """Show the ranks of a run; the exit code says whether one of them is silent or has failed."""
    directory = RunDirectory.open(run)
    ranks = read_health(directory.logs)
    if not ranks:
        raise RunError(
            f"no rank has written to '{directory.logs}' how it is: the run was started as a single process, or has not yet got so far.\n"
            f"Start it with several ranks: unscatter solve RUNCARD --ranks 2"
        )
    now = time.time()
    Console(highlight=False).print(health_table(ranks, now))
    missing = sorted({*range(ranks[0].size)} - {health.rank for health in ranks})
    if missing:
        Console(highlight=False).print(f"Not heard of: rank {', '.join(map(str, missing))}.", soft_wrap=True)
    return ExitCode.NOT_GOOD_ENOUGH if missing or any(_worrying(health, now) for health in ranks) else ExitCode.FINE


def health_table(ranks: Sequence[RankHealth], now: float) -> Table:
    """One line per rank: what it does, how far it is and lags behind, figures of its exchange, and when it was last heard of.

    Args:
        ranks: as they were when they last wrote it.
        now: seconds since 1970.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    figures = [name for name in _FIGURES if any(health.statistics.get(name) for health in ranks)]
    for heading in ("rank", "host", "phase"):
        table.add_column(heading, overflow="fold")
    for heading in ("step", "behind", *(name.replace("_", " ") for name in figures), "heard"):
        table.add_column(heading, justify="right", overflow="fold")
    first = max(health.step for health in ranks)
    for health in ranks:
        numbers = [plain_number(health.statistics[name], 3) if name in health.statistics else "" for name in figures]
        line = (str(health.rank), health.host, health.phase, str(health.step), str(first - health.step), *numbers, _ago(now - health.heard))
        table.add_row(*line, style="red" if _worrying(health, now) else None)
    return table


def _worrying(health: RankHealth, now: float) -> bool:
    return health.phase == "failed" or (health.phase != "done" and now - health.heard > _SILENT_S)


def _ago(seconds: float) -> str:
    """How long ago something was.

    Example:
        >>> _ago(0.4), _ago(75), _ago(7500)
        ('0 s ago', '75 s ago', '2 h ago')
    """
    seconds = max(seconds, 0.0)
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago" if seconds < 7200 else f"{seconds / 3600:.0f} h ago"
