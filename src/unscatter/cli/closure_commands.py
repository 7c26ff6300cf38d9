"""What ``unscatter closure`` does: run the fits, print how far they are from the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from unscatter.cli.codes import ExitCode
from unscatter.cli.notes import as_command
from unscatter.cli.progress import progress_display
from unscatter.files import quoted
from unscatter.report.closure import PARAMETERS, ClosureTables
from unscatter.report.rounding import plain_number, with_error
from unscatter.runcards import load_runcard
from unscatter.runcards.closure import ClosureResult, run_closure
from unscatter.solve import Observer

#: Single parameters are listed up to so many; weights of a network say nothing one by one.
_MAX_PARAMETERS = 40


@as_command
def closure(runcard: Path, overrides: Sequence[str], level: int, num_fits: int, seed: int, output: Path, *, quiet: bool) -> ExitCode:
    """Do a closure test."""
    card = load_runcard(runcard, overrides)
    errors = Console(stderr=True, highlight=False)

    @contextmanager
    def observers(number: int, total: int) -> Iterator[list[Observer]]:
        with progress_display(errors, quiet=quiet) as told:
            if not quiet:
                errors.print(f"fit {number + 1} of {total}")
            yield told

    result = run_closure(card, level=level, num_fits=num_fits, path=output, seed=seed, observers=observers)
    if result.tables is None:
        errors.print(
            f"Stopped by {result.interrupted_by} in fit {result.num_fits + 1} of {num_fits}; a checkpoint is in "
            f"'{output}'. The same command goes on.",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        return ExitCode.TERMINATED if result.interrupted_by == "SIGTERM" else ExitCode.INTERRUPTED
    if not quiet:
        _print(result, result.tables, level)
    unconverged = any(row["stop_reason"] == "out of rounds" for row in result.tables.fits)
    return ExitCode.NOT_GOOD_ENOUGH if unconverged else ExitCode.FINE


def _print(result: ClosureResult, tables: ClosureTables, level: int) -> None:
    console = Console(highlight=False)
    console.print(closure_view(tables))
    console.print(f"level {level}, {result.num_fits} fits; errors are those of the limited number of fits.")
    if level == 2:
        console.print("Faithful errors of many replicas: ratio and distance 1, 0.68 within 1σ.")
    unconverged = sum(row["stop_reason"] == "out of rounds" for row in tables.fits)
    if unconverged:
        console.print(f"Warning: {unconverged} of {result.num_fits} fits have not converged.", soft_wrap=True)
    console.print(f"result  {quoted(result.path / 'result')}", markup=False, soft_wrap=True)


def closure_view(tables: ClosureTables) -> Table:
    """One line per parameter and curve, and one per group."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", overflow="fold")
    for heading in ("off by", "error", "ratio", "distance", "within 1σ"):
        table.add_column(heading, justify="right", overflow="fold")
    for group in dict.fromkeys(row["group"] for row in tables.groups):
        rows = [row for row in tables.groups if row["group"] == group]
        named = [row for row in rows if row["name"] is not None]
        if group == PARAMETERS and len(named) > _MAX_PARAMETERS:
            named = []
        for row in [*(row for row in rows if row["name"] is None), *named]:
            table.add_row(f" {row['name']}" if row["name"] is not None else group, *_cells(row))
        table.add_section()
    return table


def _cells(row: dict[str, Any]) -> Iterator[str]:
    for key in ("bias", "variance"):
        yield "" if row[key] is None else plain_number(row[key] ** 0.5, 2)
    for key in ("ratio", "distance", "coverage"):
        yield "-" if row[key] is None else with_error(row[key], row[f"{key}_error"]) if row[f"{key}_error"] else plain_number(row[key], 2)
