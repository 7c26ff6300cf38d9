"""Figures of what happened step by step: losses and parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from unscatter.report.record import ParameterRow, RunRecord, loss_names, parameter_names, series
from unscatter.report.style import BLACK, BLUE, ORANGE, SKY, ReportFigure, new_figure, panel_title, plain_ticks, stacked_axes

#: More points than this on a line 400 px wide say nothing more.
_MAX_POINTS = 400

_PANELS_PER_FIGURE = 6
_BAND = {"color": ORANGE, "alpha": 0.22, "linewidth": 0}


def loss_history(record: RunRecord) -> list[ReportFigure]:
    """Every loss against the step, one panel each; no figure without metrics."""
    names = loss_names(record.metrics)
    if not names:
        return []
    figure = new_figure(0.5 + 1.15 * len(names))
    panels = stacked_axes(figure, len(names))
    for ax, name in zip(panels, names, strict=True):
        steps, low, mean, high = thinned(*series(record.metrics, name))
        ax.fill_between(steps, low, high, color=SKY, alpha=0.5, linewidth=0)
        _draw_line(ax, steps, mean, color=BLUE)
        panel_title(ax, name.replace("_", " "))
        plain_ticks(ax)
    panels[-1].set_xlabel("step")
    caption = (
        "Losses against the step. Line: mean of neighbouring records; band: from the smallest to the largest of them. "
        "An adversarial loss says nothing about convergence: see the two-sample test in the summary."
    )
    return [ReportFigure("losses", "Losses", caption, figure)]


def parameter_history(record: RunRecord) -> list[ReportFigure]:
    """Every parameter against the step, a few panels per figure; no figure without metrics."""
    names = [name for name in parameter_names(record) if len(series(record.metrics, "parameters", name)[0])]
    rows = {row.name: row for row in record.parameters}
    groups = [names[i : i + _PANELS_PER_FIGURE] for i in range(0, len(names), _PANELS_PER_FIGURE)]
    return [_history_of(record, group, rows, part if len(groups) > 1 else 0) for part, group in enumerate(groups, start=1)]


def thinned(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Steps, and the smallest, mean and largest value of each group of neighbours; at most a few hundred groups.

    Example:
        >>> steps, low, mean, high = thinned(np.arange(800.0), np.arange(800.0))
        >>> float(mean.mean()), bool((low < mean).all() and (mean < high).all())
        (399.5, True)
    """
    starts = np.unique(np.linspace(0, len(steps), min(len(steps), _MAX_POINTS), endpoint=False).astype(int))
    sizes = np.diff(np.append(starts, len(steps)))
    middle, mean = (np.add.reduceat(column, starts) / sizes for column in (steps, values))
    return middle, np.minimum.reduceat(values, starts), mean, np.maximum.reduceat(values, starts)


def _history_of(record: RunRecord, names: Sequence[str], rows: dict[str, ParameterRow], part: int) -> ReportFigure:
    figure = new_figure(0.9 + 1.15 * len(names))
    panels = stacked_axes(figure, len(names), top=0.75)
    for ax, name in zip(panels, names, strict=True):
        _draw_parameter(ax, record, name, rows.get(name))
    panels[-1].set_xlabel("step")
    shown = [rows[name] for name in names if name in rows]
    figure.legend(handles=_legend(record, shown), loc="upper center", ncols=2)
    title = f"History of the parameters, part {part}" if part else "History of the parameters"
    return ReportFigure(f"parameter-history-{part}" if part else "parameter-history", title, _caption(shown), figure)


def _draw_parameter(ax: Axes, record: RunRecord, name: str, row: ParameterRow | None) -> None:
    steps, low, mean, high = thinned(*series(record.metrics, "parameters", name))
    ax.fill_between(steps, low, high, color=SKY, alpha=0.35, linewidth=0)
    _draw_line(ax, steps, mean, color=SKY, linewidth=1.0)
    averaged_steps, _, averaged, _ = thinned(*series(record.metrics, "averaged", name))
    _draw_line(ax, averaged_steps, averaged, color=BLUE, linewidth=1.8)
    if row is not None:
        _draw_reference(ax, row)
    _leave_out_the_start(ax, steps, np.stack([low, high]), row)
    panel_title(ax, name)
    plain_ticks(ax)


def _leave_out_the_start(ax: Axes, steps: np.ndarray, ends: np.ndarray, row: ParameterRow | None) -> None:
    """Limit the panel to what comes after the first tenth of the steps, or the way from the start would hide how the fit ended."""
    shown = ends[:, steps >= steps[0] + 0.1 * (steps[-1] - steps[0])]
    inside = [float(shown.min()), float(shown.max())]
    if row is not None:
        width = 2 * (row.sigma or 0.0)
        inside += [centre + side for centre in (row.truth, row.value) if centre is not None for side in (-width, width)]
    margin = 0.08 * (max(inside) - min(inside))
    if margin > 0:
        ax.set_ylim(min(inside) - margin, max(inside) + margin)


def _draw_line(ax: Axes, steps: np.ndarray, values: np.ndarray, *, color: str, linewidth: float = 1.5) -> None:
    # A line of one point is invisible.
    ax.plot(steps, values, color=color, linewidth=linewidth, marker="o" if len(steps) == 1 else "", markersize=4)


def _draw_reference(ax: Axes, row: ParameterRow) -> None:
    centre = row.truth if row.truth is not None else row.value
    if centre is not None and row.sigma is not None:
        width = row.bound if row.bound is not None else row.sigma
        ax.axhspan(centre - width, centre + width, **_BAND)
    if row.truth is not None:
        ax.axhline(row.truth, color=BLACK, linestyle="--", linewidth=1.1)


def _legend(record: RunRecord, shown: Sequence[ParameterRow]) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = [Line2D([], [], color=SKY, linewidth=1.2, label="last iterate")]
    if any(metrics.get("averaged") for metrics in record.metrics):
        handles.append(Line2D([], [], color=BLUE, linewidth=2, label="averaged"))
    if any(row.truth is not None for row in shown):
        handles.append(Line2D([], [], color=BLACK, linestyle="--", linewidth=1.1, label="truth"))
    if any(row.sigma is not None for row in shown):
        handles.append(Patch(**_BAND, label=f"± 1 {_band_name(shown)}"))
    return handles


def _band_name(shown: Sequence[ParameterRow]) -> str:
    return "bound" if any(row.bound is not None for row in shown) else "error"


def _caption(shown: Sequence[ParameterRow]) -> str:
    text = (
        "Parameters against the step: the last iterate (mean over the replicas) and its running average. "
        "The first tenth of the steps may lie outside of the frame."
    )
    if not any(row.sigma is not None for row in shown):
        return text
    centre = "truth" if all(row.truth is not None for row in shown) else "truth where it is known, else around the result"
    kind = "Cramer-Rao bound" if _band_name(shown) == "bound" else "error"
    return f"{text} Band: one {kind} around the {centre}."
