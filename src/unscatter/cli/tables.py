"""Results as tables that fit into a narrow terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from unscatter.pipeline import Box, Problem
from unscatter.report import ComparisonTable
from unscatter.report.record import ParameterRow
from unscatter.report.rounding import plain_number, rounded_pair
from unscatter.report.words import below_bound
from unscatter.solve import Fit


def parameter_table(fit: Fit) -> Table:
    """One line per parameter: value, error, truth and pull where known."""
    has_truth = any(row["truth"] is not None for row in fit.parameters)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("parameter", "value", "error", *(("truth", "pull") if has_truth else ())):
        table.add_column(heading, justify="left" if heading == "parameter" else "right", overflow="fold")
    for row in fit.parameters:
        value, error = rounded_pair(row["value"], row["error"] if row["error"] is not None else row["bound"])
        cells = [row["name"], value, error or ("-" if row["determined"] else "none")]
        if has_truth:
            cells += ["" if row["truth"] is None else plain_number(row["truth"]), "" if row["pull"] is None else f"{row['pull']:+.1f}"]
        table.add_row(*cells)
    return table


def verdict_lines(fit: Fit) -> Iterator[str]:
    """How the fit ended, in words."""
    steps = f"{fit.num_steps:,} steps in {fit.summary['seconds']:.0f} s"
    match fit.stop_reason:
        case "converged":
            yield f"Converged after {steps}."
        case "out of rounds":
            yield f"Warning: not converged after {steps}: allow more (solve.max_rounds), or look at the report for what is off."
        case _:
            yield f"Ended after {steps} ({fit.stop_reason})."
    if fit.summary.get("error_source") and any(row["error"] is not None or row["bound"] is not None for row in fit.parameters):
        yield f"Errors: {fit.summary['error_source']}."
    yield from below_bound(tuple(ParameterRow.from_mapping(row) for row in fit.parameters))
    for channel, test in (fit.summary.get("two_sample") or {}).items():
        yield f"Synthetic against held-out events, '{channel}': p-value {plain_number(test['p_value'], 2)}."
    for text in fit.summary.get("null_directions") or ():
        yield f"Not determined by these events: {text}"
    for text in fit.summary.get("weak_directions") or ():
        yield f"Weakly determined: {text}"
    for family in fit.summary.get("curves") or ():
        if family["sentences"]:
            yield f"What sets the bands of {family['name']}: {'; '.join(family['sentences'])}."


def problem_table(problem: Problem) -> RenderableType:
    """Name, description, channels and parameters of a problem."""
    heading = Text(problem.name, style="bold").append(f"  {problem.description}", style="default")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("channels", ", ".join(problem.channels))
    table.add_row("columns", ", ".join(problem.observables))
    table.add_row("parameters", ", ".join(_parameters(problem)))
    return Group(heading, Padding(table, (0, 0, 1, 2)))


def _parameters(problem: Problem) -> Iterator[str]:
    bijection = problem.space.bijection
    for i, name in enumerate(problem.space.names):
        yield f"{name} in [{bijection.low[i]:g}, {bijection.high[i]:g}]" if isinstance(bijection, Box) else name


def comparison_view(comparison: ComparisonTable) -> Table:
    """Runs side by side, a block of lines per section."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", overflow="fold")
    for label in comparison.labels:
        table.add_column(label, overflow="fold")
    for section, rows in comparison.sections().items():
        table.add_row(Text(section, style="dim"), *[""] * len(comparison.labels))
        for row in rows:
            table.add_row(f" {row.quantity}", *row.cells)
        table.add_section()
    return table
