"""Figures of published measurements that a fit was compared with: measured over predicted, and pulls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from unscatter.report.record import RunRecord, column_of, number
from unscatter.report.rounding import plain_number
from unscatter.report.style import BLACK, BLUE, GREY, ReportFigure, axis_label, new_figure, slug, stacked_axes

#: The axis of ratios reaches at most so far from one; points beyond are drawn at its edge.
_RATIO_REACH = 0.5


def measurement_figures(record: RunRecord) -> list[ReportFigure]:
    """One figure per measurement; none where a fit was compared with nothing."""
    described = {str(facts.get("name")): facts for facts in (record.summary or {}).get("measurements") or ()}
    tables = groupby(record.measurements, key=lambda row: str(row.get("measurement")))
    return [_figure(name, described.get(name, {}), list(rows)) for name, rows in tables]


def measurement_lines(record: RunRecord) -> list[str]:
    """The agreement with each measurement in one line of words."""
    return [_agreement(facts) for facts in (record.summary or {}).get("measurements") or ()]


def _agreement(facts: Mapping[str, Any]) -> str:
    value, each = number(facts.get("chi2")), number(facts.get("chi2_per_point"))
    agreement = "no chi²" if value is None or each is None else f"chi² = {plain_number(value, 4)}, {plain_number(each, 3)} per point,"
    return f"{facts.get('name')}: {agreement} for {facts.get('num_points')} points"


def _figure(name: str, facts: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> ReportFigure:
    figure = new_figure(3.9)
    upper, lower = stacked_axes(figure, 2)
    coordinate = next(iter(facts.get("coordinates") or ()), None)
    x = column_of(rows, coordinate) if coordinate else np.arange(len(rows), dtype=float)
    value, error, prediction, spread, pull = (column_of(rows, key) for key in ("value", "error", "prediction", "prediction_error", "pull"))
    _draw_ratio(upper, x, value / prediction, error / np.abs(prediction), spread / np.abs(prediction))
    lower.axhspan(-2, 2, color=GREY, alpha=0.15, lw=0)
    lower.axhline(0, color=BLACK, lw=0.8)
    lower.plot(x, pull, "o", ms=2.5, color=BLUE)
    if coordinate and bool((x > 0).all()) and float(x.max() / x.min()) > 30:
        lower.set_xscale("log")
    lower.set_xlabel(axis_label(coordinate) if coordinate else "point")
    upper.set_ylabel("measured / predicted")
    lower.set_ylabel("pull")
    caption = (
        f"{_agreement(facts)}, with all correlations of the measurement. Bars are its errors, the grey ones the spread of the prediction; "
        "it was not fitted."
    )
    return ReportFigure(f"measurement-{slug(name)}", name, caption, figure)


def _draw_ratio(axes: Axes, x: np.ndarray, ratio: np.ndarray, error: np.ndarray, spread: np.ndarray) -> None:
    shown = np.clip(ratio, 1 - _RATIO_REACH, 1 + _RATIO_REACH)
    axes.axhline(1, color=BLACK, lw=0.8)
    axes.errorbar(x, np.ones_like(x), yerr=np.minimum(spread, _RATIO_REACH), fmt="none", ecolor=GREY, elinewidth=2.5, alpha=0.6)
    axes.errorbar(x, shown, yerr=np.minimum(error, _RATIO_REACH), fmt="o", ms=2.5, color=BLUE, elinewidth=0.7)
    axes.set_ylim(1 - 1.1 * _RATIO_REACH, 1 + 1.1 * _RATIO_REACH)
