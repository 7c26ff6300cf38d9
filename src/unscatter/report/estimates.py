"""Figures of the fitted parameters: deviations, values and the scatter of the replicas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from unscatter.report.record import ParameterRow, RunRecord
from unscatter.report.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    SERIES,
    ReportFigure,
    new_figure,
    panel_title,
    plain_ticks,
    set_margins,
    shortened,
    stacked_axes,
)

#: Fewer replicas show no scatter.
_MIN_REPLICAS = 3

#: More parameters than this make panels too small to read; their correlations are drawn instead.
_MAX_CORNER = 7

_PANELS_PER_FIGURE = 8

#: Longer names are cut where they stand beside an axis.
_MAX_NAME = 16


def parameter_summary(record: RunRecord) -> list[ReportFigure]:
    """Deviations from the truth where truth and bound are known, values with their errors for the others."""
    compared = [row for row in record.parameters if _comparable(row)]
    others = [row for row in record.parameters if row.value is not None and not _comparable(row)]
    return ([_deviations(compared)] if compared else []) + _value_figures(others)


def replica_scatter(record: RunRecord) -> list[ReportFigure]:
    """Every pair of parameters over the replicas; no figure for less than three replicas."""
    values = {name: column for name, column in record.replicas.items() if np.isfinite(column).sum() >= _MIN_REPLICAS}
    if len(values) < 2:
        return []
    return [_corner(record, values) if len(values) <= _MAX_CORNER else _correlations(values)]


def values_of_runs(labels: Sequence[str], results: Sequence[Sequence[ParameterRow]]) -> list[ReportFigure]:
    """The values of several runs side by side, one panel per parameter."""
    names = list(dict.fromkeys(row.name for rows in results for row in rows if row.value is not None))
    found = [{row.name: row for row in rows} for rows in results]
    groups = [names[i : i + _PANELS_PER_FIGURE] for i in range(0, len(names), _PANELS_PER_FIGURE)]
    return [_runs_figure(labels, found, group, part if len(groups) > 1 else 0) for part, group in enumerate(groups, start=1)]


def _comparable(row: ParameterRow) -> bool:
    return row.value is not None and row.truth is not None and row.bound is not None and row.bound > 0


def _deviations(rows: Sequence[ParameterRow]) -> ReportFigure:
    figure = new_figure(0.75 + 0.34 * len(rows))
    set_margins(figure, left=0.3 + 0.085 * min(max(len(row.name) for row in rows), _MAX_NAME), bottom=0.5, top=0.1)
    ax = figure.subplots()
    ax.axvspan(-1, 1, color=ORANGE, alpha=0.22, linewidth=0)
    ax.axvline(0, color=BLACK, linestyle="--", linewidth=1.1)
    for position, row in enumerate(rows):
        deviation, error = _in_units_of_bound(row)
        ax.errorbar(deviation, position, xerr=error, fmt="o", color=BLUE, markersize=5, elinewidth=1.8, capsize=3)
    ax.set_yticks(range(len(rows)), [shortened(row.name, _MAX_NAME) for row in rows], parse_math=False)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    reach = max(2.5, *(1.1 * (abs(deviation) + (error or 0.0)) for deviation, error in map(_in_units_of_bound, rows)))
    ax.set_xlim(-reach, reach)
    ax.set_xlabel("(value - truth) / Cramer-Rao bound")
    with_bars = "; bars: spread of the replicas" if any(row.error is not None for row in rows) else ""
    caption = f"Deviation of each parameter from its truth in units of the Cramer-Rao bound (band: ± 1){with_bars}."
    return ReportFigure("parameter-deviations", "Deviations from the truth", caption, figure)


def _in_units_of_bound(row: ParameterRow) -> tuple[float, float | None]:
    assert row.value is not None, "only comparable rows are drawn"
    assert row.truth is not None, "only comparable rows are drawn"
    assert row.bound is not None, "only comparable rows are drawn"
    return (row.value - row.truth) / row.bound, None if row.error is None else row.error / row.bound


def _value_figures(rows: Sequence[ParameterRow]) -> list[ReportFigure]:
    groups = [rows[i : i + _PANELS_PER_FIGURE] for i in range(0, len(rows), _PANELS_PER_FIGURE)]
    return [_values(group, part if len(groups) > 1 else 0) for part, group in enumerate(groups, start=1)]


def _values(rows: Sequence[ParameterRow], part: int) -> ReportFigure:
    figure = new_figure(0.1 + 0.95 * len(rows))
    for ax, row in zip(stacked_axes(figure, len(rows), share_x=False, bottom=0.3), rows, strict=True):
        _draw_value(ax, row)
    caption = (
        "Values of the parameters. Thick bar: spread of the replicas; band: Cramer-Rao bound; dashed: truth; "
        "dotted: end of the allowed range. What a parameter lacks is not drawn."
    )
    stem, title = "parameter-values", "Values of the parameters"
    return ReportFigure(f"{stem}-{part}" if part else stem, f"{title}, part {part}" if part else title, caption, figure)


def _draw_value(ax: Axes, row: ParameterRow) -> None:
    assert row.value is not None, "only rows with a value are drawn"
    if row.bound is not None:
        ax.axvspan(row.value - row.bound, row.value + row.bound, color=ORANGE, alpha=0.22, linewidth=0)
    ax.errorbar(row.value, 0, xerr=row.error, fmt="o", color=BLUE, markersize=5, elinewidth=2.2, capsize=3)
    if row.truth is not None:
        ax.axvline(row.truth, color=BLACK, linestyle="--", linewidth=1.1)
    ax.margins(x=0.2)
    for end in (row.low, row.high):
        _draw_end_of_range(ax, row, end)
    ax.set_ylim(-1, 1)
    ax.set_yticks([])
    panel_title(ax, row.name if row.determined else f"{row.name} (not determined)")
    plain_ticks(ax, "x", 5)


def _draw_end_of_range(ax: Axes, row: ParameterRow, end: float | None) -> None:
    """Only an end that is near says something; a far one would squeeze the error bar."""
    near = 5 * row.sigma if row.sigma is not None else np.inf
    if end is not None and row.value is not None and abs(end - row.value) <= near:
        ax.axvline(end, color=GREY, linestyle=":", linewidth=1.5)


def _corner(record: RunRecord, values: dict[str, np.ndarray]) -> ReportFigure:
    rows = {row.name: row for row in record.parameters}
    names, size = list(values), len(values)
    figure = new_figure(1.3 * size + 0.9, 1.3 * size + 1.0)
    set_margins(figure, left=0.85, bottom=0.85, top=0.12)
    grid: Any = figure.subplots(size, size, squeeze=False, gridspec_kw={"hspace": 0.1, "wspace": 0.1})
    for i, j in np.ndindex(size, size):
        ax: Axes = grid[i, j]
        if j > i:
            ax.set_axis_off()
        elif i == j:
            _draw_replicas(ax, values[names[i]], rows.get(names[i]))
        else:
            _draw_pair(ax, values[names[j]], values[names[i]], rows.get(names[j]), rows.get(names[i]))
        _label_corner(ax, names, i, j)
    caption = f"Scatter of the {record.num_replicas} replicas for every pair of parameters; crosses and dashed lines: the truth, if known."
    return ReportFigure("replicas", "Scatter of the replicas", caption, figure, wide=True)


def _draw_replicas(ax: Axes, values: np.ndarray, row: ParameterRow | None) -> None:
    finite = values[np.isfinite(values)]
    counts, edges = np.histogram(finite, bins=max(4, min(20, round(np.sqrt(len(finite))))))
    ax.stairs(counts, edges, color=BLUE, fill=True, alpha=0.25)
    ax.stairs(counts, edges, color=BLUE, linewidth=1.5)
    if row is not None and row.truth is not None:
        ax.axvline(row.truth, color=BLACK, linestyle="--", linewidth=1.1)
    ax.set_yticks([])


def _draw_pair(ax: Axes, x: np.ndarray, y: np.ndarray, row_x: ParameterRow | None, row_y: ParameterRow | None) -> None:
    ax.plot(x, y, "o", color=BLUE, markersize=3.5, alpha=0.7, markeredgewidth=0)
    if row_x is not None and row_y is not None and row_x.truth is not None and row_y.truth is not None:
        ax.plot(row_x.truth, row_y.truth, "+", color=BLACK, markersize=10, markeredgewidth=1.5)


def _label_corner(ax: Axes, names: Sequence[str], i: int, j: int) -> None:
    """Numbers only at the outer edge, where a reader looks for them."""
    plain_ticks(ax, "x", 2)
    ax.tick_params(axis="x", labelrotation=45)
    if j < i:
        plain_ticks(ax, "y", 3)
    if i == len(names) - 1:
        ax.set_xlabel(shortened(names[j], _MAX_NAME), parse_math=False)
    else:
        ax.tick_params(labelbottom=False)
    if j == 0 and i > 0:
        ax.set_ylabel(shortened(names[i], _MAX_NAME), parse_math=False)
    else:
        ax.tick_params(labelleft=False)


def _correlations(values: dict[str, np.ndarray]) -> ReportFigure:
    columns = np.array(list(values.values()))
    columns = columns[:, np.isfinite(columns).all(0)]
    spread = columns.std(1, keepdims=True)
    normed = (columns - columns.mean(1, keepdims=True)) / np.where(spread > 0, spread, 1)
    figure = new_figure(min(8.0, 2.5 + 0.2 * len(values)), min(8.0, 2.8 + 0.2 * len(values)))
    set_margins(figure, left=1.25, bottom=1.25, top=0.15)
    ax = figure.subplots()
    image = ax.imshow(normed @ normed.T / max(columns.shape[1], 1), vmin=-1, vmax=1, cmap="PuOr")
    every = max(1, len(values) // 25)
    shown = list(values)[::every]
    ax.set_xticks(range(0, len(values), every), [shortened(n, 12) for n in shown], rotation=90, parse_math=False)
    ax.set_yticks(range(0, len(values), every), [shortened(n, 12) for n in shown], parse_math=False)
    figure.colorbar(image, ax=ax, label="correlation", shrink=0.8)
    caption = f"Correlations of the parameters over {columns.shape[1]} replicas."
    return ReportFigure("replicas", "Correlations over the replicas", caption, figure, wide=True)


def _runs_figure(labels: Sequence[str], found: Sequence[dict[str, ParameterRow]], names: Sequence[str], part: int) -> ReportFigure:
    head = 0.45 + 0.2 * len(labels)
    figure = new_figure(head + (0.75 + 0.14 * len(labels)) * len(names))
    for ax, name in zip(stacked_axes(figure, len(names), share_x=False, top=head, bottom=0.3), names, strict=True):
        for position, rows in enumerate(found):
            if name in rows:
                _draw_run(ax, rows[name], position)
        ax.set_ylim(len(labels) - 0.4, -0.6)
        ax.set_yticks([])
        ax.margins(x=0.15)
        panel_title(ax, name)
        plain_ticks(ax, "x", 5)
    legend = figure.legend(handles=[_run_handle(i, label) for i, label in enumerate(labels)], loc="upper left", ncols=1)
    for text in legend.get_texts():
        text.set_parse_math(False)
    stem, title = "parameters-compared", "Parameters of the runs"
    caption = "Values with their errors (replica spread where there is one, else the Cramer-Rao bound); dashed: truth, where it is known."
    return ReportFigure(f"{stem}-{part}" if part else stem, f"{title}, part {part}" if part else title, caption, figure)


def _run_handle(position: int, label: str) -> Line2D:
    color, marker = SERIES[position % len(SERIES)]
    return Line2D([], [], color=color, marker=marker, linestyle="", label=f"{position + 1}: {shortened(label, 36)}")


def _draw_run(ax: Axes, row: ParameterRow, position: int) -> None:
    if row.value is None:
        return
    color, marker = SERIES[position % len(SERIES)]
    ax.errorbar(row.value, position, xerr=row.sigma, fmt=marker, color=color, markersize=5, elinewidth=1.8, capsize=3)
    if row.truth is not None:
        ax.axvline(row.truth, color=BLACK, linestyle="--", linewidth=1.0)
