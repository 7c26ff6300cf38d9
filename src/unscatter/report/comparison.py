"""Several runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unscatter.errors import SettingsError
from unscatter.files import write_text
from unscatter.report import tables, words
from unscatter.report.estimates import values_of_runs
from unscatter.report.page import Picture, render
from unscatter.report.record import RunRecord, loss_names, number, parameter_names, passes, read_record, series
from unscatter.report.rounding import plain_number, with_error
from unscatter.report.style import data_uri, encoded, figure_style
from unscatter.runs import RunDirectory

#: Stands where a run does not say.
ABSENT = "-"


@dataclass(frozen=True)
class ComparisonRow:
    """One line of a comparison.

    Args:
        section: ``fit``, ``parameters``, ``two-sample test``, ``losses`` or ``settings``.
        quantity: what is compared.
        cells: one text per run, ``-`` where a run does not say.
    """

    section: str
    quantity: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class ComparisonTable:
    """Runs side by side.

    Args:
        labels: one short name per run, all different.
        rows: grouped by section.
    """

    labels: tuple[str, ...]
    rows: tuple[ComparisonRow, ...]

    def sections(self) -> dict[str, list[ComparisonRow]]:
        """Rows by section, in order."""
        names = dict.fromkeys(row.section for row in self.rows)
        return {name: [row for row in self.rows if row.section == name] for name in names}


def comparison_table(runs: Sequence[RunDirectory]) -> ComparisonTable:
    """Compare runs: parameters with errors, two-sample tests, losses, and the settings that differ.

    Raises:
        SettingsError: no run was given.
        RunError: a file of a run is damaged.
    """
    return _table(_records(runs))


def write_comparison(runs: Sequence[RunDirectory], path: str | Path) -> Path:
    """Write a comparison of runs as one self-contained HTML page; an older one is replaced.

    Raises:
        SettingsError: no run was given.
        RunError: a file of a run is damaged, or ``path`` cannot be written.
    """
    records = _records(runs)
    table = _table(records)
    page = render("comparison.html.j2", title="Comparison of runs", table=table, pictures=_pictures(table, records), absent=ABSENT)
    write_text(path, page)
    return Path(path)


def run_labels(runs: Sequence[RunDirectory]) -> tuple[str, ...]:
    """Names of the run directories, with as many directories above them as it takes to tell them apart.

    Example:
        >>> run_labels([RunDirectory(Path("/a/fit")), RunDirectory(Path("/b/fit"))])
        ('a/fit', 'b/fit')
    """
    parts = [run.path.resolve().parts for run in runs]
    depth = 1
    while len({part[-depth:] for part in parts}) < len(set(parts)):
        depth += 1
    labels = ["/".join(part[-depth:]) for part in parts]
    # One run given twice cannot be told apart by its path.
    return tuple(label if labels.count(label) == 1 else f"{label} ({labels[: i + 1].count(label)})" for i, label in enumerate(labels))


def _records(runs: Sequence[RunDirectory]) -> list[RunRecord]:
    if not runs:
        raise SettingsError("there is nothing to compare: no run was given.\nName at least one: unscatter compare RUN RUN ...")
    return [read_record(run) for run in runs]


def _table(records: Sequence[RunRecord]) -> ComparisonTable:
    rows = [*_fit_rows(records), *_parameter_rows(records), *_two_sample_rows(records), *_loss_rows(records), *_settings_rows(records)]
    return ComparisonTable(run_labels([record.run for record in records]), tuple(rows))


def _pictures(table: ComparisonTable, records: Sequence[RunRecord]) -> list[Picture]:
    with figure_style():
        figures = values_of_runs(table.labels, [record.parameters for record in records])
        return [Picture(f.stem, f.title, f.caption, data_uri(encoded(f.figure, "svg")), f.wide) for f in figures]


def _fit_rows(records: Sequence[RunRecord]) -> Iterator[ComparisonRow]:
    facts: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "problem": lambda summary: _text(summary.get("problem")),
        "method": lambda summary: _text(summary.get("method")),
        "events": lambda summary: _counts_text(summary.get("num_events") or {}),
        "replicas": lambda summary: _text(summary.get("num_replicas")),
        "steps": lambda summary: _text(summary.get("steps")),
        "time": lambda summary: ABSENT if (seconds := number(summary.get("seconds"))) is None else words.duration(seconds),
        "steps per second": lambda summary: _number_text(summary.get("steps_per_second")),
        "why it stopped": lambda summary: _text(summary.get("stop_reason")),
    }
    yield ComparisonRow("fit", "status", tuple(words.status(record) for record in records))
    for quantity, fact in facts.items():
        yield ComparisonRow("fit", quantity, tuple(fact(record.summary or {}) for record in records))
    yield ComparisonRow("fit", "errors are", tuple(_error_source(record) for record in records))


def _error_source(record: RunRecord) -> str:
    """Where the errors come from; a fit that was not diagnosed has none."""
    return _text((record.summary or {}).get("error_source")) if words.has_errors(record.parameters) else ABSENT


def _parameter_rows(records: Sequence[RunRecord]) -> Iterator[ComparisonRow]:
    for name in dict.fromkeys(name for record in records for name in parameter_names(record)):
        yield ComparisonRow("parameters", name, tuple(_parameter_text(record, name) for record in records))


def _parameter_text(record: RunRecord, name: str) -> str:
    for row in record.parameters:
        if row.name == name:
            value = "not finite" if row.value is None else with_error(row.value, row.sigma)
            return value if row.determined else f"{value} (not determined)"
    _, values = series(record.metrics, "parameters", name)
    return f"{plain_number(float(values[-1]))} (last iterate)" if len(values) else ABSENT


def _two_sample_rows(records: Sequence[RunRecord]) -> Iterator[ComparisonRow]:
    tests = [(record.summary or {}).get("two_sample") or {} for record in records]
    for channel in dict.fromkeys(channel for test in tests for channel in test):
        of_channel = [test.get(channel) or {} for test in tests]
        yield ComparisonRow("two-sample test", f"AUC, {channel}", tuple(_auc_text(test) for test in of_channel))
        yield ComparisonRow("two-sample test", f"p-value, {channel}", tuple(_number_text(test.get("p_value")) for test in of_channel))


def _auc_text(test: Mapping[str, Any]) -> str:
    auc = number(test.get("auc"))
    if auc is None:
        return ABSENT
    return f"{with_error(auc, number(test.get('auc_error')))} ({'passes' if passes(test) else 'fails'})"


def _loss_rows(records: Sequence[RunRecord]) -> Iterator[ComparisonRow]:
    for name in dict.fromkeys(name for record in records for name in loss_names(record.metrics)):
        yield ComparisonRow("losses", f"{name}, mean of the last tenth", tuple(_loss_text(record, name) for record in records))


def _loss_text(record: RunRecord, name: str) -> str:
    _, values = series(record.metrics, name)
    return plain_number(float(np.mean(values[-max(1, len(values) // 10) :]))) if len(values) else ABSENT


def _settings_rows(records: Sequence[RunRecord]) -> Iterator[ComparisonRow]:
    """Only the settings that differ; the others say nothing about the difference of the results."""
    settings = [tables.settings_of(record) for record in records]
    for key in dict.fromkeys(key for flat in settings for key in flat):
        cells = tuple(flat.get(key, ABSENT) for flat in settings)
        if len(set(cells)) > 1:
            yield ComparisonRow("settings", key, cells)


def _counts_text(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{channel}: {_count_text(count)}" for channel, count in counts.items()) or ABSENT


def _count_text(count: Any) -> str:
    """Events are counted; sums of weights need not be whole numbers."""
    known = number(count)
    return ABSENT if known is None else f"{known:,.0f}" if known.is_integer() else f"{known:,.1f}"


def _text(value: Any) -> str:
    return ABSENT if value is None else str(value)


def _number_text(value: Any) -> str:
    known = number(value)
    return ABSENT if known is None else plain_number(known, 3)
